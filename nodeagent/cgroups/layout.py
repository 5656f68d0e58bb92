"""Where this machine mounts its cgroup controllers.

A machine is "version 2" only when the hierarchy at ``/sys/fs/cgroup`` itself is cgroup2. A hybrid machine mounts
cgroup2 somewhere below, without controllers, and is treated as version 1, as runc treats it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nodeagent.mounts import Mount, read_mounts

UNIFIED = ""
HYBRID = "unified"


class CgroupError(Exception):
    """The machine's cgroups cannot be used, or a cgroup refused a change."""


@dataclass(frozen=True, slots=True)
class CgroupLayout:
    """Controllers and the mount point of the hierarchy each belongs to.

    On version 2 there is one entry named ``""``. On a hybrid machine ``unified`` is the hierarchy without controllers,
    in which runc makes every cgroup too.
    """

    version: Literal[1, 2]
    mounts: Mapping[str, Path]

    def has(self, controller: str) -> bool:
        """Whether limits of that controller can be written at all."""
        if self.version == 1:
            return controller in self.mounts
        return controller in _words(self.mounts[UNIFIED] / "cgroup.controllers")

    def directory(self, controller: str, path: str) -> Path:
        """The directory of cgroup ``path`` (absolute, ``/`` is the root) in the hierarchy of ``controller``."""
        mount = self.mounts[UNIFIED if self.version == 2 else controller]
        return mount / path.lstrip("/")

    def directories(self, path: str) -> list[Path]:
        """The cgroup's directories in all hierarchies, each once."""
        return [mount / path.lstrip("/") for mount in dict.fromkeys(self.mounts.values())]


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").split()
    except OSError:
        return []


def layout_of(mounts: Sequence[Mount]) -> CgroupLayout:
    """The layout that a machine's mounts make. Raises CgroupError where there is none."""
    version_1: dict[str, Path] = {}
    unified = [Path(mount.point) for mount in mounts if mount.kind == "cgroup2"]
    for mount in mounts:
        if mount.kind == "cgroup":
            names = [option for option in mount.options if option not in ("rw", "ro", "xattr")]
            version_1.update({name: version_1.get(name, Path(mount.point)) for name in names})
    if version_1.keys() & {"cpu", "memory", "pids"}:
        hybrid = {HYBRID: unified[0]} if unified else {}
        return CgroupLayout(version=1, mounts=version_1 | hybrid)
    if unified:
        return CgroupLayout(version=2, mounts={UNIFIED: unified[0]})
    raise CgroupError("no cgroup hierarchy is mounted under /sys/fs/cgroup")


def detect() -> CgroupLayout:
    """The layout of this machine. Raises CgroupError."""
    return layout_of(read_mounts())
