"""skopeo as the carrier of images, from registries and archives into the store's shared blobs and out again.

Credentials reach skopeo in an anonymous memory file, never on disk or on a command line. Archives are handed over as
open descriptors, so that no character of a path can be taken for image syntax. Which certificates, mirrors and plain
registries count is the host's to say, in ``/etc/containers`` (containers-registries.conf(5), containers-certs.d(5)).
"""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nodeagent.images.auth import RegistryAuth
from nodeagent.images.reference import Reference
from nodeagent.images.space import available_bytes
from nodeagent.images.uses import disk_bytes

_POLICY = Path("/etc/containers/policy.json")
_CERTIFICATES = (Path("/etc/containers/certs.d"), Path("/etc/docker/certs.d"))
_MESSAGE = re.compile(r'level=(?:fatal|error) msg="((?:[^"\\]|\\.)*)"')
_MESSAGE_LIMIT = 1024
_MANIFEST_LIMIT_BYTES = 16 << 20
_LOOK_EVERY_S = 5.0
_DENIALS = ("unauthorized", "authentication required", "denied", "forbidden", "no basic auth", "unknown", "not found")


class TransportError(Exception):
    """skopeo could not copy an image; the message is its own."""

    @property
    def denied(self) -> bool:
        """Whether other credentials might have been accepted; some registries hide what they refuse."""
        text = str(self).lower()
        return any(word in text for word in _DENIALS)

    @property
    def untrusted(self) -> bool:
        """Whether the host's signature policy refused the image."""
        return "Source image rejected" in str(self)


