"""The tmpfs mounts under volumes (tmpfs(5)), and finding what is mounted below a directory."""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path

_NOSUID_NODEV = 2 | 4
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_OCTAL = re.compile(r"\\([0-7]{3})")
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)


def mount_tmpfs(
    directory: Path, *, mode: int, size_bytes: int | None = None, owner: int = 0, group: int | None = None
) -> None:
    """A tmpfs on ``directory``, owned by user ``owner`` and ``group``, unless one is there. Raises OSError.

    Without ``group`` it belongs to the group of the owner's number.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if directory.is_mount():
        return
    options = f"mode={mode:o},uid={owner},gid={owner if group is None else group}" + (
        f",size={size_bytes}" if size_bytes else ""
    )
    if _libc.mount(b"flotilla", os.fsencode(directory), b"tmpfs", _NOSUID_NODEV, options.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"tmpfs: {os.strerror(number)}", str(directory))


def unmount_below(directory: Path) -> None:
    """Unmount everything at or below ``directory``, innermost first, so that nothing foreign can be deleted with it."""
    root = os.path.realpath(directory)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:  # noqa: PTH123
        points = [_OCTAL.sub(lambda match: chr(int(match[1], 8)), line.split(" ", 5)[4]) for line in mounts]
    for point in reversed(points):
        if (point == root or point.startswith(f"{root}/")) and _libc.umount2(
            os.fsencode(point), _MNT_DETACH | _UMOUNT_NOFOLLOW
        ) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"unmount: {os.strerror(number)}", point)
