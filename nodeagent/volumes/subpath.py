"""Where in a volume a ``subPath`` leads, without ever leaving the volume.

Links are followed by hand and only inside: those of a ConfigMap's files have to be, and a container may have put any
other there. A link to an absolute path or above the volume is refused, as by the kubelet. The way is walked from one
open directory to the next, and it is the descriptor at its end that gets mounted: whatever containers change meanwhile,
nothing else than what has been looked at is.

Missing directories are made as the kubelet makes them: with the permissions of the volume's own root, and with its
group where the root passes that on (``fsGroup``), so that whoever may write to the volume may write there.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from pathlib import Path

from nodeagent.volumes.payload import VolumeError

_LINK_LIMIT = 40
_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_subpath(volume: Path, subpath: str, *, make: bool = True) -> int:
    """A descriptor (``O_PATH``) of ``subpath`` in ``volume``; missing directories are made as the volume's root is.

    Without ``make`` nothing is made.
    Raises :class:`VolumeError`, OSError. The caller closes it.
    """
    if subpath.startswith("/") or ".." in subpath.split("/"):
        raise VolumeError(f"subPath {subpath!r} must be relative and without '..'")
    way = [os.open(volume, os.O_PATH | os.O_CLOEXEC)]
    try:
        _walk(way, deque(subpath.split("/")), subpath, make)
        return way.pop()
    finally:
        for descriptor in way:
            os.close(descriptor)


def _walk(way: list[int], pending: deque[str], subpath: str, make: bool) -> None:
    """Go on from the last directory of ``way`` until nothing is pending."""
    links = 0
    while pending:
        part = pending.popleft()
        if part == "..":
            if len(way) == 1:
                raise VolumeError(f"subPath {subpath!r} leads out of its volume")
            os.close(way.pop())
        elif part not in ("", "."):
            found = _open(part, way[-1], like=way[0] if make else None)
            kind = stat.S_IFMT(os.fstat(found).st_mode)
            if kind != stat.S_IFLNK:
                way.append(found)
                if pending and kind != stat.S_IFDIR:
                    raise VolumeError(f"subPath {subpath!r}: {part} is not a directory")
                continue
            links += 1
            target = os.readlink("", dir_fd=found)
            os.close(found)
            if target.startswith("/") or links > _LINK_LIMIT:
                raise VolumeError(f"subPath {subpath!r} leads out of its volume")
            pending.extendleft(reversed(target.split("/")))


def _open(name: str, directory: int, *, like: int | None) -> int:
    try:
        return os.open(name, _FLAGS, dir_fd=directory)
    except FileNotFoundError:
        if like is None:
            raise
        return _make(name, directory, mode=stat.S_IMODE(os.fstat(like).st_mode))


def _make(name: str, directory: int, *, mode: int) -> int:
    """Make a directory and open it. The mode is set through the new directory itself, past the umask."""
    os.mkdir(name, mode=0o700, dir_fd=directory)
    made = os.open(name, _DIRECTORY_FLAGS, dir_fd=directory)
    try:
        os.fchmod(made, mode)
        return os.open(".", _FLAGS, dir_fd=made)
    finally:
        os.close(made)
