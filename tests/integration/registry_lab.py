"""Debian's docker-registry on a loopback port, with TLS by a test CA and basic auth, for tests of pulling."""

from __future__ import annotations

import datetime
import ipaddress
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.integration.image_lab import ImageBlobs, write_archive

Enter = Callable[..., list[str]]
USER = "ann"
PASSWORD = "correct-horse"  # noqa: S105
# The password by bcrypt, as htpasswd(1) writes it.
_HTPASSWD = "ann:$2b$04$MJQ9sJL1jTjAE.hkaEGkQ.J1aEa5yrE9w/HwlRa3w09S848VYYJ2y\n"
_INDEX = "application/vnd.oci.image.index.v1+json"
_DEADLINE_S = 15.0
_CERTIFICATES = Path("/etc/containers/certs.d")


@dataclass
class RealRegistry:
    """A registry that runs; ``directory`` holds its storage, log and CA."""

    address: str
    directory: Path
    secure: bool
    enter: Enter

    def push(self, name: str, image: ImageBlobs, *, flags: tuple[str, ...] = ()) -> str:
        """Store ``image`` as ``name`` (``repository:tag``); returns the whole reference."""
        archive = write_archive(self.directory / "push.tar", {"x": image})
        self._copy(f"oci-archive:{archive}:x", name, flags)
        return f"{self.address}/{name}"

    def push_index(self, name: str, images: Mapping[str, ImageBlobs]) -> str:
        """Store an index of images by architecture as ``name``; returns the whole reference."""
        layout = self.directory / "push-layout"
        shutil.rmtree(layout, ignore_errors=True)
        blobs = layout / "blobs/sha256"
        blobs.mkdir(parents=True)
        manifests = [
            image.descriptor | {"platform": {"architecture": architecture, "os": "linux"}}
            for architecture, image in images.items()
        ]
        whole = ImageBlobs()
        digest, size = whole.add(json.dumps({"schemaVersion": 2, "mediaType": _INDEX, "manifests": manifests}).encode())
        for each in (whole, *images.values()):
            for blob, content in each.blobs.items():
                (blobs / blob.removeprefix("sha256:")).write_bytes(content)
        (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        entry = {"mediaType": _INDEX, "digest": digest, "size": size}
        (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
        self._copy(f"oci:{layout}", name, ("--all",))
        return f"{self.address}/{name}"

    def blob(self, digest: str) -> Path:
        """Where the registry keeps a blob."""
        encoded = digest.removeprefix("sha256:")
        return self.directory / "storage/docker/registry/v2/blobs/sha256" / encoded[:2] / encoded / "data"

    def requests(self, words: str) -> int:
        """How many requests so far had ``words`` in them."""
        return sum('"GET ' in line and words in line for line in (self.directory / "log").read_text().splitlines())

    def _copy(self, source: str, name: str, flags: tuple[str, ...]) -> None:
        trust = ["--dest-cert-dir", str(self.directory / "trust"), "--dest-creds", f"{USER}:{PASSWORD}"]
        trust = trust if self.secure else ["--dest-tls-verify=false"]
        command = [
            "skopeo",
            "--insecure-policy",
            "copy",
            "-q",
            *flags,
            *trust,
            source,
            f"docker://{self.address}/{name}",
        ]
        subprocess.run(self.enter(*command), check=True)


@contextmanager
def running_registry(
    directory: Path, *, secure: bool = True, storage: Path | None = None, enter: Enter = lambda *command: [*command]
) -> Iterator[RealRegistry]:
    """A registry in ``directory``: with TLS and a password, or plain and open to all. It ends with the block.

    ``enter`` makes a command one that runs in another network namespace.
    """
    directory.mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    configuration = [
        "version: 0.1",
        f"storage: {{filesystem: {{rootdirectory: {storage or directory / 'storage'}}}, delete: {{enabled: true}}}}",
    ]
    if secure:
        _make_certificates(directory)
        (directory / "htpasswd").write_text(_HTPASSWD)
        configuration.append(f"auth: {{htpasswd: {{realm: test, path: {directory / 'htpasswd'}}}}}")
        tls = f", tls: {{certificate: {directory / 'server.crt'}, key: {directory / 'server.key'}}}"
    else:
        tls = ""
    configuration.append(f"http: {{addr: '{address}'{tls}}}")
    (directory / "config.yml").write_text("\n".join(configuration))
    with (directory / "log").open("wb") as log:
        command = enter("docker-registry", "serve", str(directory / "config.yml"))
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _await_service(directory / "log", process)
        yield RealRegistry(address, directory, secure, enter)
    finally:
        process.terminate()
        process.wait()


@contextmanager
def trusted(registry: RealRegistry, *, ca: bool = True) -> Iterator[None]:
    """The registry's CA where skopeo, podman and the like look for it; a directory without any unless ``ca``."""
    directory = _CERTIFICATES / registry.address
    made = [parent for parent in (directory, directory.parent) if not parent.exists()]
    directory.mkdir(parents=True)
    if ca:
        shutil.copy(registry.directory / "trust/ca.crt", directory / "ca.crt")
    try:
        yield
    finally:
        (directory / "ca.crt").unlink(missing_ok=True)
        for parent in made:
            parent.rmdir()


def _await_service(log: Path, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + _DEADLINE_S
    while "listening on" not in log.read_text():
        assert process.poll() is None, "docker-registry ended"
        assert time.monotonic() < deadline_s, "docker-registry does not listen"
        time.sleep(0.01)


def _make_certificates(directory: Path) -> None:
    """A CA in ``trust/ca.crt`` and a server's certificate for the loopback address."""
    now = datetime.datetime.now(datetime.UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test registry CA")])

    def certificate(subject: x509.Name, public: ec.EllipticCurvePublicKey, *, is_ca: bool) -> bytes:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(ca_name).public_key(public)
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(hours=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        signed = builder.add_extension(names, critical=False).sign(ca_key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)

    (directory / "trust").mkdir()
    (directory / "trust/ca.crt").write_bytes(certificate(ca_name, ca_key.public_key(), is_ca=True))
    server = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    (directory / "server.crt").write_bytes(certificate(server, key.public_key(), is_ca=False))
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (directory / "server.key").write_bytes(pem)
