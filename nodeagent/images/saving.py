"""Images of the store as archives that other tools read: skopeo, podman, docker, another node.

An OCI archive is the store's own blobs behind an index of their own, written straight out. A Docker archive wants its
layers uncompressed, so skopeo makes it.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Literal, cast

from nodeagent.images.image import Image
from nodeagent.images.layout import CorruptBlobError, MissingBlobError
from nodeagent.images.names import parsed_or_none
from nodeagent.images.store import ImageStore
from nodeagent.images.transport import TransportError

ArchiveForm = Literal["oci-archive", "docker-archive"]
_CHUNK_BYTES = 1 << 20


class SaveError(Exception):
    """Images can't be saved; the message says which and why."""


def save_images(store: ImageStore, names: Sequence[str], output: IO[bytes], *, form: ArchiveForm) -> None:
    """Write the images of ``names`` (or ids) to ``output`` as one archive. Raises :class:`SaveError`, OSError."""
    chosen: list[tuple[Image, tuple[str, ...]]] = []
    for name in names:
        image = store.get(name)
        if image is None:
            raise SaveError(f"no image {name} on this node: flotilla image ls shows what there is")
        wanted = str(parsed_or_none(name))
        asked = tuple(reference for reference in image.references if reference == wanted)
        chosen.append((image, asked or image.references))
    try:
        # What is being saved is not removed meanwhile.
        with store.entering():
            if form == "oci-archive":
                _write_oci(store, chosen, output)
            else:
                _write_docker(store, chosen, output)
    except (CorruptBlobError, TransportError) as error:
        raise SaveError(f"saving {', '.join(names)}: {error}") from error


def _descriptors(store: ImageStore, chosen: Sequence[tuple[Image, tuple[str, ...]]]) -> list[dict[str, Any]]:
    found = []
    for image, names in chosen:
        entry = next(entry for entry in store.layout.index() if entry.digest == image.digest)
        descriptor = {"mediaType": entry.media_type, "digest": entry.digest, "size": entry.size_bytes}
        for name in names or ("",):
            annotations = {"org.opencontainers.image.ref.name": name, "io.containerd.image.name": name}
            found.append(descriptor | ({"annotations": annotations} if name else {}))
    return found


def _index(descriptors: Sequence[dict[str, Any]]) -> bytes:
    media_type = "application/vnd.oci.image.index.v1+json"
    return json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": descriptors}).encode()


def _write_oci(store: ImageStore, chosen: Sequence[tuple[Image, tuple[str, ...]]], output: IO[bytes]) -> None:
    blobs = dict.fromkeys(digest for image, _ in chosen for digest in store.blobs_of(image))
    with tarfile.open(fileobj=output, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for name, content in (
            ("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
            ("index.json", _index(_descriptors(store, chosen))),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for digest in blobs:
            _add_blob(tar, store.layout.blob(digest), digest)


def _add_blob(tar: tarfile.TarFile, path: Path, digest: str) -> None:
    member = tarfile.TarInfo(f"blobs/sha256/{path.name}")
    try:
        with path.open("rb") as file:
            member.size = path.stat().st_size
            hashed = _Hashed(file)
            tar.addfile(member, cast("IO[bytes]", hashed))
    except FileNotFoundError as error:
        raise MissingBlobError(f"{digest} is missing: pull or load the image again") from error
    if hashed.digest != digest:
        raise CorruptBlobError(f"{digest} is damaged on disk: pull or load the image again")


class _Hashed:
    """A file whose content is hashed as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._hash = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._hash.update(data)
        return data

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def _write_docker(store: ImageStore, chosen: Sequence[tuple[Image, tuple[str, ...]]], output: IO[bytes]) -> None:
    if len({image.digest for image, _ in chosen}) > 1:
        raise SaveError("a docker-archive takes one image: save each by itself, or use --format oci-archive")
    tags = [f"--additional-tag={name}" for _, names in chosen for name in names if "@" not in name]
    with store.scratch.open("save") as directory:
        layout = write_layout(store, chosen[0][0], directory)
        archive = directory / "archive.tar"
        store.skopeo.copy_out(layout, f"docker-archive:{archive}", flags=tags)
        with archive.open("rb") as made:
            shutil.copyfileobj(made, output, _CHUNK_BYTES)


def write_layout(store: ImageStore, image: Image, directory: Path) -> Path:
    """A layout below ``directory`` that names ``image`` alone; its blobs are the store's."""
    layout = directory / "layout"
    layout.mkdir()
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (layout / "index.json").write_bytes(_index(_descriptors(store, [(image, ())])))
    return layout
