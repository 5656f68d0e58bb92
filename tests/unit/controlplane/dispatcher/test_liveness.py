"""When a node counts as silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from controlplane.dispatcher.alive_clock import LONGEST_GAP_S, TICK_S, AliveClock
from controlplane.dispatcher.sessions import Sessions, heartbeat_period_s


class Monotonic:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Session:
    node: str
    replaced: list[str] = field(default_factory=list)

    def replace(self) -> None:
        self.replaced.append(self.node)


@pytest.fixture
def monotonic() -> Monotonic:
    return Monotonic()


@pytest.fixture
def alive(monotonic: Monotonic) -> AliveClock:
    return AliveClock(monotonic)


@pytest.fixture
def sessions(alive: AliveClock) -> Sessions[Session]:
    return Sessions(alive)


def _pass(monotonic: Monotonic, alive: AliveClock, seconds: float) -> None:
    """Let time pass with the loop running."""
    end = monotonic.now + seconds
    while monotonic.now < end:
        monotonic.now = min(end, monotonic.now + TICK_S)
        alive.tick()


def test_silence_grows_with_time(sessions: Sessions[Session], monotonic: Monotonic, alive: AliveClock) -> None:
    """A node that says nothing for three seconds has been silent for three seconds."""
    sessions.open(Session("one"))
    _pass(monotonic, alive, 3.0)
    assert sessions.silent_for_s("one") == pytest.approx(3.0)
    sessions.contact("one")
    assert sessions.silent_for_s("one") == 0.0


def test_own_stalls_are_nobodys_silence(sessions: Sessions[Session], monotonic: Monotonic, alive: AliveClock) -> None:
    """Ten seconds in which this process did not run count as a second at most, before and after the next tick."""
    sessions.open(Session("one"))
    _pass(monotonic, alive, 2.0)
    monotonic.now += 10.0
    assert sessions.silent_for_s("one") <= 2.0 + LONGEST_GAP_S
    alive.tick()
    assert sessions.silent_for_s("one") <= 2.0 + LONGEST_GAP_S


def test_a_hold_postpones_silence(sessions: Sessions[Session], monotonic: Monotonic, alive: AliveClock) -> None:
    """After an announced stop, silence counts from the end of the hold; a new session ends the hold."""
    sessions.open(Session("one"))
    sessions.hold("one", 30.0)
    _pass(monotonic, alive, 32.0)
    assert sessions.silent_for_s("one") == pytest.approx(2.0)
    assert sessions.held_for_s("one") == 0.0
    sessions.hold("one", 10_000.0)
    assert sessions.held_for_s("one") == pytest.approx(300.0)
    sessions.open(Session("one"))
    assert sessions.held_for_s("one") == 0.0


def test_judging_begins_with_leadership(sessions: Sessions[Session], monotonic: Monotonic, alive: AliveClock) -> None:
    """A server that has just taken over has heard nobody, and holds that against nobody."""
    _pass(monotonic, alive, 60.0)
    sessions.judge_from_now()
    _pass(monotonic, alive, 1.5)
    assert sessions.silent_for_s("never heard") == pytest.approx(1.5)


def test_a_second_session_replaces_the_first(sessions: Sessions[Session]) -> None:
    """The older session is told; its end does not disconnect the node."""
    first, second = Session("one"), Session("one")
    sessions.open(first)
    sessions.open(second)
    assert (first.replaced, second.replaced) == (["one"], [])
    sessions.close(first)
    assert sessions.connected("one")
    sessions.close(second)
    assert not sessions.connected("one")


async def test_changes_are_told(sessions: Sessions[Session]) -> None:
    """Opening and closing a session is reported to whoever listens."""
    changes = sessions.changed()
    first = asyncio.create_task(_next(changes))
    await asyncio.sleep(0)
    session = Session("one")
    sessions.open(session)
    assert await first == "one"
    sessions.close(session)
    assert await _next(changes) == "one"


async def _next(names: AsyncIterator[str]) -> str:
    return await anext(names)


@pytest.mark.parametrize(("nodes", "period_s"), [(1, 1.0), (1000, 1.0), (2000, 1.9), (5000, 4.75)])
def test_heartbeats_cost_a_tenth_of_a_core_at_most(nodes: int, period_s: float) -> None:
    """The period stays a second in clusters of up to a thousand nodes and grows from there."""
    assert heartbeat_period_s(nodes) == pytest.approx(period_s)


def test_a_stretched_period_is_no_silence(alive: AliveClock, monotonic: Monotonic) -> None:
    """Where agents report every 4.75 s, five seconds without a word are little more than one of silence."""
    sessions: Sessions[Session] = Sessions(alive)
    for number in range(5000):
        sessions.open(Session(f"node-{number}"))
    _pass(monotonic, alive, 5.0)
    assert sessions.silent_for_s("node-0") == pytest.approx(1.25)
