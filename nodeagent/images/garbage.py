"""Which images of a store may go, in which order, and taking away what no image needs.

An image goes only if no root file system stands on it, no pod of the node needs it and it is not pinned; those without
a name go first, then those whose last use is longest ago. The order and the conditions are the kubelet's. What is freed
is measured on disk, because images share layers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nodeagent.images.layers import LayerStore
from nodeagent.images.layout import IndexEntry, Layout
from nodeagent.images.manifest import StoredManifest
from nodeagent.images.scratch import Scratch
from nodeagent.images.uses import Uses, disk_bytes


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """What went: names (the manifest's digest for an image without) and the bytes that this freed on disk.

    ``busy`` tells that an image was being unpacked all the time and nothing could be removed.
    """

    references: tuple[str, ...] = ()
    freed_bytes: int = 0
    busy: bool = False


@dataclass(frozen=True, slots=True)
class StoredImage:
    """All entries of one manifest in the index."""

    entries: tuple[IndexEntry, ...]
    stack: tuple[Path, ...]

    @property
    def digest(self) -> str:
        return self.entries[0].digest

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(entry.reference for entry in self.entries if entry.reference)

    @property
    def pinned(self) -> bool:
        return any(entry.pinned for entry in self.entries)


@dataclass(frozen=True, slots=True)
class Conditions:
    """What an image must fulfil to go: stored and last used at least so long ago; pinned ones only where asked."""

    now_unix_s: float
    minimum_age_s: float = 0.0
    unused_s: float = 0.0
    pinned_too: bool = False


def eviction_order(
    images: Iterable[StoredImage], *, in_use: Collection[str], conditions: Conditions, uses: Uses
) -> list[StoredImage]:
    """The images that may go, those first that are missed least; ``in_use`` holds digests of manifests."""

    def may_go(image: StoredImage) -> bool:
        stored = max(entry.stored_unix_s for entry in image.entries)
        return (
            image.digest not in in_use
            and (conditions.pinned_too or not image.pinned)
            and conditions.now_unix_s - stored >= conditions.minimum_age_s
            and conditions.now_unix_s - _last_used(image, uses) >= conditions.unused_s
        )

    return sorted(filter(may_go, images), key=lambda image: (bool(image.names), _last_used(image, uses)))


def _last_used(image: StoredImage, uses: Uses) -> float:
    return max(uses.last_used_unix_s(entry) for entry in image.entries)


class Sweeper:
    """Removes what no image of the index needs. The caller keeps everybody else from entering images meanwhile."""

    def __init__(
        self,
        layout: Layout,
        layers: LayerStore,
        scratch: Scratch,
        uses: Uses,
        *,
        manifests: Callable[[], Iterator[StoredManifest]],
    ) -> None:
        self._layout, self._layers, self._scratch, self._uses = layout, layers, scratch, uses
        self._manifests = manifests

    def sweep(self) -> int:
        """Remove blobs, layers and leftovers; returns the bytes that this freed on disk."""
        oldest_work_unix_s = self._scratch.sweep()
        kept = list(self._manifests())
        needed = {digest for manifest in kept for digest in manifest.blob_digests()}
        freed_bytes = 0
        for blob in (self._layout.blobs / "sha256").iterdir():
            if f"sha256:{blob.name}" not in needed:
                status = blob.stat()
                if max(status.st_mtime, status.st_ctime) < oldest_work_unix_s:
                    freed_bytes += disk_bytes(blob)
                    blob.unlink(missing_ok=True)
        stacks = (self._layers.paths([layer.diff_id for layer in manifest.layers]) for manifest in kept)
        freed_bytes += self._layers.collect({path for stack in stacks for path in stack})
        self._uses.forget([manifest.digest for manifest in kept])
        return freed_bytes
