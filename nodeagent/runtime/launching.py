"""Starting the OCI runtime and conmon where the runtime finds what it can work with.

crun refuses hybrid machines whose cgroup2 hierarchy has controllers that version 1 left over (such as hugetlb), though
it uses none of them. So there its programs start in a mount namespace of their own, in which the file that lists these
controllers is covered by an empty one. The machine's own mounts stay as they are: a thread makes the namespace for
itself and starts programs, which are then in it, and nobody else ever is. It lives as long as this thread and what it
started. (Without the whole cgroup2 mount crun works as well, but leaves directories where the mount was, and pods
without pressure information.)

All other mounts have to be the same on both sides, also those made later: root file systems, volumes, network
namespaces. That takes directories whose mounts are shared (mount_namespaces(7)). systemd makes the machine's so; where
they are not, the agent mounts its own directories on themselves, shared. What is mounted elsewhere later is unseen, so
containers get such places by a mount of the agent's (``ContainerBinds``).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from nodeagent.cgroups.layout import HYBRID, CgroupLayout
from nodeagent.mounts import MS_BIND, MS_PRIVATE, MS_REC, MS_SHARED, Mount, mount, read_mounts, unmount
from nodeagent.runtime.processes import spawn

# Where crun looks.
_UNIFIED = Path("/sys/fs/cgroup/unified")
_CONTROLLERS = "cgroup.controllers"
_CLONE_NEWNS = 0x20000
_libc = ctypes.CDLL(None, use_errno=True)


class Launcher(Protocol):
    """Starts programs, between ``open`` and ``close``."""

    def open(self) -> None: ...

    def close(self) -> None: ...

    def spawn(
        self, arguments: Sequence[str], *, descriptors: Mapping[int, int], environment: Mapping[str, str] | None = None
    ) -> int:
        """Start a program as :func:`nodeagent.runtime.processes.spawn` does. Raises OSError."""
        ...


class Direct:
    """Starts programs where the agent is."""

    def open(self) -> None:
        return None

    def close(self) -> None:
        return None

    def spawn(
        self, arguments: Sequence[str], *, descriptors: Mapping[int, int], environment: Mapping[str, str] | None = None
    ) -> int:
        return spawn(arguments, descriptors=descriptors, environment=environment)


class Apart:
    """Starts programs in a mount namespace that shows no controllers in the cgroup2 hierarchy of a hybrid machine.

    Mounts made below ``directories`` before or after are the same there.
    """

    def __init__(self, directories: Sequence[Path]) -> None:
        self._directories = directories
        self._thread: ThreadPoolExecutor | None = None

    def open(self) -> None:
        """Make the namespace. Raises OSError."""
        for directory in self._directories:
            share(directory)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="launcher")
        try:
            self._thread.submit(_hide_controllers).result()
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """End the thread; what it started goes on. Repeatable."""
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None

    def spawn(
        self, arguments: Sequence[str], *, descriptors: Mapping[int, int], environment: Mapping[str, str] | None = None
    ) -> int:
        assert self._thread is not None
        return self._thread.submit(spawn, arguments, descriptors=descriptors, environment=environment).result()


def must_be_apart(program: str, layout: CgroupLayout) -> bool:
    """Whether a runtime refuses to work on this machine unless it is started apart."""
    unified = layout.mounts.get(HYBRID)
    if Path(program).name != "crun" or layout.version == 2 or unified != _UNIFIED:
        return False
    return bool((unified / _CONTROLLERS).read_text(encoding="ascii").split())


def share(directory: Path) -> None:
    """Let mounts below ``directory`` appear in mount namespaces made from now on, too. Repeatable. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    mounts = read_mounts(Path("/proc/thread-self/mountinfo"))
    if is_shared(directory, mounts):
        return
    real = Path(os.path.realpath(directory))
    points = [Path(each.point) for each in mounts]
    below = [point for point in points if point != real and point.is_relative_to(real)]
    covered = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        mount(directory, directory, flags=MS_BIND | MS_REC)
        mount(None, directory, flags=MS_SHARED | MS_REC)
        # What was mounted below has been copied; the originals, now out of sight, would keep their places busy.
        for point in reversed(below):
            unmount(f"/proc/self/fd/{covered}/{point.relative_to(real)}")
    finally:
        os.close(covered)


def is_shared(directory: Path, mounts: Sequence[Mount]) -> bool:
    """Whether the mount that ``directory`` is on propagates."""
    real = Path(os.path.realpath(directory))
    shared, longest = False, -1
    for each in mounts:
        point = Path(each.point)
        if len(point.parts) >= longest and real.is_relative_to(point):
            shared, longest = "shared" in each.peers, len(point.parts)
    return shared


def _hide_controllers() -> None:
    """Give the calling thread its own mounts, with the list of cgroup2's controllers covered."""
    if _libc.unshare(_CLONE_NEWNS) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount namespace: {os.strerror(number)}")
    # Else the machine's list would be covered as well.
    mount(None, _UNIFIED, flags=MS_PRIVATE)
    mount(os.devnull, _UNIFIED / _CONTROLLERS, flags=MS_BIND)
