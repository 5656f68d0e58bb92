"""Images made of a directory: its files are the only layer, what is to be run is said beside it.

The same files make the same layer, so that building again what has not changed unpacks nothing.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import stat
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, cast

from nodeagent.images.image import Image, ImageConfig, ImagePullError
from nodeagent.images.store import ImageStore
from nodeagent.node_facts import architecture

_COMPRESSION = 1
_ATTRIBUTES = ("user.", "security.capability")
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class BuildError(Exception):
    """An image can't be built; the message says what to change."""


def _config_document(process: ImageConfig) -> dict[str, Any]:
    """The ``config`` of an image configuration."""
    ports: dict[str, Any] = {port if "/" in port else f"{port}/tcp": {} for port in process.exposed_ports}
    settings = {
        "Entrypoint": list(process.entrypoint),
        "Cmd": list(process.cmd),
        "Env": list(process.env),
        "WorkingDir": process.working_dir,
        "User": process.user,
        "ExposedPorts": ports,
        "Labels": dict(process.labels),
        "StopSignal": process.stop_signal,
    }
    return {name: value for name, value in settings.items() if value}


def build_from_directory(
    store: ImageStore, root: Path, name: str, *, process: ImageConfig, pinned: bool = True
) -> Image:
    """An image whose root file system is what ``root`` holds, with owners, modes, times and attributes.

    Raises :class:`BuildError` and ImagePullError.
    """
    with store.scratch.open("build") as directory:
        layout = directory / "layout"
        (layout / "blobs/sha256").mkdir(parents=True)
        try:
            diff_id, layer = _write_layer(root, layout)
        except OSError as error:
            raise BuildError(f"reading {root}: {error}") from error
        moment = datetime.fromtimestamp(_created_unix_s(root), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        configuration = {
            "created": moment,
            "architecture": architecture(),
            "os": "linux",
            "config": _config_document(process),
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": moment, "created_by": "flotilla image build"}],
        }
        config = _write_document(layout, configuration, _CONFIG)
        manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": [layer]}
        index = {"schemaVersion": 2, "manifests": [_write_document(layout, manifest, _MANIFEST)]}
        (layout / "index.json").write_text(json.dumps(index))
        (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        try:
            return store.load(layout, reference=name, pinned=pinned)[0]
        except ImagePullError as error:
            raise BuildError(error.message) from error


def _created_unix_s(root: Path) -> float:
    """When the newest file at the top was made, so that the same files make the same image."""
    return max((entry.stat(follow_symlinks=False).st_mtime for entry in os.scandir(root)), default=0.0)


def _write_document(layout: Path, document: dict[str, Any], media_type: str) -> dict[str, Any]:
    content = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    digest = hashlib.sha256(content).hexdigest()
    (layout / "blobs/sha256" / digest).write_bytes(content)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


class _Hashing:
    """Where bytes go on to another writer and are hashed on their way."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target, self._hash = target, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        return self._target.write(data)

    def flush(self) -> None:
        self._target.flush()

    @property
    def hex_digest(self) -> str:
        return self._hash.hexdigest()


def _write_layer(root: Path, layout: Path) -> tuple[str, dict[str, Any]]:
    """Pack ``root`` into a blob; returns the digest of its uncompressed content and its descriptor."""
    staged = layout / "layer"
    with staged.open("wb") as file:
        packed = _Hashing(file)
        with gzip.GzipFile("", "wb", _COMPRESSION, cast("IO[bytes]", packed), mtime=0) as squeezed:
            plain = _Hashing(cast("IO[bytes]", squeezed))
            with tarfile.open(fileobj=cast("IO[bytes]", plain), mode="w|", format=tarfile.PAX_FORMAT) as tar:
                for path in _walk(root):
                    _add(tar, path, root)
    staged.rename(layout / "blobs/sha256" / packed.hex_digest)
    size = (layout / "blobs/sha256" / packed.hex_digest).stat().st_size
    descriptor = {"mediaType": _LAYER, "digest": f"sha256:{packed.hex_digest}", "size": size}
    return f"sha256:{plain.hex_digest}", descriptor


def _walk(root: Path) -> Iterator[Path]:
    """Everything in ``root``, itself first, in an order that does not change."""
    for directory, below, names in os.walk(root, onerror=_raise):
        yield Path(directory)
        links = [name for name in below if os.path.islink(os.path.join(directory, name))]  # noqa: PTH114, PTH118
        below[:] = sorted(set(below) - set(links))
        yield from (Path(directory, name) for name in sorted([*names, *links]))


def _raise(error: OSError) -> None:
    raise error


def _add(tar: tarfile.TarFile, path: Path, root: Path) -> None:
    if stat.S_ISSOCK(path.lstat().st_mode):
        return
    member = tar.gettarinfo(path, arcname=str(path.relative_to(root)))
    member.uname = member.gname = ""
    if not member.issym() and not member.islnk():
        for attribute in os.listxattr(path):
            if attribute.startswith(_ATTRIBUTES):
                value = os.getxattr(path, attribute).decode("utf-8", "surrogateescape")
                member.pax_headers = {**member.pax_headers, f"SCHILY.xattr.{attribute}": value}
    if member.isreg():
        with path.open("rb") as content:
            tar.addfile(member, content)
    else:
        tar.addfile(member)
