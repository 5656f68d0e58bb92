"""Watching over one running container: the postStart hook, then the startup probe, then liveness and readiness.

The monitor lives as long as the run does. It only reports; what follows from a report is for the lifecycle to decide.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from nodeagent.handlers import Outcome, Target
from nodeagent.lifecycle import FAILED_HOOK
from nodeagent.probes import probe_forever

logger = logging.getLogger(__name__)

HOOK_TIMEOUT_S = 3600.0


class MonitorReports(Protocol):
    """Who wants to hear of one container's health."""

    def started(self) -> None:
        """The hook is done and the startup probe has passed."""

    def readiness(self, ready: bool) -> None:
        """The readiness probe's verdict; True at once for containers without one."""

    def unhealthy(self, message: str) -> None:
        """The container has to be stopped; ``message`` says why, for the Killing event."""

    def event(self, type_: str, reason: str, message: str) -> None:
        """Something to record about the container."""


@dataclass(frozen=True, slots=True)
class Monitor:
    """The watch over one run. ``already_started``: it was found running with its hook and startup probe behind it."""

    target: Target
    reports: MonitorReports
    already_started: bool = False

    async def run(self) -> None:
        """Watch until cancelled; returns early when there is nothing to probe."""
        if not self.already_started:
            if not await self._post_start() or not await self._startup():
                return
            self.reports.started()
        await self._steady()

    @property
    def _container(self) -> Mapping[str, Any]:
        return self.target.container

    async def _post_start(self) -> bool:
        hook = (self._container.get("lifecycle") or {}).get("postStart")
        if not hook:
            return True
        outcome = await self.target.perform(hook, timeout_s=HOOK_TIMEOUT_S)
        if not outcome.success:
            self.reports.event("Warning", FAILED_HOOK, f"PostStartHook failed: {outcome.message}")
            self.reports.unhealthy(FAILED_HOOK)
        return outcome.success

    async def _startup(self) -> bool:
        probe = self._container.get("startupProbe")
        if not probe:
            return True
        settled: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def verdict(healthy: bool, _: str) -> None:
            if not settled.done():
                settled.set_result(healthy)

        probing = asyncio.ensure_future(self._probe("Startup", probe, quick=True, on_verdict=verdict))
        try:
            healthy = await settled
        finally:
            probing.cancel()
        if not healthy:
            self.reports.unhealthy(f"Container {self._container['name']} failed startup probe, will be restarted")
        return healthy

    async def _steady(self) -> None:
        readiness, liveness = self._container.get("readinessProbe"), self._container.get("livenessProbe")
        if not readiness:
            self.reports.readiness(True)
        async with asyncio.TaskGroup() as group:
            if readiness:
                quick = not self.already_started
                group.create_task(self._probe("Readiness", readiness, quick=quick, on_verdict=self._readiness_verdict))
            if liveness:
                group.create_task(self._probe("Liveness", liveness, quick=False, on_verdict=self._liveness_verdict))

    def _readiness_verdict(self, healthy: bool, _: str) -> None:
        self.reports.readiness(healthy)

    def _liveness_verdict(self, healthy: bool, _: str) -> None:
        if not healthy:
            self.reports.unhealthy(f"Container {self._container['name']} failed liveness probe, will be restarted")

    async def _probe(
        self, kind: str, probe: Mapping[str, Any], *, quick: bool, on_verdict: Callable[[bool, str], None]
    ) -> None:
        def failure(message: str) -> None:
            self.reports.event("Warning", "Unhealthy", f"{kind} probe failed: {message}")

        async def check(timeout_s: float) -> Outcome:
            return await self.target.perform(probe, timeout_s=timeout_s)

        await probe_forever(probe, check, quick=quick, on_failure=failure, on_verdict=on_verdict)
