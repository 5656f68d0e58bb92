"""Directory changes as readable events, straight from the kernel.

The standard library has no inotify, and the two calls needed are smaller than a dependency. The descriptor is
non-blocking and meant for an event loop's ``add_reader``.
"""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import dataclass
from pathlib import Path

IN_MODIFY = 0x2
IN_CLOSE_WRITE = 0x8
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_DELETE_SELF = 0x400
IN_MOVE_SELF = 0x800
IN_Q_OVERFLOW = 0x4000

_HEADER = struct.Struct("iIII")
_READ_SIZE = 65536
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class InotifyEvent:
    """One change: ``mask`` of ``IN_*`` bits, ``name`` of the entry in the watched directory (empty for the watched)."""

    watch: int
    mask: int
    name: str


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


class Inotify:
    """One inotify instance; close it when done."""

    def __init__(self) -> None:
        self._descriptor = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1")

    def fileno(self) -> int:
        return self._descriptor

    def add(self, path: Path, mask: int) -> int:
        """Watch a file or directory; the watch's number. Raises OSError."""
        return _checked(_libc.inotify_add_watch(self._descriptor, os.fsencode(path), mask), f"watch {path}")

    def remove(self, watch: int) -> None:
        """End a watch; one that the kernel has ended already is fine."""
        _libc.inotify_rm_watch(self._descriptor, watch)

    def read(self) -> list[InotifyEvent]:
        """The events that are ready, none if there are none."""
        try:
            data = os.read(self._descriptor, _READ_SIZE)
        except BlockingIOError:
            return []
        events: list[InotifyEvent] = []
        offset = 0
        while offset < len(data):
            watch, mask, _, length = _HEADER.unpack_from(data, offset)
            offset += _HEADER.size
            name = data[offset : offset + length].rstrip(b"\0")
            events.append(InotifyEvent(watch, mask, os.fsdecode(name)))
            offset += length
        return events

    def close(self) -> None:
        """Release the instance; repeatable."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
