"""Where in a volume a ``subPath`` leads, without ever leaving the volume.

Links are followed by hand and only inside: those of a ConfigMap's files have to be, and a container may have put any
other there. A link to an absolute path or above the volume is refused, as by the kubelet.
"""

from __future__ import annotations

import stat
from collections import deque
from pathlib import Path

from nodeagent.volumes.payload import VolumeError

_LINK_LIMIT = 40


def resolve_subpath(volume: Path, subpath: str) -> Path:
    """The real path of ``subpath`` in ``volume``; missing directories are made (0750). Raises :class:`VolumeError`."""
    if subpath.startswith("/") or ".." in subpath.split("/"):
        raise VolumeError(f"subPath {subpath!r} must be relative and without '..'")
    resolved: list[str] = []
    pending = deque(subpath.split("/"))
    links = 0
    while pending:
        part = pending.popleft()
        if part == "..":
            if not resolved:
                raise VolumeError(f"subPath {subpath!r} leads out of its volume")
            resolved.pop()
        elif part not in ("", "."):
            path = volume.joinpath(*resolved, part)
            if _kind(path, last=not pending, subpath=subpath) != stat.S_IFLNK:
                resolved.append(part)
                continue
            links += 1
            target = str(path.readlink())
            if target.startswith("/") or links > _LINK_LIMIT:
                raise VolumeError(f"subPath {subpath!r} leads out of its volume")
            pending.extendleft(reversed(target.split("/")))
    return volume.joinpath(*resolved)


def _kind(path: Path, *, last: bool, subpath: str) -> int:
    try:
        kind = stat.S_IFMT(path.lstat().st_mode)
    except FileNotFoundError:
        path.mkdir(mode=0o750)
        return stat.S_IFDIR
    if not last and kind not in (stat.S_IFDIR, stat.S_IFLNK):
        raise VolumeError(f"subPath {subpath!r}: {path.name} is not a directory")
    return kind
