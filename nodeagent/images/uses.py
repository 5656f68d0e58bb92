"""What is known of an image's use: when it was last asked for, and which names the node's pods need now.

The time of the last use is a file's own, so that noting it is one system call whoever does it. The names that pods need
are the agent's to write and everybody's to read: ``flotilla image rm`` spares what a pod is about to start, also while
no agent runs.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from nodeagent.images.layout import IndexEntry


class Uses:
    """The files ``used/`` and ``needed`` under an image store's ``root``."""

    def __init__(self, root: Path) -> None:
        self._used = root / "used"
        self._needed = root / "needed"
        self._written: frozenset[str] | None = None

    def create(self) -> None:
        self._used.mkdir(mode=0o700, exist_ok=True)

    def touch(self, digest: str) -> None:
        """Note that the image with this manifest is used now."""
        path = self._path(digest)
        try:
            os.utime(path)
        except FileNotFoundError:
            path.touch()

    def last_used_unix_s(self, entry: IndexEntry) -> float:
        """When the image was last asked for, or else stored."""
        try:
            return max(self._path(entry.digest).stat().st_mtime, entry.stored_unix_s)
        except FileNotFoundError:
            return entry.stored_unix_s

    def forget(self, kept: Collection[str]) -> None:
        """Drop what is known of images whose manifests are not among ``kept``."""
        names = {self._path(digest).name for digest in kept}
        for path in self._used.iterdir():
            if path.name not in names:
                path.unlink(missing_ok=True)

    def needed(self) -> frozenset[str]:
        """The canonical names that pods of this node need, as last written by its agent."""
        try:
            return frozenset(self._needed.read_text().split())
        except FileNotFoundError:
            return frozenset()

    def need(self, reference: str) -> None:
        """Add one name. For the agent alone."""
        known = self._written if self._written is not None else self.needed()
        if reference not in known:
            self.need_only(known | {reference})

    def need_only(self, references: Collection[str]) -> None:
        """Make ``references`` all that is needed. For the agent alone."""
        wanted = frozenset(references)
        if wanted == self._written:
            return
        staged = self._needed.with_name("needed.new")
        staged.write_text("\n".join(sorted(wanted)))
        staged.rename(self._needed)
        self._written = wanted

    def _path(self, digest: str) -> Path:
        return self._used / digest.rpartition(":")[2]


def disk_bytes(path: Path) -> int:
    """What a file or a whole directory takes up on disk; a file with several names counts once."""
    seen: set[tuple[int, int]] = set()
    total, pending = 0, [os.fspath(path)]
    while pending:
        current = pending.pop()
        with suppress(FileNotFoundError):
            status = os.lstat(current)
            if (status.st_dev, status.st_ino) in seen:
                continue
            total += status.st_blocks * 512
            if status.st_nlink > 1:
                seen.add((status.st_dev, status.st_ino))
            if stat.S_ISDIR(status.st_mode):
                pending.extend(entry.path for entry in os.scandir(current))
    return total
