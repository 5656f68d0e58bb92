"""From an HPA's metrics to what each of them asks for.

CPU is averaged over five seconds. The average is cut short to the last two rounds when both are far over the target, or
when both are over it and the pods have reached their limits, where use shows no more than that: a jump in load is then
acted upon with the second sample that shows it, a single spike never.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controlplane.autoscaler.calculator import (
    DEFAULT_TOLERANCE,
    MetricError,
    Proposal,
    Tolerance,
    replicas_for,
)
from controlplane.autoscaler.columns import Span
from controlplane.autoscaler.decision import Measured
from controlplane.autoscaler.metrics import ResourceMetric, UnsupportedMetricError, read_metric
from controlplane.autoscaler.pods import INTERVAL_BEFORE, LAST_INTERVAL, LAST_TWO, PodReader, PodState
from controlplane.autoscaler.samples import WINDOW
from controlplane.autoscaler.stabilization import Behavior
from controlplane.reconcile.clock import Clock

FAR_OVER = 2.0


@dataclass(frozen=True, slots=True)
class Measurer:
    """Measures the pods of one target."""

    reader: PodReader
    clock: Clock

    def measure(
        self, specs: Sequence[Mapping[str, Any]], pods: Sequence[PodState], behavior: Behavior, *, current: int
    ) -> list[Measured]:
        """Each metric's outcome, in order; ``current`` is the target's scale."""
        return [self._measure(spec, pods, behavior, current=current) for spec in specs]

    def _measure(
        self, spec: Mapping[str, Any], pods: Sequence[PodState], behavior: Behavior, *, current: int
    ) -> Measured:
        try:
            metric = read_metric(spec)
        except UnsupportedMetricError as error:
            return Measured(spec["type"], reason=error.reason, message=str(error))
        try:
            proposal = _Measurement(self, metric, pods, _tolerance(behavior), current).proposal()
        except MetricError as error:
            return Measured(metric.title, reason=metric.failure_reason, message=metric.failure(error))
        return Measured(metric.title, proposal, metric.status(proposal))


@dataclass(frozen=True, slots=True)
class _Measurement:
    measurer: Measurer
    metric: ResourceMetric
    pods: Sequence[PodState]
    tolerance: Tolerance
    current: int

    def proposal(self) -> Proposal:
        return self._over(LAST_TWO if self.metric.resource == "cpu" and self._is_urgent() else WINDOW)

    def _is_urgent(self) -> bool:
        try:
            least = min(self._over(LAST_INTERVAL).ratio, self._over(INTERVAL_BEFORE).ratio)
        except MetricError:
            return False
        if least > FAR_OVER:
            return True
        return least > 1.0 + self.tolerance.up and self.measurer.reader.saturated(self.pods, self.metric)

    def _over(self, span: Span) -> Proposal:
        return replicas_for(
            self.measurer.reader.facts(self.pods, self.metric, span=span),
            self.metric.target,
            current=self.current,
            is_cpu=self.metric.resource == "cpu",
            tolerance=self.tolerance,
            now=self.measurer.clock(),
        )


def _tolerance(behavior: Behavior) -> Tolerance:
    up, down = behavior.up.tolerance, behavior.down.tolerance
    return Tolerance(DEFAULT_TOLERANCE if up is None else up, DEFAULT_TOLERANCE if down is None else down)
