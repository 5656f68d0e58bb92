"""The kernel's mounts: mount(2), umount2(2), and the table of them in mountinfo (proc(5))."""

from __future__ import annotations

import ctypes
import errno
import os
import re
from pathlib import Path
from typing import Final, NamedTuple

MOUNTINFO: Final = Path("/proc/self/mountinfo")
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_BIND: Final = 1 << 12
MS_REC: Final = 1 << 14
MS_PRIVATE: Final = 1 << 18
MS_SHARED: Final = 1 << 20

_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_OCTAL = re.compile(r"\\([0-7]{3})")
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)


class Mount(NamedTuple):
    """A line of mountinfo.

    ``point`` is where, ``device`` its ``major:minor``, ``kind`` the type of the file system, ``source`` what it was
    mounted from, ``data`` the options of the file system, with commas.
    """

    number: int
    device: str
    point: str
    tags: tuple[str, ...]
    kind: str
    source: str
    data: str

    @property
    def peers(self) -> set[str]:
        """The kinds of its propagation: ``shared``, ``master``, ``unbindable``."""
        return {tag.partition(":")[0] for tag in self.tags}

    @property
    def options(self) -> list[str]:
        return self.data.split(",")


def parse_mounts(mountinfo: str) -> list[Mount]:
    """The mounts in the text of mountinfo, in its order: what is mounted on another comes later."""
    return [_parsed(line.split(" ")) for line in mountinfo.splitlines()]


def _parsed(fields: list[str]) -> Mount:
    end = fields.index("-", 6)
    kind, source, data = fields[end + 1 : end + 4]
    tags = tuple(fields[6:end])
    return Mount(int(fields[0]), fields[2], _decoded(fields[4]), tags, kind, _decoded(source), data)


def read_mounts(mountinfo: Path = MOUNTINFO) -> list[Mount]:
    """The mounts that this process sees. Raises OSError."""
    return parse_mounts(mountinfo.read_text(encoding="utf-8", errors="surrogateescape"))


def mount(source: str | Path | None, target: Path, kind: str | None = None, *, flags: int = 0, data: str = "") -> None:
    """mount(2), with ``data`` for the file system. Raises OSError with the target."""
    failed = _libc.mount(
        None if source is None else os.fsencode(source),
        os.fsencode(target),
        None if kind is None else kind.encode(),
        flags,
        os.fsencode(data) if data else None,
    )
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, f"mount: {os.strerror(number)}", str(target))


def unmount(target: str | Path) -> bool:
    """Take a mount away from where it can be found; who uses it keeps it. False where nothing was. Raises OSError."""
    if _libc.umount2(os.fsencode(target), _MNT_DETACH | _UMOUNT_NOFOLLOW) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOENT):
        return False
    raise OSError(number, f"unmount: {os.strerror(number)}", str(target))


def _decoded(field: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), field) if "\\" in field else field
