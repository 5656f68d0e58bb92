"""Learning that a container has ended, at once and for certain.

conmon writes the exit code to ``<directory>/<container id>``, by rename, so an event on the directory always means a
whole file. The file is the truth. A pidfd of the container's process fires before the file is written, so none is
kept; one of conmon is, because conmon's death without a file is the only way to lose an exit code, and then someone
must know.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nodeagent.runtime.inotify import IN_MOVED_TO, IN_Q_OVERFLOW, Inotify
from nodeagent.runtime.processes import ProcessIdentity

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ContainerExit:
    """How a container ended: ``code`` (128 + n for signal n), None if it is unknown because its conmon died first."""

    code: int | None
    finished_unix_s: float


ExitCallback = Callable[[ContainerExit], None]


@dataclass(slots=True)
class _Expected:
    callback: ExitCallback
    conmon: int


class ExitWatcher:
    """Calls back, once for each expected container, when it has ended. Lives on one event loop."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._expected: dict[str, _Expected] = {}
        self._inotify: Inotify | None = None

    def open(self) -> None:
        """Begin to watch; the directory is made if it is missing. Raises OSError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._inotify = Inotify()
        self._inotify.add(self.directory, IN_MOVED_TO)
        asyncio.get_running_loop().add_reader(self._inotify.fileno(), self._changed)

    def close(self) -> None:
        """Forget all expectations; repeatable."""
        for container_id in list(self._expected):
            self.forget(container_id)
        if self._inotify is not None:
            asyncio.get_running_loop().remove_reader(self._inotify.fileno())
            self._inotify.close()
            self._inotify = None

    def expect(self, container_id: str, conmon: ProcessIdentity, callback: ExitCallback) -> None:
        """Report the end of a container, also one that came before this call.

        The callback runs from the loop, never from within ``expect``.
        """
        descriptor = -1
        if conmon.alive:
            try:
                descriptor = os.pidfd_open(conmon.pid)
            except ProcessLookupError:
                descriptor = -1
        self._expected[container_id] = _Expected(callback, descriptor)
        loop = asyncio.get_running_loop()
        if descriptor >= 0:
            loop.add_reader(descriptor, self._conmon_ended, container_id)
        if descriptor < 0 or (self.directory / container_id).exists():
            loop.call_soon(self._conmon_ended if descriptor < 0 else self._check, container_id)

    def forget(self, container_id: str) -> None:
        """No longer report a container; one that is not expected is fine."""
        expected = self._expected.pop(container_id, None)
        if expected is not None and expected.conmon >= 0:
            asyncio.get_running_loop().remove_reader(expected.conmon)
            os.close(expected.conmon)

    def discard(self, container_id: str) -> None:
        """Remove the exit file of a container that has been dealt with."""
        self.forget(container_id)
        (self.directory / container_id).unlink(missing_ok=True)

    def recorded(self, container_id: str) -> ContainerExit | None:
        """What the exit file says, None if there is none."""
        file = self.directory / container_id
        try:
            return ContainerExit(int(file.read_text(encoding="ascii")), file.stat().st_mtime)
        except (FileNotFoundError, ValueError):
            return None

    def all_recorded(self) -> set[str]:
        """Ids of all containers that have an exit file."""
        return {entry.name for entry in os.scandir(self.directory)}

    def _changed(self) -> None:
        assert self._inotify is not None
        for event in self._inotify.read():
            if event.mask & IN_Q_OVERFLOW:
                logger.warning("exit_events_overflowed")
                for container_id in list(self._expected):
                    self._check(container_id)
            else:
                self._check(event.name)

    def _check(self, container_id: str) -> None:
        if container_id in self._expected and (found := self.recorded(container_id)) is not None:
            self._deliver(container_id, found)

    def _conmon_ended(self, container_id: str) -> None:
        if container_id not in self._expected:
            return
        found = self.recorded(container_id)
        if found is None:
            logger.warning("conmon_lost", extra={"container": container_id})
            found = ContainerExit(None, time.time())
        self._deliver(container_id, found)

    def _deliver(self, container_id: str, found: ContainerExit) -> None:
        callback = self._expected[container_id].callback
        self.forget(container_id)
        callback(found)
