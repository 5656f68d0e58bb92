"""The OCI image layout on disk: content-addressed blobs and the index that names them.

``index.json`` is the record of which images exist, ``index.copy`` what it is made from when it is damaged. Both are
replaced atomically under an exclusive lock and read without one; a reader keeps what it parsed until the file's
identity changes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodeagent.images.locks import file_lock

logger = logging.getLogger(__name__)

_REFERENCE = "org.opencontainers.image.ref.name"
_STORED = "flotilla.dev/stored-unix-s"
_SOURCE = "flotilla.dev/source-digest"
_PINNED = "flotilla.dev/pinned"
_ACCESS = "flotilla.dev/access"
_MANIFEST_LIMIT_BYTES = 16 << 20


class CorruptBlobError(Exception):
    """A blob is missing or its content does not have the digest that it is named after."""


class CorruptIndexError(CorruptBlobError):
    """An ``index.json`` is not what it has to be."""


class MissingBlobError(CorruptBlobError):
    """A blob is not there (any more)."""


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One manifest in the index. ``reference`` is empty once every name has moved to another image.

    ``source_digest`` is what the registry has the name stand for, an index of several architectures maybe; empty where
    the image came from no registry. A ``pinned`` image is never collected to make room. ``access`` has fingerprints of
    the credentials that the registry wants for it; empty where it is for everybody.
    """

    digest: str
    size_bytes: int
    media_type: str
    reference: str
    stored_unix_s: float
    source_digest: str = ""
    pinned: bool = False
    access: tuple[str, ...] = ()

    def descriptor(self) -> dict[str, Any]:
        annotations = {_STORED: repr(self.stored_unix_s)}
        if self.reference:
            annotations[_REFERENCE] = self.reference
        if self.source_digest:
            annotations[_SOURCE] = self.source_digest
        if self.pinned:
            annotations[_PINNED] = "true"
        if self.access:
            annotations[_ACCESS] = " ".join(self.access)
        return {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size_bytes,
            "annotations": annotations,
        }


def _entry(descriptor: dict[str, Any]) -> IndexEntry:
    annotations = descriptor.get("annotations") or {}
    return IndexEntry(
        digest=descriptor["digest"],
        size_bytes=descriptor["size"],
        media_type=descriptor["mediaType"],
        reference=annotations.get(_REFERENCE, ""),
        stored_unix_s=float(annotations.get(_STORED, 0)),
        source_digest=annotations.get(_SOURCE, ""),
        pinned=annotations.get(_PINNED) == "true",
        access=tuple(annotations.get(_ACCESS, "").split()),
    )


def read_index(path: Path) -> tuple[IndexEntry, ...]:
    """The entries of an ``index.json``. Raises OSError, and :class:`CorruptIndexError` for what is none."""
    content = path.read_bytes()
    try:
        return tuple(_entry(descriptor) for descriptor in json.loads(content)["manifests"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptIndexError(f"{path} is no index of images: {error!r}") from error


class Layout:
    """An OCI image layout under ``root``, shared by processes.

    The index is what the names of all images hang by, so it is kept twice: an ``index.json`` that is gone or damaged is
    made anew from its copy.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = root / "blobs"
        self._index_path = root / "index.json"
        self._copy_path = root / "index.copy"
        self._signature: tuple[int, int] | None = None
        self._entries: tuple[IndexEntry, ...] = ()

    def create(self) -> None:
        """Make the directories and the layout marker; idempotent."""
        (self.blobs / "sha256").mkdir(parents=True, exist_ok=True)
        marker = self.root / "oci-layout"
        if not marker.exists():
            marker.write_text('{"imageLayoutVersion":"1.0.0"}')

    def index(self) -> tuple[IndexEntry, ...]:
        """All entries, oldest first. Costs one stat while nothing changes."""
        try:
            return self._current()
        except (FileNotFoundError, CorruptIndexError):
            with file_lock(self.root / "index.lock"):
                return self._current_or_copied()

    def _current(self) -> tuple[IndexEntry, ...]:
        status = self._index_path.stat()
        signature = (status.st_ino, status.st_mtime_ns)
        if signature != self._signature:
            self._entries = read_index(self._index_path)
            self._signature = signature
        return self._entries

    def _current_or_copied(self) -> tuple[IndexEntry, ...]:
        """The same under the lock: where there is no good index, it is made from its copy, or empty."""
        try:
            return self._current()
        except FileNotFoundError:
            if not self._copy_path.exists():
                return ()
            problem = "it is gone"
        except CorruptIndexError as error:
            problem = str(error)
            self._index_path.rename(self.root / "index.damaged")
        try:
            entries = read_index(self._copy_path)
        except (FileNotFoundError, CorruptIndexError):
            entries = ()
        logger.error("image_index_damaged", extra={"error": problem, "images_kept": len(entries)})
        self._write(entries)
        return entries

    def edit(self, change: Callable[[tuple[IndexEntry, ...]], Iterable[IndexEntry]]) -> None:
        """Replace the index by what ``change`` makes of it, while no other process does."""
        with file_lock(self.root / "index.lock"):
            self._signature = None
            before = self._current_or_copied()
            after = tuple(change(before))
            if after != before:
                self._write(after)

    def _write(self, entries: Sequence[IndexEntry]) -> None:
        document = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [entry.descriptor() for entry in entries],
        }
        for path in (self._index_path, self._copy_path):
            staged = self.root / f"{path.name}.new"
            with staged.open("w") as file:
                json.dump(document, file)
                file.flush()
                os.fsync(file.fileno())
            staged.rename(path)

    def blob(self, digest: str) -> Path:
        """Where the blob is or would be. ``digest`` must have been parsed from a manifest (``algorithm:hex``)."""
        algorithm, _, encoded = digest.partition(":")
        if algorithm != "sha256" or len(encoded) != 64 or not set(encoded) <= set("0123456789abcdef"):
            raise CorruptBlobError(f"unsupported digest {digest!r}")
        return self.blobs / algorithm / encoded

    def read_json(self, digest: str) -> dict[str, Any]:
        """The verified JSON document in a blob. Raises :class:`CorruptBlobError`."""
        path = self.blob(digest)
        try:
            if path.stat().st_size > _MANIFEST_LIMIT_BYTES:
                raise CorruptBlobError(f"{digest} is larger than {_MANIFEST_LIMIT_BYTES} bytes")
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise MissingBlobError(f"{digest} is missing") from error
        if hashlib.sha256(content).hexdigest() != path.name:
            raise CorruptBlobError(f"{digest} has other content than its digest says")
        document = json.loads(content)
        if not isinstance(document, dict):
            raise CorruptBlobError(f"{digest} is not a JSON object")
        return document
