"""hostPath volumes: a path of the node itself, checked or made as its type asks (core/v1 HostPathType)."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

from flotilla.api.objects import KubeObject
from nodeagent.volumes.payload import VolumeError

_CHECKS: dict[str, tuple[Callable[[int], bool], str]] = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "FileOrCreate": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket file"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


def host_path(source: KubeObject) -> Path:
    """The path that a ``hostPath`` source names. Raises :class:`VolumeError`."""
    path, kind = Path(source["path"]), source.get("type") or ""
    if not path.is_absolute() or ".." in path.parts:
        raise VolumeError(f"hostPath must be absolute and without '..': {path}")
    try:
        if kind == "DirectoryOrCreate" and not path.exists():
            path.mkdir(mode=0o755, parents=True)
        elif kind == "FileOrCreate" and not path.exists():
            path.touch(mode=0o644)
        elif kind == "" and not path.exists():
            # As container runtimes do for a bind mount whose source is missing.
            path.mkdir(mode=0o755, parents=True)
    except OSError as error:
        raise VolumeError(f"hostPath {path}: {error.strerror}") from error
    if kind:
        _check(path, kind)
    return path


def _check(path: Path, kind: str) -> None:
    if kind not in _CHECKS:
        raise VolumeError(f"hostPath type {kind!r} is unknown")
    fits, what = _CHECKS[kind]
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise VolumeError(f"hostPath type check failed: {path} is not {what}") from error
    if not fits(mode):
        raise VolumeError(f"hostPath type check failed: {path} is not {what}")
