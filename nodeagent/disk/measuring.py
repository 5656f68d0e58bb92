"""Counting directory trees with du(1).

A container fills its directories as it likes: millions of files, names of any bytes, depths beyond every path limit,
links that point anywhere, and all of it changing underway. ``du`` walks such trees by descriptors, follows no link,
stays on the file system, counts a hard link once and holds no lock of this process while it does.
"""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

logger = logging.getLogger(__name__)

LIMIT_S = 120.0


def tree_bytes(directories: Iterable[Path]) -> dict[Path, int]:
    """The disk space of each tree by its directory; one that does not exist is left out. Blocks.

    No directory may lie in another one: what was counted once is not counted again.
    """
    return _measure(directories, "--block-size=1")


def tree_inodes(directories: Iterable[Path]) -> dict[Path, int]:
    """The number of files and directories in each tree, counted as :func:`tree_bytes` does. Blocks."""
    return _measure(directories, "--inodes")


def _measure(directories: Iterable[Path], unit: str) -> dict[Path, int]:
    present = [directory for directory in dict.fromkeys(directories) if directory.is_dir()]
    if not present:
        return {}
    # Out of the way of everything else on the node: it reads much and nobody waits for it.
    command = ["nice", "-n", "10", "du", "--summarize", "--one-file-system", "--null", unit, "--files0-from=-"]
    names = b"\0".join(map(os.fsencode, present))
    try:
        done = subprocess.run(command, input=names, capture_output=True, timeout=LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        logger.warning("disk_not_measured", extra={"error": str(error)})
        return {}
    found: dict[Path, int] = {}
    for line in done.stdout.split(b"\0"):
        number, _, name = line.partition(b"\t")
        if name:
            found[Path(os.fsdecode(name))] = int(number)
    return found
