"""The places from which one container's start takes what it mounts.

Where the pod has users of its own, where a ``subPath`` has been walked to, and where the OCI runtime has other mounts
than the agent (``nodeagent.runtime.launching``), that is a mount made for this start alone: the OCI runtime mounts from
there into the container, and once the container exists it is taken away.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from nodeagent.isolation.mounts import bind
from nodeagent.isolation.ranges import PodUsers
from nodeagent.mounts import unmount
from nodeagent.volumes.subpath import open_subpath

_LOCKED = {"nosuid": os.ST_NOSUID, "nodev": os.ST_NODEV, "noexec": os.ST_NOEXEC}


class ContainerBinds:
    """Mounts for one container's start, below ``directory``, which nobody else uses. Methods block.

    With ``always`` everything is mounted there, also what the OCI runtime could mount from where it is.
    """

    def __init__(self, directory: Path, users: PodUsers | None, *, always: bool = False) -> None:
        self._directory, self._users, self._always = directory, users, always
        self._count = 0

    def place(
        self,
        source: Path,
        *,
        subpath: str = "",
        propagate: bool = False,
        readonly: bool = False,
        of_image: bool = False,
    ) -> Path:
        """Where ``source``, or what is at ``subpath`` in it, is to be mounted from.

        ``propagate``: what is mounted below it later matters too. ``readonly``: nor may what is mounted below it be
        written. ``of_image``: its owners are the pod's users already, and nothing is made in it. Raises VolumeError,
        OSError.
        """
        if subpath:
            descriptor = open_subpath(source, subpath, make=not of_image)
            try:
                return self._bind(descriptor, propagate, readonly, users=None if of_image else self._users)
            finally:
                os.close(descriptor)
        if self._always or readonly or self._users is not None:
            return self._bind(source, propagate, readonly, users=None if of_image else self._users)
        return source

    def kept(self, place: Path) -> tuple[str, ...]:
        """Options of the mount at ``place`` that a user namespace can't drop, and that have to be said again there."""
        if self._users is None:
            return ()
        flags = os.statvfs(place).f_flag
        return tuple(name for name, flag in _LOCKED.items() if flags & flag)

    def release(self) -> None:
        """Take all places away; repeatable. Raises OSError."""
        if self._count:
            for number in range(self._count):
                unmount(self._directory / str(number))
            shutil.rmtree(self._directory)
            self._count = 0

    def _bind(self, source: Path | int, propagate: bool, readonly: bool, *, users: PodUsers | None) -> Path:
        place = self._directory / str(self._count)
        self._count += 1
        bind(source, place, users=users, propagate=propagate, readonly=readonly)
        return place
