"""What is known of how much the containers of one name in a workload have used. Pure: times are passed in.

Every CPU sample counts, weighted with the request of its container: a request that grows makes what was measured before
count for less, so that starvation is answered quickly. Of memory the peak of each container in each day counts, because
a request has to cover peaks; an out-of-memory kill counts as a peak above what was there. Source: ``model`` in the
Vertical Pod Autoscaler's recommender.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from controlplane.autoscaler.vertical.histogram import CPU_BUCKETS, MEMORY_BUCKETS, DecayingHistogram

LEAST_WEIGHT = 0.1
MEMORY_WINDOW_S = 86_400.0
OOM_RATIO = 1.2
OOM_LEAST_BYTES = 100 * 1024.0**2
DAY_S = 86_400.0
LONGEST_GAP_S = 8 * DAY_S  # after that without samples a history says nothing any more


@dataclass(slots=True)
class History:
    """``measured_s`` is how much container time the samples stand for; moments are Unix time."""

    cpu: DecayingHistogram = field(default_factory=lambda: DecayingHistogram(CPU_BUCKETS))
    memory: DecayingHistogram = field(default_factory=lambda: DecayingHistogram(MEMORY_BUCKETS))
    first_s: float = math.inf
    last_s: float = -math.inf
    measured_s: float = 0.0

    @property
    def confidence_days(self) -> float:
        """The days between first and last sample, or those that were measured if they are fewer."""
        return max(0.0, min(self.last_s - self.first_s, self.measured_s) / DAY_S)

    def add_cpu(self, cores: float, *, request_cores: float, at_s: float, period_s: float) -> None:
        """Count cores used on average over ``period_s`` seconds."""
        self.cpu.add(cores, max(request_cores, LEAST_WEIGHT), at_s=at_s)
        self.first_s, self.last_s = min(self.first_s, at_s), max(self.last_s, at_s)
        self.measured_s += period_s

    def is_old(self, now_s: float) -> bool:
        """Whether nothing has been measured for so long that to begin anew is better."""
        return now_s - self.last_s > LONGEST_GAP_S

    def save(self) -> dict[str, object]:
        """JSON for a checkpoint; only of a history with samples."""
        return {
            "first": self.first_s,
            "last": self.last_s,
            "measured": self.measured_s,
            "cpu": self.cpu.save(),
            "memory": self.memory.save(),
        }

    @classmethod
    def loaded(cls, saved: Mapping[str, object]) -> History:
        """From :meth:`save`. ValueError."""
        history = cls()
        cpu, memory = saved.get("cpu"), saved.get("memory")
        if not isinstance(cpu, dict) or not isinstance(memory, dict):
            raise ValueError("not a history: the histograms are missing")
        history.cpu.load(cpu)
        history.memory.load(memory)
        numbers = [saved.get(name) for name in ("first", "last", "measured")]
        if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
            raise ValueError("not a history: a number is missing")
        history.first_s, history.last_s, history.measured_s = (float(str(number)) for number in numbers)
        return history


@dataclass(slots=True)
class MemoryWindow:
    """The peak of one container in the present day, which the history holds as one sample."""

    end_s: float = -math.inf
    peak: float = 0.0
    used_peak: float = 0.0

    def observe(self, history: History, used: float, *, at_s: float) -> None:
        """Count bytes in use at a moment."""
        self._raise(history, used, at_s=at_s)
        self.used_peak = max(self.used_peak, used)

    def out_of_memory(self, history: History, request: float, *, at_s: float) -> None:
        """Count an out-of-memory kill: more was needed than the request, or than was used if that is more."""
        if self.end_s - at_s > MEMORY_WINDOW_S:
            return
        used = max(request, self.used_peak)
        self._raise(history, max(used + OOM_LEAST_BYTES, used * OOM_RATIO), at_s=at_s)

    def _raise(self, history: History, value: float, *, at_s: float) -> None:
        if at_s >= self.end_s:
            late_s = max(0.0, at_s - self.end_s) if math.isfinite(self.end_s) else 0.0
            begin_s = self.end_s if math.isfinite(self.end_s) else at_s
            self.end_s = begin_s + (late_s // MEMORY_WINDOW_S + 1) * MEMORY_WINDOW_S
            self.peak = self.used_peak = 0.0
        if value <= self.peak:
            return
        if self.peak:
            history.memory.subtract(self.peak, 1.0, at_s=self.end_s)
        history.memory.add(value, 1.0, at_s=self.end_s)
        self.peak = value
