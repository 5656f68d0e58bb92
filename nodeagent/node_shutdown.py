"""Ending a node's pods in order before its machine goes down.

The order is the kubelet's: pods of the lowest priority first, each group within its own time, those that the cluster
can't do without last. While it lasts the node is not ready and takes no pods; the pods' status says why they ended, so
that their owners make others elsewhere.

What asks for it is a file in the run directory. It outlives an agent that is killed meanwhile, and nothing that
survives a boot. A plain stop of the agent writes none: that is an upgrade, and pods go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from flotilla.api.conditions import SHUTTING_DOWN
from flotilla.api.objects import KubeObject
from nodeagent.runtime.inotify import IN_DELETE, IN_MOVED_TO, Inotify

logger = logging.getLogger(__name__)

CRITICAL_PRIORITY = 2_000_000_000
REJECTED_MESSAGE = "Pod was rejected as the node is shutting down."
TERMINATED = "Terminated"
TERMINATED_MESSAGE = "Pod was terminated in response to imminent node shutdown."
DISRUPTION = "TerminationByKubelet"
SLACK_S = 5.0
_SYSTEMD = Path("/run/systemd/system")
_SYSTEMCTL_TIMEOUT_S = 5.0

Period = tuple[int, float]
"""From which priority on, and how many seconds pods of it have."""


def periods_of(total_s: float, critical_s: float) -> list[Period]:
    """Both of ``shutdownGracePeriod`` and ``shutdownGracePeriodCriticalPods``: the second is part of the first."""
    return [(0, max(0.0, total_s - critical_s)), (CRITICAL_PRIORITY, critical_s)]


def total_s(periods: Iterable[Period]) -> float:
    """How long all groups may take together."""
    return sum(seconds for _, seconds in periods)


def group_of(pod: Mapping[str, Any], periods: Sequence[Period]) -> int:
    """The index of a pod's group among ``periods``, which are in the order of priorities; below the first is first."""
    priority = pod["spec"].get("priority")
    if priority is None:
        critical = str(pod["spec"].get("priorityClassName") or "").startswith("system-")
        priority = CRITICAL_PRIORITY if critical else 0
    return max((index for index, (least, _) in enumerate(periods) if least <= priority), default=0)


def unready_condition() -> KubeObject:
    """The node's Ready condition while it shuts down."""
    return {"type": "Ready", "status": "False", "reason": SHUTTING_DOWN, "message": "node is shutting down"}


def machine_is_stopping() -> bool:
    """Whether systemd is taking the machine down, as opposed to stopping one unit. Blocks for some milliseconds."""
    if not _SYSTEMD.is_dir():
        return False
    try:
        command = ["systemctl", "is-system-running"]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=_SYSTEMCTL_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return shown.stdout.strip() == "stopping"


class _Content(msgspec.Struct):
    periods: list[Period]


class ShutdownRequest:
    """The file that asks for a shutdown, and the one that says that all pods have ended."""

    def __init__(self, run_dir: Path) -> None:
        self.directory = run_dir / "shutdown"
        self._request, self._done = self.directory / "request.json", self.directory / "done"

    def write(self, periods: Sequence[Period]) -> None:
        """Ask. Raises OSError."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._done.unlink(missing_ok=True)
        staged = self._request.with_suffix(".new")
        staged.write_bytes(msgspec.json.encode(_Content(list(periods))))
        staged.rename(self._request)

    def withdraw(self) -> None:
        """Let the node take pods again; repeatable."""
        self._request.unlink(missing_ok=True)
        self._done.unlink(missing_ok=True)

    def read(self) -> list[Period] | None:
        """The periods that are asked for, None if none is."""
        try:
            return sorted(msgspec.json.decode(self._request.read_bytes(), type=_Content).periods)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            logger.error("shutdown_request_unreadable", extra={"error": str(error)})
            return None

    @property
    def done(self) -> bool:
        return self._done.exists()

    def finish(self) -> None:
        """Note that all pods have ended."""
        self._done.touch()


class Shutting(Protocol):
    """Who ends the node's pods, and takes pods again."""

    async def shut_down(self, periods: Sequence[Period]) -> None: ...

    def resume(self) -> None: ...


class NodeShutdown:
    """Carries out requests. ``unready`` is told the node's Ready condition while one is in force, and None after it."""

    def __init__(
        self, request: ShutdownRequest, pods: Shutting, *, unready: Callable[[KubeObject | None], None]
    ) -> None:
        self._request, self._pods, self._unready = request, pods, unready
        self._finished = asyncio.Event()

    async def with_machine(self, periods: Sequence[Period]) -> None:
        """To be called when the agent is told to stop: end the pods if that is because the machine stops."""
        if total_s(periods) > 0 and await asyncio.to_thread(machine_is_stopping):
            self._request.write(periods)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(total_s(periods) + SLACK_S):
                    await self._finished.wait()

    async def run(self) -> None:
        """Watch until cancelled, which leaves pods as they are."""
        self._request.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        stirred = asyncio.Event()
        inotify = Inotify()
        loop = asyncio.get_running_loop()

        def readable() -> None:
            if inotify.read():
                stirred.set()

        inotify.add(self._request.directory, IN_MOVED_TO | IN_DELETE)
        loop.add_reader(inotify.fileno(), readable)
        try:
            while True:
                await self._until(stirred, asked=True)
                working = asyncio.create_task(self._carry_out(self._request.read() or []), name="node shutdown")
                try:
                    await self._until(stirred, asked=False)
                finally:
                    working.cancel()
                    await asyncio.gather(working, return_exceptions=True)
                logger.info("node_shutdown_withdrawn")
                self._finished.clear()
                self._unready(None)
                self._pods.resume()
        finally:
            loop.remove_reader(inotify.fileno())
            inotify.close()

    async def _until(self, stirred: asyncio.Event, *, asked: bool) -> None:
        """Return once there is a request, or none any more."""
        while (self._request.read() is not None) != asked:
            stirred.clear()
            await stirred.wait()

    async def _carry_out(self, periods: list[Period]) -> None:
        logger.info("node_shutdown", extra={"periods": str(periods)})
        self._unready(unready_condition())
        await self._pods.shut_down(periods)
        self._request.finish()
        self._finished.set()
        logger.info("node_shutdown_done")
