"""Whose volumes are: directories made for pods, and ``fsGroup`` for volumes that have files already.

With an ``fsGroup`` everything belongs to the group and can be written by it.

Source: Kubernetes' ``volume_linux.go``. Containers of other pods may change the tree meanwhile, so every entry is
opened as what it is, never through a link, and changed through what was opened.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

_READ_WRITE, _READ_ONLY, _DIRECTORY = 0o660, 0o440, stat.S_ISGID | 0o110
_STAGED = ".new."
_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def make_directory(directory: Path, *, mode: int, group: int | None = None) -> None:
    """Make ``directory`` with its permissions and its group at once, whatever the umask and whenever the agent dies.

    Nobody else may make it at the same time. Raises OSError.
    """
    staged = directory.with_name(f"{_STAGED}{directory.name}")
    staged.mkdir(parents=True, exist_ok=True)
    if group is not None:
        os.chown(staged, -1, group)
    staged.chmod(mode)
    staged.rename(directory)


def give_to_group(top: Path, group: int, *, readonly: bool = False, only_if_root_differs: bool = False) -> None:
    """Give the tree at ``top`` to ``group``. Raises OSError.

    ``only_if_root_differs``: not if its root has the group and the permissions already (``OnRootMismatch``).
    """
    bits = _READ_ONLY if readonly else _READ_WRITE
    if only_if_root_differs and _is_given(top.stat(), group, bits):
        return
    for _, directories, files, descriptor in os.fwalk(top, topdown=False, follow_symlinks=False):
        for name in (*directories, *files):
            _give(name, descriptor, group, bits)
    _give(str(top), None, group, bits)


def _is_given(status: os.stat_result, group: int, bits: int) -> bool:
    wanted = bits | (_DIRECTORY if stat.S_ISDIR(status.st_mode) else 0)
    return status.st_gid == group and status.st_mode & wanted == wanted


def _give(name: str, directory: int | None, group: int, bits: int) -> None:
    try:
        entry = os.open(name, _FLAGS, dir_fd=directory)
    except FileNotFoundError:
        return
    try:
        status = os.fstat(entry)
        if stat.S_ISLNK(status.st_mode):
            os.chown(name, -1, group, dir_fd=directory, follow_symlinks=False)
        elif not _is_given(status, group, bits):
            path = f"/proc/self/fd/{entry}"
            os.chown(path, -1, group)
            extra = _DIRECTORY if stat.S_ISDIR(status.st_mode) else 0
            os.chmod(path, stat.S_IMODE(status.st_mode) | bits | extra)  # noqa: PTH101
    finally:
        os.close(entry)
