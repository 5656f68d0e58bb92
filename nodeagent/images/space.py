"""How much of the disk images may take while they arrive: a pull never fills it to the last block."""

from __future__ import annotations

import os
from pathlib import Path

RESERVE_SHARE = 0.02
_RESERVE_LIMIT_BYTES = 1 << 30


def available_bytes(directory: Path) -> int:
    """What may be written on the file system of ``directory`` before it counts as full; at least 0.

    The last hundredths (1 GiB at most) stay free for what runs on the node.
    """
    status = os.statvfs(directory)
    reserve = min(int(status.f_blocks * status.f_frsize * RESERVE_SHARE), _RESERVE_LIMIT_BYTES)
    return max(0, status.f_bavail * status.f_frsize - reserve)


def megabytes(size_bytes: float) -> str:
    """A size as users read it, in MB."""
    return f"{size_bytes / 1e6:.1f} MB"
