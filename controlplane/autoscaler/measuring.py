"""From an HPA's metrics to what each of them asks for.

CPU is averaged over five seconds. The average is cut short to the last two rounds when both are far over the target, or
when both are over it and the pods have reached their limits, where use shows no more than that: a jump in load is then
acted upon with the second sample that shows it, a single spike never.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from controlplane.autoscaler.calculator import (
    DEFAULT_TOLERANCE,
    MetricError,
    Proposal,
    Tolerance,
    replicas_for,
)
from controlplane.autoscaler.columns import Span
from controlplane.autoscaler.decision import Measured
from controlplane.autoscaler.metrics import Metric, PodMetric, ResourceMetric, TotalMetric, read_metric
from controlplane.autoscaler.pods import INTERVAL_BEFORE, LAST_INTERVAL, LAST_TWO, PodReader
from controlplane.autoscaler.samples import WINDOW
from controlplane.autoscaler.stabilization import Behavior
from controlplane.autoscaler.total_reader import TotalSource
from controlplane.autoscaler.totals import replicas_for_total
from controlplane.autoscaler.usage import PodState, UsageSource
from controlplane.reconcile.clock import Clock
from flotilla.api.objects import KubeObject

FAR_OVER = 2.0


@dataclass(frozen=True, slots=True)
class Measurer:
    """Measures the pods of one target, and what else its metrics name."""

    reader: PodReader
    totals: TotalSource
    clock: Clock

    def by(self, usage: UsageSource) -> Measurer:
        """One that takes CPU and memory from another source."""
        return replace(self, reader=replace(self.reader, usage=usage))

    def measure(
        self, autoscaler: KubeObject, pods: Sequence[PodState], behavior: Behavior, *, current: int
    ) -> list[Measured]:
        """The outcome of each of the autoscaler's metrics, in order; ``current`` is the target's scale."""
        metrics = [read_metric(spec) for spec in autoscaler["spec"]["metrics"]]
        return [self._measure(metric, autoscaler, pods, _tolerance(behavior), current=current) for metric in metrics]

    def _measure(
        self,
        metric: Metric,
        autoscaler: KubeObject,
        pods: Sequence[PodState],
        tolerance: Tolerance,
        *,
        current: int,
    ) -> Measured:
        try:
            if isinstance(metric, TotalMetric):
                total = self.totals.read(metric, autoscaler)
                ready = self.reader.ready_count(pods) if pods else None
                proposal = replicas_for_total(total, metric.target, current=current, ready=ready, tolerance=tolerance)
            else:
                proposal = _Measurement(self, metric, pods, tolerance, current).proposal()
        except MetricError as error:
            return Measured(metric.title, reason=metric.failure_reason, message=metric.failure(error))
        return Measured(metric.title, proposal, metric.status(proposal))


@dataclass(frozen=True, slots=True)
class _Measurement:
    measurer: Measurer
    metric: PodMetric
    pods: Sequence[PodState]
    tolerance: Tolerance
    current: int

    def proposal(self) -> Proposal:
        metric = self.metric
        if isinstance(metric, ResourceMetric) and metric.resource == "cpu" and self._is_urgent(metric):
            return self._over(LAST_TWO)
        return self._over(WINDOW)

    def _is_urgent(self, metric: ResourceMetric) -> bool:
        least, lowest = math.inf, 1.0 + self.tolerance.up
        for span in (LAST_INTERVAL, INTERVAL_BEFORE):
            try:
                least = min(least, self._over(span).ratio)
            except MetricError:
                return False
            if least <= lowest:
                return False
        return least > FAR_OVER or self.measurer.reader.saturated(self.pods, metric)

    def _over(self, span: Span) -> Proposal:
        return replicas_for(
            self.measurer.reader.facts(self.pods, self.metric, span=span),
            self.metric.target,
            current=self.current,
            is_cpu=isinstance(self.metric, ResourceMetric) and self.metric.resource == "cpu",
            tolerance=self.tolerance,
            now=self.measurer.clock(),
        )


def _tolerance(behavior: Behavior) -> Tolerance:
    up, down = behavior.up.tolerance, behavior.down.tolerance
    return Tolerance(DEFAULT_TOLERANCE if up is None else up, DEFAULT_TOLERANCE if down is None else down)
