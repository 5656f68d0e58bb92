"""The tmpfs mounts under volumes (tmpfs(5)), and taking away what is mounted below a directory."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from nodeagent.mounts import MS_NODEV, MS_NOSUID, mount, read_mounts, unmount


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
    mount("flotilla", directory, "tmpfs", flags=MS_NOSUID | MS_NODEV, data=options)


def unmount_below(directory: Path) -> None:
    """Unmount everything at or below ``directory``, innermost first, so that nothing foreign can be deleted with it."""
    root = os.path.realpath(directory)
    for each in reversed(read_mounts()):
        if (each.point == root or each.point.startswith(f"{root}/")) and not unmount(each.point):
            raise OSError(errno.EINVAL, "unmount: something else is mounted over it", each.point)
