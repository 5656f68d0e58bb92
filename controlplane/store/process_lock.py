"""A file that one process holds locked for as long as it lives, by which a successor knows that it is dead.

The kernel gives the lock up when the process ends, however it ends, and not before: a process that is stopped keeps it.
Whoever has the lock of the same file on the same boot of the same machine therefore comes after the last holder's end.
"""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path

logger = logging.getLogger(__name__)

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class ProcessLock:
    """Locks ``path`` for this process as soon as it is free, from the first question on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self._mark = ""

    @property
    def mark(self) -> str:
        """Names the lock to successors, ``""`` while another process holds it or there can be none."""
        if not self._mark:
            try:
                self._take()
            except OSError as error:
                logger.debug("no_process_lock", extra={"path": str(self._path), "error": str(error)})
        return self._mark

    def outlived(self, mark: str) -> bool:
        """Whether the process whose lock had this mark has certainly ended."""
        return bool(mark) and self.mark == mark

    def close(self) -> None:
        """Give it up. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor, self._mark = -1, ""

    def _take(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        status = os.fstat(descriptor)
        self._descriptor = descriptor
        self._mark = f"{_BOOT_ID.read_text().strip()}:{status.st_dev}:{status.st_ino}"
