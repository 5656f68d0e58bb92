"""How often a container used how much, the recent counting for more.

Buckets grow by a twentieth each, so that a percentile is known to a twentieth over the whole range; a sample loses half
of its weight in a half-life. Source: the histograms of the Vertical Pod Autoscaler's recommender, with finer buckets at
the small end (its smallest hold ten megabytes, which is all that many containers here use).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

GROWTH = 1.05
HALF_LIFE_S = 86_400.0
MOST_HALF_LIVES = 100  # until weights are put in relation to another moment, long before numbers overflow
FULL_WEIGHT = 10_000  # of the heaviest bucket in a checkpoint


@dataclass(frozen=True, slots=True)
class Buckets:
    """Bucket 0 ends at ``first``; each is ``GROWTH`` times as wide as the one before; ``largest`` is in the last."""

    first: float
    largest: float

    @property
    def count(self) -> int:
        """How many there are."""
        return self.find(self.largest) + 1

    def find(self, value: float) -> int:
        """The bucket that holds the value, the last one not regarded."""
        return max(0, math.floor(math.log(max(value, 0.0) * (GROWTH - 1) / self.first + 1, GROWTH)))

    def end(self, bucket: int) -> float:
        """The upper bound of a bucket."""
        return float(self.first * (GROWTH ** (bucket + 1) - 1) / (GROWTH - 1))


CPU_BUCKETS = Buckets(0.001, 1_000.0)
"""Cores."""
MEMORY_BUCKETS = Buckets(1e6, 1e12)
"""Bytes."""


@dataclass(slots=True)
class DecayingHistogram:
    """Weights by bucket, as they count at ``reference_s`` (Unix time)."""

    buckets: Buckets
    reference_s: float = 0.0
    weights: npt.NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.weights = np.zeros(self.buckets.count)

    def add(self, value: float, weight: float, *, at_s: float) -> None:
        """Count a sample taken at a moment; ``weight`` is at least 0."""
        more = weight * self._scale(at_s)  # which may scale what is there
        self.weights[self._bucket(value)] += more

    def subtract(self, value: float, weight: float, *, at_s: float) -> None:
        """Take back a sample that was added with the same arguments."""
        bucket, less = self._bucket(value), weight * self._scale(at_s)
        left = self.weights[bucket] - less
        self.weights[bucket] = left if left > less * 1e-9 else 0.0

    def percentile(self, fraction: float) -> float:
        """The end of the bucket below or in which this fraction of the weight lies; 0 if nothing was counted."""
        sums = np.cumsum(self.weights)
        if not sums[-1] > 0.0:
            return 0.0
        return self.buckets.end(int(np.searchsorted(sums, fraction * sums[-1])))

    def save(self) -> dict[str, object]:
        """A small JSON form: weights relative to the heaviest bucket, empty ones left out."""
        heaviest = float(self.weights.max())
        if not heaviest > 0.0:
            return {"reference": self.reference_s, "weight": 0.0, "buckets": {}}
        shares = np.rint(self.weights * (FULL_WEIGHT / heaviest)).astype(int)
        return {
            "reference": self.reference_s,
            "weight": heaviest,
            "buckets": {str(bucket): int(shares[bucket]) for bucket in np.flatnonzero(shares)},
        }

    def load(self, saved: Mapping[str, object]) -> None:
        """Take over what :meth:`save` has given. ValueError if it is something else; nothing has changed then."""
        try:
            reference_s, heaviest = float(str(saved["reference"])), float(str(saved["weight"]))
            shares = saved["buckets"]
            assert isinstance(shares, dict)
            read = {int(bucket): float(share) for bucket, share in shares.items()}
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise ValueError("not a histogram") from error
        numbers = (reference_s, heaviest, *read.values())
        if not all(math.isfinite(number) and number >= 0.0 for number in numbers):
            raise ValueError("not a histogram: a number is negative or not finite")
        if any(not 0 <= bucket < len(self.weights) for bucket in read):
            raise ValueError("not a histogram: there is no such bucket")
        self.reference_s = reference_s
        self.weights[:] = 0.0
        for bucket, share in read.items():
            self.weights[bucket] = share * heaviest / FULL_WEIGHT

    def _bucket(self, value: float) -> int:
        return min(self.buckets.find(value), len(self.weights) - 1)

    def _scale(self, at_s: float) -> float:
        """What a sample of this moment counts for beside those that there are."""
        if not self.reference_s:
            self.reference_s = at_s
        half_lives = (at_s - self.reference_s) / HALF_LIFE_S
        if half_lives > MOST_HALF_LIVES:
            self.weights *= 2.0**-half_lives
            self.reference_s, half_lives = at_s, 0.0
        return float(2.0**half_lives)
