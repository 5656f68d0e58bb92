"""Probe rhythm and thresholds, in virtual time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from nodeagent.handlers import Outcome
from nodeagent.probes import QUICK_FIRST_S, ProbeSettings, Thresholds, probe_forever, settings_of


class _NoWaiting(selectors.DefaultSelector):
    """A selector that does not wait; the loop's clock is moved on instead."""

    def __init__(self) -> None:
        super().__init__()
        self.waited_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.waited_s += timeout or 0.0
        return super().select(0)


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _NoWaiting()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.waited_s


def in_virtual_time(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
        runner.run(work())


async def record(
    probe: dict[str, Any], check: Callable[[float], Awaitable[Outcome]], *, quick: bool, until_s: float
) -> tuple[list[tuple[float, bool]], list[float]]:
    """Verdicts and counted failures with their times."""
    clock = asyncio.get_running_loop().time
    verdicts: list[tuple[float, bool]] = []
    failures: list[float] = []
    task = asyncio.create_task(
        probe_forever(
            probe,
            check,
            quick=quick,
            on_failure=lambda _: failures.append(round(clock(), 3)),
            on_verdict=lambda healthy, _: verdicts.append((round(clock(), 3), healthy)),
        )
    )
    await asyncio.sleep(until_s)
    task.cancel()
    return verdicts, failures


async def failing(_: float) -> Outcome:
    return Outcome(False, "no")


def test_defaults_are_kubernetes_own() -> None:
    """An empty probe and zeros mean the documented defaults."""
    assert settings_of({"periodSeconds": 0}) == ProbeSettings(0.0, 10.0, 1.0, 1, 3)


def test_thresholds_want_a_run_of_equal_outcomes() -> None:
    """One outcome of the other kind starts the count anew."""
    thresholds = Thresholds(success=2, failure=3)
    outcomes = [True, True, False, False, True, False, False, False]
    assert [thresholds.observe(each) for each in outcomes] == [None, True, None, None, None, None, None, False]


def test_failures_count_once_a_period() -> None:
    """Quick attempts at the start neither report nor count; the period's own do."""

    async def story() -> None:
        verdicts, failures = await record({"periodSeconds": 2, "failureThreshold": 2}, failing, quick=True, until_s=7)
        assert failures == [2.0, 4.0, 6.0]
        assert verdicts == [(4.0, False), (6.0, False)]

    in_virtual_time(story)


def test_a_container_that_listens_soon_is_ready_soon() -> None:
    """With a period of ten seconds, something up after 50 ms is found within 50 ms more."""

    async def story() -> None:
        clock = asyncio.get_running_loop().time
        began = clock()

        async def check(_: float) -> Outcome:
            return Outcome(clock() - began > 0.05)

        verdicts, failures = await record({"periodSeconds": 10}, check, quick=True, until_s=25)
        assert 0.05 < verdicts[0][0] - began < 0.1
        assert [round(when - verdicts[0][0]) for when, _ in verdicts] == [0, 10, 20]
        assert failures == []

    in_virtual_time(story)


@pytest.mark.parametrize(("quick", "first"), [(False, 3.0), (True, 3.0)])
def test_the_initial_delay_is_kept(quick: bool, first: float) -> None:
    """No probe is made before it is over."""

    async def story() -> None:
        times: list[float] = []

        async def check(_: float) -> Outcome:
            times.append(asyncio.get_running_loop().time())
            return Outcome(True)

        began = asyncio.get_running_loop().time()
        await record({"initialDelaySeconds": 3}, check, quick=quick, until_s=5)
        assert times[0] - began == pytest.approx(first)

    in_virtual_time(story)


def test_quick_attempts_are_not_a_load() -> None:
    """They thin out: a container that never gets ready is asked a dozen times in the first ten seconds."""

    async def story() -> None:
        count = 0

        async def check(_: float) -> Outcome:
            nonlocal count
            count += 1
            return Outcome(False)

        await record({"periodSeconds": 10}, check, quick=True, until_s=10)
        assert QUICK_FIRST_S < 0.05
        assert count < 20

    in_virtual_time(story)
