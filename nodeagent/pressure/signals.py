"""What is left of the node's resources now, by eviction signal.

Memory that is available is all that is not in use, page cache that the kernel could drop counted as available: the same
figure that the working set is the rest of. Reading all signals takes some ten microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nodeagent.disk.filesystems import Filesystem, filesystem_of
from nodeagent.metrics.machine import MachineSample, process_counts
from nodeagent.pressure.thresholds import (
    IMAGEFS_AVAILABLE,
    IMAGEFS_INODES_FREE,
    MEMORY_AVAILABLE,
    NODEFS_AVAILABLE,
    NODEFS_INODES_FREE,
    PID_AVAILABLE,
)


@dataclass(frozen=True, slots=True)
class Observation:
    """One signal: how much is available of how much (bytes, inodes or process ids)."""

    available: int
    capacity: int


def observe(machine: MachineSample, *, memory_bytes: int, nodefs: Path, imagefs: Path) -> Mapping[str, Observation]:
    """All signals. ``memory_bytes`` is the machine's; the paths are directories on the two file systems. OSError."""
    running, most = process_counts()
    return {
        MEMORY_AVAILABLE: Observation(max(0, memory_bytes - machine.memory_working_set_bytes), memory_bytes),
        **_of_filesystem(filesystem_of(nodefs), NODEFS_AVAILABLE, NODEFS_INODES_FREE),
        **_of_filesystem(filesystem_of(imagefs), IMAGEFS_AVAILABLE, IMAGEFS_INODES_FREE),
        PID_AVAILABLE: Observation(max(0, most - running), most),
    }


def _of_filesystem(found: Filesystem, space: str, inodes: str) -> dict[str, Observation]:
    """A file system that makes inodes as it needs them says that it has none, and can't run out of them."""
    signals = {space: Observation(found.available_bytes, found.capacity_bytes)}
    return signals | ({inodes: Observation(found.inodes_free, found.inodes)} if found.inodes else {})
