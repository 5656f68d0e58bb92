"""Which thresholds count when, and how long conditions last, in virtual time."""

from __future__ import annotations

from nodeagent.pressure.signals import Observation
from nodeagent.pressure.state import PressureState, Verdict, still_met
from nodeagent.pressure.thresholds import ALLOCATABLE_MEMORY, MEMORY_AVAILABLE, NODEFS_AVAILABLE, parse_settings

CALM = Verdict(frozenset(), ())


def _memory(available: int) -> dict[str, Observation]:
    return {MEMORY_AVAILABLE: Observation(available, 1000)}


def test_hard_threshold_counts_at_once_and_the_condition_lasts() -> None:
    """Below the threshold something has to go now; the condition outlasts it by the transition period."""
    state = PressureState(parse_settings(hard="memory.available<100", transition_s=300))
    assert state.step(_memory(100), 0) == CALM
    pressed = state.step(_memory(99), 1)
    assert pressed.conditions == {"MemoryPressure"}
    assert [each.signal for each in pressed.due] == [MEMORY_AVAILABLE]
    assert state.step(_memory(500), 2) == Verdict(frozenset({"MemoryPressure"}), ())
    assert state.step(_memory(500), 300.9).conditions == {"MemoryPressure"}
    assert state.step(_memory(500), 301) == CALM


def test_soft_threshold_waits_for_its_grace() -> None:
    """The condition comes at once, evictions only when the threshold was met all the time of the grace period."""
    settings = parse_settings(hard="", soft="memory.available<100", soft_grace="memory.available=30s", transition_s=0)
    state = PressureState(settings)
    assert state.step(_memory(50), 0) == Verdict(frozenset({"MemoryPressure"}), ())
    assert state.step(_memory(150), 20) == CALM
    assert state.step(_memory(50), 25).due == ()
    assert state.step(_memory(50), 54).due == ()
    assert state.step(_memory(50), 55).due != ()


def test_minimum_reclaim_is_made_free_once_something_had_to_go() -> None:
    """A threshold that was acted on stays met until that much more is free; before, it does not count."""
    state = PressureState(
        parse_settings(hard="memory.available<100", minimum_reclaim="memory.available=50", transition_s=0)
    )
    assert state.step(_memory(120), 0) == CALM
    (threshold,) = state.step(_memory(90), 1).due
    assert state.step(_memory(149), 2).due == (threshold,)
    assert still_met(threshold, _memory(149))
    assert state.step(_memory(150), 3) == CALM
    assert state.step(_memory(120), 4) == CALM


def test_memory_comes_before_disk() -> None:
    """Of several thresholds memory's is dealt with first; each condition stands for itself."""
    state = PressureState(parse_settings(hard="nodefs.available<10%,memory.available<100"))
    verdict = state.step({NODEFS_AVAILABLE: Observation(1, 1000), **_memory(1)}, 0)
    assert verdict.conditions == {"MemoryPressure", "DiskPressure"}
    assert [each.signal for each in verdict.due] == [MEMORY_AVAILABLE, NODEFS_AVAILABLE]


def test_pods_own_memory_follows_the_nodes_threshold() -> None:
    """Where pods have less than the machine, what is left of theirs is held against the same amount."""
    state = PressureState(parse_settings(hard="memory.available<100"))
    verdict = state.step({**_memory(900), ALLOCATABLE_MEMORY: Observation(99, 300)}, 0)
    assert [each.signal for each in verdict.due] == [ALLOCATABLE_MEMORY]
    assert verdict.conditions == {"MemoryPressure"}


def test_signal_that_the_machine_does_not_have() -> None:
    """A threshold on inodes of a file system without a fixed number of them is never met."""
    assert PressureState(parse_settings(hard="nodefs.inodesFree<5%")).step(_memory(1), 0) == CALM