class Skopeo:
    """Runs ``skopeo``; safe to use from several threads.

    A copy ends after ``timeout_s``, and earlier when nothing has arrived for ``stall_s`` or the disk is nearly full.
    """

    def __init__(
        self,
        shared_blobs: Path,
        *,
        insecure_registries: Sequence[str] = (),
        timeout_s: float = 3600,
        stall_s: float = 300,
    ) -> None:
        self._shared_blobs = shared_blobs
        self._insecure = frozenset(insecure_registries)
        self._timeout_s, self._stall_s = timeout_s, stall_s
        self._running: set[subprocess.Popen[bytes]] = set()
        self._guard = threading.Lock()

    def manifest(self, reference: Reference, *, auth: RegistryAuth | None, scratch: Path) -> bytes:
        """What ``reference`` stands for in its registry, as it is there. Raises :class:`TransportError`."""
        with _auth_file(reference, auth) as (flags, descriptors):
            secure = ["--tls-verify=false"] if self._is_insecure(reference.domain) else []
            command = ["inspect", "--raw", "--retry-times", "1", *secure]
            command += [*(["--authfile", *flags] if flags else []), f"docker://{reference}"]
            content = self._run(command, scratch=scratch, descriptors=descriptors)
        if len(content) > _MANIFEST_LIMIT_BYTES:
            raise TransportError(f"the manifest is larger than {_MANIFEST_LIMIT_BYTES} bytes")
        return content

    def pull(self, reference: Reference, target: Path, *, auth: RegistryAuth | None) -> None:
        """Copy ``reference`` from its registry into the new layout ``target``. Raises :class:`TransportError`."""
        with _auth_file(reference, auth) as (flags, descriptors):
            secure = ["--src-tls-verify=false"] if self._is_insecure(reference.domain) else []
            authority = ["--src-authfile", *flags] if flags else []
            self._copy_in(f"docker://{reference}", target, flags=[*secure, *authority], descriptors=descriptors)

    def unpack_archive(self, archive: Path, target: Path, *, transport: str, selector: str) -> None:
        """Copy one image of an archive (``docker-archive``, ``oci-archive``) or directory (``oci``) into ``target``.

        Layers stay as they are: compressing what is about to be unpacked would only cost time.
        """
        descriptor = os.open(archive, os.O_RDONLY | os.O_CLOEXEC)
        source = f"{transport}:/proc/self/fd/{descriptor}" + (f":{selector}" if selector else "")
        try:
            self._copy_in(source, target, flags=["--dest-oci-accept-uncompressed-layers"], descriptors=(descriptor,))
        finally:
            os.close(descriptor)

    def copy_out(self, layout: Path, destination: str, *, flags: Sequence[str] = ()) -> None:
        """Copy the one image of ``layout``, whose blobs are the shared ones, to ``destination`` (skopeo's syntax)."""
        command = ["copy", "--quiet", *flags, "--src-shared-blob-dir", str(self._shared_blobs)]
        self._run([*command, f"oci:{layout}", destination], scratch=layout.parent)

    def stop(self) -> None:
        """End what is running; the calls then raise :class:`TransportError`."""
        with self._guard:
            for process in self._running:
                process.send_signal(signal.SIGTERM)

    def _is_insecure(self, domain: str) -> bool:
        host = domain.rpartition(":")[0] if domain.rpartition(":")[2].isdigit() else domain
        if domain in self._insecure or host in self._insecure:
            return True
        if any((directory / domain).is_dir() for directory in _CERTIFICATES):
            return False
        try:
            return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
        except ValueError:
            return False

    def _copy_in(self, source: str, target: Path, *, flags: Sequence[str], descriptors: Sequence[int]) -> None:
        command = ["copy", "--quiet", "--retry-times", "1", *flags]
        command += ["--dest-shared-blob-dir", str(self._shared_blobs), source, f"oci:{target}:image"]
        self._run(command, scratch=target.parent, descriptors=descriptors)

    def _run(self, arguments: Sequence[str], *, scratch: Path, descriptors: Sequence[int] = ()) -> bytes:
        policy = [] if _POLICY.exists() else ["--insecure-policy"]
        try:
            process = subprocess.Popen(
                ["skopeo", *policy, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=tuple(descriptors),
                env=os.environ | {"TMPDIR": str(scratch)},
            )
        except OSError as error:
            advice = "install the package skopeo" if isinstance(error, FileNotFoundError) else str(error)
            raise TransportError(f"skopeo can't be started: {advice}") from error
        with self._guard:
            self._running.add(process)
        try:
            answer, complaint = self._await(process, scratch)
        finally:
            with self._guard:
                self._running.discard(process)
        if process.returncode != 0:
            raise TransportError(_explain(complaint.decode(errors="replace"), process.returncode))
        return answer

    def _await(self, process: subprocess.Popen[bytes], scratch: Path) -> tuple[bytes, bytes]:
        began_s = moved_s = time.monotonic()
        seen: object = None
        while True:
            try:
                return process.communicate(timeout=min(_LOOK_EVERY_S, self._timeout_s, self._stall_s))
            except subprocess.TimeoutExpired:
                now_s = time.monotonic()
            arrived = (disk_bytes(scratch), self._shared_blobs.stat().st_mtime_ns)
            if arrived != seen:
                seen, moved_s = arrived, now_s
            trouble = ""
            if now_s - began_s >= self._timeout_s:
                trouble = f"not finished after {self._timeout_s:g} s"
            elif now_s - moved_s >= self._stall_s:
                trouble = f"nothing arrived for {self._stall_s:g} s"
            elif available_bytes(scratch) == 0:
                trouble = "the disk is nearly full: make room on the node, or remove images that nothing uses"
            if trouble:
                process.kill()
                process.communicate()
                raise TransportError(trouble)


@contextmanager
def _auth_file(reference: Reference, auth: RegistryAuth | None) -> Iterator[tuple[list[str], tuple[int, ...]]]:
    """A file name with ``auth`` for the image's registry, and the descriptor that it stands for; nothing without."""
    if auth is None:
        yield [], ()
        return
    encoded = base64.b64encode(f"{auth.username}:{auth.password}".encode()).decode()
    descriptor = os.memfd_create("registry-auth", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, json.dumps({"auths": {reference.domain: {"auth": encoded}}}).encode())
        yield [f"/proc/self/fd/{descriptor}"], (descriptor,)
    finally:
        os.close(descriptor)


def _explain(complaint: str, code: int) -> str:
    messages = [re.sub(r"\\(.)", r"\1", match) for match in _MESSAGE.findall(complaint)]
    text = messages[-1] if messages else complaint.strip()
    return text[:_MESSAGE_LIMIT] or f"skopeo ended with status {code}"
