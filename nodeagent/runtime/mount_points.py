"""Places in an image's root file system at which something will be mounted, whatever links the image has on the way.

runc makes what a link points to and is missing, crun refuses it. So it is made before either looks: inside of the root
file system, as every name of an image is meant. Nobody else is in there yet.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from nodeagent.runtime.errors import ContainerConfigError
from nodeagent.runtime.spec import Mount

_LINKS_AT_MOST = 40
_FILE_MODE = 0o644


def make_linked_places(rootfs: Path, mounts: Iterable[Mount], *, owner: int) -> None:
    """Make the targets of ``mounts`` that are reached by links of the image and don't exist, as ``owner``'s.

    Raises ContainerConfigError for links that lead nowhere, OSError.
    """
    for mount in mounts:
        place = _behind_links(rootfs, mount.target)
        if place is not None and not os.path.lexists(place):
            _make(rootfs, place, directory=mount.source.is_dir(), owner=owner)


def _behind_links(rootfs: Path, target: str) -> Path | None:
    """What ``target`` stands for below ``rootfs``, None if no link is on the way."""
    pending, place, links = target.split("/")[::-1], rootfs, 0
    while pending:
        part = pending.pop()
        if part == "..":
            place = place.parent if place != rootfs else rootfs
        elif part not in ("", ".", "/"):
            place /= part
            if place.is_symlink():
                links += 1
                if links > _LINKS_AT_MOST:
                    raise ContainerConfigError(f"mount path {target}: too many links in the image")
                link = place.readlink()
                place = rootfs if link.is_absolute() else place.parent
                pending.extend(link.parts[::-1])
    return place if links else None


def _make(rootfs: Path, place: Path, *, directory: bool, owner: int) -> None:
    missing = [each for each in (place, *place.parents) if each.is_relative_to(rootfs) and not each.exists()]
    for each in reversed(missing):
        if each == place and not directory:
            os.mknod(each, stat.S_IFREG | _FILE_MODE)
        else:
            each.mkdir()
        os.chown(each, owner, owner)
