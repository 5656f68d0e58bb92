"""What will be needed soon, from what was needed: a lower bound beside the reactive count, never a reason to shrink.

Two ways, of which a user chooses one. *Trend*: double exponential smoothing (Holt's linear method) of the recommended
counts, carried on to the horizon; it helps where load climbs for longer than a start takes. *Season*: the largest count
that the same time one season ago had within the horizon; it helps where every day is like the day before. What was
recommended before this process looked is not known, so that a forecast begins with nothing.
Source: Hyndman and Athanasopoulos, Forecasting: Principles and Practice, 3rd edition, sections 5.2 and 8.2.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from flotilla.api.autoscaling_options import ForecastOptions

BUCKET_S = 10.0
LEVEL_WEIGHT = 0.4
TREND_WEIGHT = 0.2
SURE_AFTER = 6  # buckets: a minute


@dataclass(slots=True)
class Forecast:
    """Fed with every recommendation; times are seconds of one clock."""

    options: ForecastOptions
    _level: float = 0.0
    _trend: float = 0.0
    _count: int = 0
    _began_s: float = 0.0
    _largest: int = 0
    _past: deque[int] = field(default_factory=deque)

    def observe(self, recommended: int, *, now_s: float) -> None:
        """A count was recommended now. Of each ten seconds the largest stands for all."""
        if not self._past and not self._count:
            self._began_s, self._largest = now_s, recommended
            self._count = 1
            return
        while now_s - self._began_s >= BUCKET_S:
            self._close()
            self._began_s += BUCKET_S
            self._largest = recommended
        self._largest = max(self._largest, recommended)

    def lower_bound(self, *, now_s: float) -> int:
        """The replicas that will be needed within the horizon; 0 while too little is known."""
        if len(self._past) < SURE_AFTER:
            return 0
        return self._seasonal(now_s) if self.options.season_s else self._trending()

    def _close(self) -> None:
        """Holt's two equations for one more bucket."""
        value = float(self._largest)
        if not self._past:
            self._level = value
        else:
            before = self._level
            self._level = LEVEL_WEIGHT * value + (1 - LEVEL_WEIGHT) * (before + self._trend)
            self._trend = TREND_WEIGHT * (self._level - before) + (1 - TREND_WEIGHT) * self._trend
        self._past.append(self._largest)
        kept = max(SURE_AFTER, math.ceil((self.options.season_s + self.options.horizon_s) / BUCKET_S))
        while len(self._past) > kept:
            self._past.popleft()

    def _trending(self) -> int:
        ahead = self.options.horizon_s / BUCKET_S
        return max(0, math.ceil(round(self._level + self._trend * ahead, 6))) if self._trend > 0 else 0

    def _seasonal(self, now_s: float) -> int:
        """Buckets end now; the season's moment is that many of them back, and the horizon lies after it."""
        back = round(self.options.season_s / BUCKET_S)
        ahead = math.ceil(self.options.horizon_s / BUCKET_S)
        begin = len(self._past) - back
        if begin < 0:
            return 0
        seen = [self._past[index] for index in range(begin, min(begin + ahead + 1, len(self._past)))]
        return max(seen, default=0)
