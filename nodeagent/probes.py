"""Probing one container: the rhythm and the thresholds, apart from the checks themselves.

Readiness and startup probes begin with quick attempts, 20 ms after the start and then at growing intervals up to the
period, until the first one succeeds: with Kubernetes' rhythm a container that listens after 50 ms would wait a whole
period, 10 s by default, to be called ready. Quick failures count for nothing; failures at the probe's own period count
as in Kubernetes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nodeagent.handlers import Outcome

QUICK_FIRST_S = 0.02
QUICK_FIRST_EXEC_S = 0.25
QUICK_GROWTH = 1.5


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """A probe's numbers with Kubernetes' defaults; seconds where they say so."""

    initial_delay_s: float
    period_s: float
    timeout_s: float
    success_threshold: int
    failure_threshold: int


def settings_of(probe: Mapping[str, Any]) -> ProbeSettings:
    """The numbers of a Probe object; zero and absent mean the default."""
    return ProbeSettings(
        initial_delay_s=float(probe.get("initialDelaySeconds") or 0),
        period_s=float(probe.get("periodSeconds") or 10),
        timeout_s=float(probe.get("timeoutSeconds") or 1),
        success_threshold=int(probe.get("successThreshold") or 1),
        failure_threshold=int(probe.get("failureThreshold") or 3),
    )


@dataclass(slots=True)
class Thresholds:
    """Turns single outcomes into verdicts: only a run of equal ones as long as its threshold counts."""

    success: int
    failure: int
    last: bool | None = None
    in_a_row: int = 0

    def observe(self, outcome: bool) -> bool | None:
        """The verdict if this outcome completes or prolongs a sufficient run, else None."""
        self.in_a_row = self.in_a_row + 1 if outcome == self.last else 1
        self.last = outcome
        return outcome if self.in_a_row >= (self.success if outcome else self.failure) else None


async def probe_forever(
    probe: Mapping[str, Any],
    check: Callable[[float], Awaitable[Outcome]],
    *,
    quick: bool,
    on_failure: Callable[[str], None],
    on_verdict: Callable[[bool, str], None],
) -> None:
    """Probe until cancelled. ``check`` gets the timeout in seconds.

    ``on_failure(message)`` is called for each failure that counts, ``on_verdict(healthy, message)`` whenever a
    threshold is reached, repeatedly while it holds. With ``quick`` the first attempts come fast (see the module).
    """
    settings = settings_of(probe)
    thresholds = Thresholds(settings.success_threshold, settings.failure_threshold)
    await asyncio.sleep(settings.initial_delay_s)
    clock = asyncio.get_running_loop().time
    gap = (QUICK_FIRST_EXEC_S if "exec" in probe else QUICK_FIRST_S) if quick else settings.period_s
    due = clock() + (settings.period_s if quick else 0.0)
    while True:
        outcome = await check(settings.timeout_s)
        counts = outcome.success or clock() >= due
        if counts:
            gap = settings.period_s if outcome.success else gap
            due = clock() + settings.period_s
            _report(outcome, thresholds, on_failure, on_verdict)
        await asyncio.sleep(min(gap, max(0.0, due - clock())))
        gap = min(settings.period_s, gap * QUICK_GROWTH)


def _report(
    outcome: Outcome,
    thresholds: Thresholds,
    on_failure: Callable[[str], None],
    on_verdict: Callable[[bool, str], None],
) -> None:
    if not outcome.success:
        on_failure(outcome.message)
    verdict = thresholds.observe(outcome.success)
    if verdict is not None:
        on_verdict(verdict, outcome.message)
