"""Waking when the kernel kills a process of a cgroup for memory.

On version 2 ``memory.oom.group`` makes the kernel kill the whole container, whose exit then tells the rest. Version 1
kills one process and leaves the others: a container that lost a worker would go on maimed, so the agent must
hear of the kill while the first process lives. The kernel signals an eventfd registered with ``memory.oom_control``;
it does so *before* the kill is counted, so the counter is read again at short, growing intervals until it moves.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable

from nodeagent.cgroups.layout import CgroupLayout
from nodeagent.cgroups.stats import oom_kills

RECHECKS_S = (0.002, 0.01, 0.05, 0.2, 1.0)


class OomWatch:
    """Calls ``on_kill`` once a process of cgroup ``path`` has been killed for memory; version 1 only.

    Raises OSError when the cgroup does not exist. Must be closed by its owner, on the event loop that made it.
    """

    def __init__(self, layout: CgroupLayout, path: str, on_kill: Callable[[], None]) -> None:
        self._layout, self._path, self._on_kill = layout, path, on_kill
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            self._register()
        except OSError:
            os.close(self._event)
            raise
        self._baseline = oom_kills(layout, path)
        self._loop.add_reader(self._event, self._signalled)

    def _register(self) -> None:
        directory = self._layout.directory("memory", self._path)
        control = os.open(directory / "memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        try:
            (directory / "cgroup.event_control").write_text(f"{self._event} {control}", encoding="ascii")
        finally:
            os.close(control)

    def close(self) -> None:
        """Stop watching; repeatable."""
        if self._timer is not None:
            self._timer.cancel()
        if self._event >= 0:
            self._loop.remove_reader(self._event)
            os.close(self._event)
            self._event = -1

    def _signalled(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._event)
        self._check(0)

    def _check(self, attempt: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if oom_kills(self._layout, self._path) > self._baseline:
            self.close()
            self._on_kill()
        elif attempt < len(RECHECKS_S):
            self._timer = self._loop.call_later(RECHECKS_S[attempt], self._check, attempt + 1)
