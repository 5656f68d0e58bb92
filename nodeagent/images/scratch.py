"""Directories for work in progress, which tell the living from what a killed process has left.

Each is held by a lock as long as its process lives. The collector removes those that nobody holds, and spares blobs
that are younger than the oldest one held: they may belong to a pull that has not yet entered its image.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MARK = "began"
_CREATED_WITHIN_S = 60.0


class Scratch:
    """The directories under ``root/tmp``."""

    def __init__(self, root: Path) -> None:
        self._directory = root / "tmp"

    def create(self) -> None:
        self._directory.mkdir(mode=0o700, exist_ok=True)

    @contextmanager
    def open(self, prefix: str) -> Iterator[Path]:
        """A fresh directory, removed at the end."""
        directory = Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=self._directory))
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            (directory / _MARK).touch()
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)
            os.close(descriptor)

    def sweep(self) -> float:
        """Remove what dead processes left; returns when the oldest living work began (infinity: none), Unix seconds."""
        oldest_unix_s = float("inf")
        for directory in list(self._directory.iterdir()):
            try:
                descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                oldest_unix_s = min(oldest_unix_s, _began_unix_s(directory))
            else:
                # Without its mark it may have been made this instant, and not been locked yet.
                if (directory / _MARK).exists() or time.time() - _began_unix_s(directory) > _CREATED_WITHIN_S:
                    shutil.rmtree(directory, ignore_errors=True)
            finally:
                os.close(descriptor)
        return oldest_unix_s


def _began_unix_s(directory: Path) -> float:
    for path in (directory / _MARK, directory):
        try:
            return path.stat().st_mtime
        except FileNotFoundError:
            continue
    return float("inf")
