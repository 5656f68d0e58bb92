"""Images made by hand, as archives and behind a small registry, for tests of the image store."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_LAYER = "application/vnd.oci.image.layer.v1.tar"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"


def entry(name: str, content: bytes | None = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    """One archive member: a file with ``content``, a directory for None, or whatever ``fields`` make of it."""
    member = tarfile.TarInfo(name)
    member.mode = 0o755
    if content is None:
        member.type = tarfile.DIRTYPE
    for key, value in fields.items():
        setattr(member, key, value)
    member.size = len(content or b"") if member.isreg() else 0
    return member, content or b""


def symlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    """A symbolic link."""
    return entry(name, b"", type=tarfile.SYMTYPE, linkname=target)


def hard_link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    """A hard link."""
    return entry(name, b"", type=tarfile.LNKTYPE, linkname=target)


def layer(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """An uncompressed layer."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member, content in entries:
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


@dataclass
class ImageBlobs:
    """An OCI image as blobs by digest, and the descriptor of its manifest."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    descriptor: dict[str, Any] = field(default_factory=dict)

    def add(self, content: bytes) -> tuple[str, int]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.blobs[digest] = content
        return digest, len(content)


def make_image(
    layers: Iterable[bytes], *, config: Mapping[str, Any] | None = None, compress: bool = False, diff_ids: Any = None
) -> ImageBlobs:
    """An image of ``layers``, lowest first; ``diff_ids`` replaces the true ones."""
    image = ImageBlobs()
    descriptors, true_ids = [], []
    for content in layers:
        true_ids.append(f"sha256:{hashlib.sha256(content).hexdigest()}")
        digest, size = image.add(gzip.compress(content, 1, mtime=0) if compress else content)
        descriptors.append({"mediaType": _LAYER + ("+gzip" if compress else ""), "digest": digest, "size": size})
    document = {
        "architecture": "amd64",
        "os": "linux",
        "config": dict(config or {}),
        "rootfs": {"type": "layers", "diff_ids": diff_ids or true_ids},
    }
    digest, size = image.add(json.dumps(document).encode())
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": {"mediaType": _CONFIG, "digest": digest, "size": size},
        "layers": descriptors,
    }
    digest, size = image.add(json.dumps(manifest).encode())
    image.descriptor = {"mediaType": _MANIFEST, "digest": digest, "size": size}
    return image


def write_archive(path: Path, images: Mapping[str, ImageBlobs]) -> Path:
    """An OCI archive of ``images`` by name."""
    manifests = []
    blobs: dict[str, bytes] = {}
    for name, image in images.items():
        annotations = {"org.opencontainers.image.ref.name": name} if name else {}
        manifests.append(image.descriptor | {"annotations": annotations})
        blobs |= image.blobs
    index = json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": index}
    files |= {f"blobs/sha256/{digest.removeprefix('sha256:')}": content for digest, content in blobs.items()}
    path.write_bytes(layer(*(entry(name, content) for name, content in files.items())))
    return path


class Registry:
    """The images that a test registry serves, and what was asked of it."""

    def __init__(self, *, user: str = "", password: str = "") -> None:
        self.credential = base64.b64encode(f"{user}:{password}".encode()).decode() if user else ""
        self.manifests: dict[tuple[str, str], ImageBlobs] = {}
        self.requests: list[str] = []
        self.address = ""

    def push(self, repository: str, tag: str, image: ImageBlobs) -> None:
        self.manifests[repository, tag] = image
        self.manifests[repository, image.descriptor["digest"]] = image

    def find(self, path: str) -> tuple[bytes, str] | None:
        """Content and media type of a path of the distribution API."""
        repository, _, rest = path.removeprefix("/v2/").partition("/manifests/")
        if rest and (repository, rest) in self.manifests:
            image = self.manifests[repository, rest]
            return image.blobs[image.descriptor["digest"]], _MANIFEST
        digest = path.rpartition("/blobs/")[2]
        for image in self.manifests.values():
            if digest in image.blobs:
                return image.blobs[digest], "application/octet-stream"
        return None


@contextmanager
def serve_registry(registry: Registry) -> Iterator[Registry]:
    """``registry`` on a free loopback port, its ``address`` set."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            registry.requests.append(self.path)
            if registry.credential and self.headers.get("Authorization") != f"Basic {registry.credential}":
                self._reply(401, b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}', "json")
            elif self.path == "/v2/":
                self._reply(200, b"{}", "application/json")
            elif (found := registry.find(self.path)) is not None:
                self._reply(200, *found)
            else:
                self._reply(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}', "json")

        do_HEAD = do_GET  # noqa: N815

        def _reply(self, code: int, body: bytes, media_type: str) -> None:
            self.send_response(code)
            self.send_header("Content-Type", media_type if "/" in media_type else f"application/{media_type}")
            self.send_header("Content-Length", str(len(body)))
            if code == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="test"')
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        registry.address = f"127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield registry
        finally:
            server.shutdown()
            thread.join()
