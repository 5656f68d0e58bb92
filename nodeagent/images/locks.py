"""Advisory file locks that order the processes and the threads of one process alike."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOOK_EVERY_S = 0.02


class LockedError(Exception):
    """The lock is held elsewhere and the caller's patience is at its end."""


@contextmanager
def file_lock(path: Path, *, shared: bool = False, patience_s: float | None = None) -> Iterator[None]:
    """Hold ``flock`` on ``path``, created if missing. LockedError after ``patience_s`` (None: never)."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        if patience_s is None:
            fcntl.flock(descriptor, kind)
        else:
            _lock_within(descriptor, kind, patience_s, path)
        yield
    finally:
        os.close(descriptor)


def _lock_within(descriptor: int, kind: int, patience_s: float, path: Path) -> None:
    """Lock, trying again and again: flock knows no deadline."""
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline_s:
                raise LockedError(str(path)) from error
            time.sleep(_LOOK_EVERY_S)
        else:
            return
