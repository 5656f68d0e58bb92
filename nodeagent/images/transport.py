"""skopeo as the carrier of images, from registries and archives into the store's shared blobs.

Credentials reach skopeo in an anonymous memory file, never on disk or on a command line. Archives are handed over as
open descriptors, so that no character of a path can be taken for image syntax.
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
from collections.abc import Sequence
from pathlib import Path

from nodeagent.images.auth import RegistryAuth
from nodeagent.images.reference import Reference

_POLICY = Path("/etc/containers/policy.json")
_MESSAGE = re.compile(r'level=(?:fatal|error) msg="((?:[^"\\]|\\.)*)"')
_MESSAGE_LIMIT = 1024


class TransportError(Exception):
    """skopeo could not copy an image; the message is its own."""

    @property
    def denied(self) -> bool:
        """Whether other credentials might have been accepted."""
        text = str(self).lower()
        return any(word in text for word in ("unauthorized", "authentication required", "denied", "forbidden"))

    @property
    def untrusted(self) -> bool:
        """Whether the host's signature policy refused the image."""
        return "Source image rejected" in str(self)


class Skopeo:
    """Runs ``skopeo copy``; safe to use from several threads."""

    def __init__(self, shared_blobs: Path, *, insecure_registries: Sequence[str] = (), timeout_s: float = 3600) -> None:
        self._shared_blobs = shared_blobs
        self._insecure = frozenset(insecure_registries)
        self._timeout_s = timeout_s
        self._running: set[subprocess.Popen[str]] = set()
        self._guard = threading.Lock()

    def pull(self, reference: Reference, target: Path, *, auth: RegistryAuth | None) -> None:
        """Copy ``reference`` from its registry into the new layout ``target``. Raises :class:`TransportError`."""
        flags = ["--src-tls-verify=false"] if self._is_insecure(reference.domain) else []
        if auth is None:
            self._copy(f"docker://{reference}", target, flags=flags)
            return
        encoded = base64.b64encode(f"{auth.username}:{auth.password}".encode()).decode()
        descriptor = os.memfd_create("registry-auth", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, json.dumps({"auths": {reference.domain: {"auth": encoded}}}).encode())
            flags += ["--src-authfile", f"/proc/self/fd/{descriptor}"]
            self._copy(f"docker://{reference}", target, flags=flags, descriptors=(descriptor,))
        finally:
            os.close(descriptor)

    def unpack_archive(self, archive: Path, target: Path, *, transport: str, selector: str) -> None:
        """Copy one image of an archive (``docker-archive`` or ``oci-archive``) into ``target``.

        Layers stay as they are: compressing what is about to be unpacked would only cost time.
        """
        descriptor = os.open(archive, os.O_RDONLY | os.O_CLOEXEC)
        source = f"{transport}:/proc/self/fd/{descriptor}" + (f":{selector}" if selector else "")
        try:
            self._copy(source, target, flags=["--dest-oci-accept-uncompressed-layers"], descriptors=(descriptor,))
        finally:
            os.close(descriptor)

    def stop(self) -> None:
        """End what is running; the calls then raise :class:`TransportError`."""
        with self._guard:
            for process in self._running:
                process.send_signal(signal.SIGTERM)

    def _is_insecure(self, domain: str) -> bool:
        host = domain.rpartition(":")[0] if domain.rpartition(":")[2].isdigit() else domain
        if domain in self._insecure or host in self._insecure or host == "localhost":
            return True
        try:
            return ipaddress.ip_address(host.strip("[]")).is_loopback
        except ValueError:
            return False

    def _copy(self, source: str, target: Path, *, flags: Sequence[str], descriptors: Sequence[int] = ()) -> None:
        policy = [] if _POLICY.exists() else ["--insecure-policy"]
        command = ["skopeo", *policy, "copy", "--quiet", "--retry-times", "1", *flags]
        command += ["--dest-shared-blob-dir", str(self._shared_blobs), source, f"oci:{target}:image"]
        environment = os.environ | {"TMPDIR": str(target.parent)}
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=tuple(descriptors),
                env=environment,
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise TransportError(f"skopeo can't be started: {error}") from error
        self._finish(process)

    def _finish(self, process: subprocess.Popen[str]) -> None:
        with self._guard:
            self._running.add(process)
        try:
            _, complaint = process.communicate(timeout=self._timeout_s)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.communicate()
            raise TransportError(f"not finished after {self._timeout_s:g} s") from error
        finally:
            with self._guard:
                self._running.discard(process)
        if process.returncode != 0:
            raise TransportError(_explain(complaint, process.returncode))


def _explain(complaint: str, code: int) -> str:
    messages = [re.sub(r"\\(.)", r"\1", match) for match in _MESSAGE.findall(complaint)]
    text = messages[-1] if messages else complaint.strip()
    return text[:_MESSAGE_LIMIT] or f"skopeo ended with status {code}"
