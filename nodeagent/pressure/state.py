"""Which thresholds are met, since when, and what follows: a state machine without input or output.

A condition comes as soon as a threshold is met, its grace period aside, so that no more pods are sent here. It goes
only when none was met for the transition period: otherwise pods would be evicted, and come back, in turns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nodeagent.pressure.signals import Observation
from nodeagent.pressure.thresholds import (
    ALLOCATABLE_MEMORY,
    CONDITIONS,
    MEMORY_AVAILABLE,
    Amount,
    EvictionSettings,
    Threshold,
)

_MEMORY = (MEMORY_AVAILABLE, ALLOCATABLE_MEMORY)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The conditions that hold, and the thresholds for which something has to go now, the most pressing first."""

    conditions: frozenset[str]
    due: tuple[Threshold, ...]


def is_met(threshold: Threshold, observation: Observation | None, *, with_reclaim: bool = False) -> bool:
    """Whether less is left than the threshold asks for, and with ``with_reclaim`` less than that and the reclaim."""
    if observation is None:
        return False
    wanted = threshold.amount.of(observation.capacity)
    if with_reclaim:
        wanted += threshold.minimum_reclaim.of(observation.capacity)
    return observation.available < wanted


@dataclass(slots=True)
class PressureState:
    """What has to be remembered from one look to the next. Times are seconds of a clock that nobody sets."""

    settings: EvictionSettings
    _acted_on: frozenset[Threshold] = frozenset()
    _met_since: dict[Threshold, float] = field(default_factory=dict)
    _condition_seen: dict[str, float] = field(default_factory=dict)

    def step(self, observations: Mapping[str, Observation], now: float) -> Verdict:
        """Take in what is left at ``now``."""
        met = [
            each
            for each in self._thresholds(observations)
            if is_met(each, observations.get(each.signal), with_reclaim=each in self._acted_on)
        ]
        self._met_since = {each: self._met_since.get(each, now) for each in met}
        for each in met:
            self._condition_seen[CONDITIONS[each.signal]] = now
        transition_s = self.settings.transition_s
        holding = {name for name, seen in self._condition_seen.items() if seen == now or now - seen < transition_s}
        due = [each for each in met if now - self._met_since[each] >= each.grace_s]
        self._acted_on = frozenset(due)
        return Verdict(frozenset(holding), tuple(sorted(due, key=lambda each: each.signal not in _MEMORY)))

    def _thresholds(self, observations: Mapping[str, Observation]) -> Iterable[Threshold]:
        """The settings', and that of the pods' own memory limit, which is as hard as the node's."""
        yield from self.settings.thresholds
        if ALLOCATABLE_MEMORY in observations:
            for each in self.settings.thresholds:
                if each.hard and each.signal == MEMORY_AVAILABLE:
                    yield Threshold(ALLOCATABLE_MEMORY, each.amount, minimum_reclaim=each.minimum_reclaim)


def still_met(threshold: Threshold, observations: Mapping[str, Observation]) -> bool:
    """Whether a threshold that something was done about has not been left behind yet, its reclaim included."""
    return is_met(threshold, observations.get(threshold.signal), with_reclaim=threshold.minimum_reclaim != Amount())
