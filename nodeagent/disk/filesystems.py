"""Sizes of the file systems that the node's files lie on (statvfs(3))."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from nodeagent.mounts import read_mounts


@dataclass(frozen=True, slots=True)
class Filesystem:
    """``available`` is what programs without privilege may still take; some file systems count no inodes (0)."""

    capacity_bytes: int
    available_bytes: int
    inodes: int
    inodes_free: int

    @property
    def used_bytes(self) -> int:
        return self.capacity_bytes - self.available_bytes


def filesystem_of(path: Path) -> Filesystem:
    """The file system that holds ``path``. Raises OSError."""
    found = os.statvfs(path)
    return Filesystem(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, found.f_files, found.f_favail)


def shares_filesystem(one: Path, other: Path) -> bool:
    """Whether both paths lie on the same file system. Raises OSError."""
    return one.stat().st_dev == other.stat().st_dev


def device_of(path: Path) -> str:
    """The source that the file system of ``path`` is mounted from, as mount(8) names it; empty if it is not listed."""
    number = path.stat().st_dev
    wanted = f"{os.major(number)}:{os.minor(number)}"
    return next((mount.source for mount in read_mounts() if mount.device == wanted), "")
