"""Rotation of the processes' log files.

A process keeps its log open for appending for as long as it runs, also while no supervisor does; so the file is copied
and cut rather than renamed. What is written between the copy and the cut is lost, at most a few lines a rotation, and
no process ever needs to reopen anything.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MAXIMUM_BYTES = 16 * 1024**2
KEPT_FILES = 3


def rotate_if_large(path: Path, *, maximum_bytes: int = MAXIMUM_BYTES, kept: int = KEPT_FILES) -> bool:
    """Move the content of ``path`` to ``path.1`` (and that to ``.2`` ...) once it exceeds ``maximum_bytes``."""
    try:
        if path.stat().st_size <= maximum_bytes:
            return False
    except FileNotFoundError:
        return False
    for number in range(kept, 1, -1):
        older = _numbered(path, number - 1)
        if older.exists():
            older.replace(_numbered(path, number))
    shutil.copyfile(path, _numbered(path, 1))
    os.truncate(path, 0)
    return True


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
