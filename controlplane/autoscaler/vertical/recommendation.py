"""How much a container should request, by its history. Pure.

The target is what covers nine tenths of the load (or of the daily peaks of memory) and a margin. A request between the
bounds is left alone. They close in on the target as the history grows: within minutes from below, so that who starves
is helped soon, over days from above, so that what was idle for an hour does not lose what it needs at noon. Source: the
percentiles, the margin and the confidence of the Vertical Pod Autoscaler's recommender.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from controlplane.autoscaler.vertical.histogram import DecayingHistogram
from controlplane.autoscaler.vertical.history import History

MARGIN = 1.15
TARGET, LOWER, UPPER = 0.9, 0.5, 0.95
UPPER_DOUBT_DAYS, LOWER_DOUBT_DAYS = 1.0, 0.001
LEAST_MILLIS, LEAST_MEBIBYTES = 10, 16
MEBIBYTE = 1024**2
RESOURCES = ("cpu", "memory")


@dataclass(frozen=True, slots=True)
class Range:
    """Thousandths of a core, or bytes. ``uncapped`` is what the target would be without bounds set by people."""

    lower: int
    target: int
    upper: int
    uncapped: int

    def capped(self, least: int | None, most: int | None) -> Range:
        """With all three within bounds; ``most`` wins over ``least``."""
        low = 0 if least is None else least

        def within(amount: int) -> int:
            amount = max(amount, low)
            return amount if most is None else min(amount, most)

        return replace(self, lower=within(self.lower), target=within(self.target), upper=within(self.upper))


def recommend(history: History, resource: str) -> Range | None:
    """For ``cpu`` or ``memory``; None while the history is too short to say anything."""
    days = history.confidence_days
    histogram = history.cpu if resource == "cpu" else history.memory
    if days <= 0.0 or not histogram.percentile(TARGET):
        return None
    lower = _amount(histogram, LOWER, resource, (1.0 + LOWER_DOUBT_DAYS / days) ** -2.0)
    upper = _amount(histogram, UPPER, resource, 1.0 + UPPER_DOUBT_DAYS / days)
    target = _amount(histogram, TARGET, resource, 1.0)
    return Range(lower, target, upper, target)


def _amount(histogram: DecayingHistogram, fraction: float, resource: str, doubt: float) -> int:
    amount = histogram.percentile(fraction) * MARGIN * doubt
    if resource == "cpu":
        return max(LEAST_MILLIS, math.ceil(round(amount * 1000.0, 6)))
    return max(LEAST_MEBIBYTES, math.ceil(amount / MEBIBYTE)) * MEBIBYTE
