"""How many replicas one number for the whole target asks for. Pure: Object and External metrics.

The arithmetic is that of Kubernetes' ``podautoscaler/replica_calculator.go``. A ``Value`` says how far the number may
go with the replicas that there are, so that the ratio multiplies the pods that are ready; an ``AverageValue`` says how
much of it one replica bears, whatever there is now. From no replicas at all, the ratio itself is the count, without
tolerance: anything but nothing starts one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from controlplane.autoscaler.calculator import MetricError, Proposal, Tolerance, rounded_up


@dataclass(frozen=True, slots=True)
class TotalTarget:
    """What the metric aims at, in thousandths: a ``value`` of the whole, or an ``average`` for each replica."""

    value: int | None = None
    average: int | None = None


def replicas_for_total(
    total: float, target: TotalTarget, *, current: int, ready: int | None, tolerance: Tolerance
) -> Proposal:
    """The replica count for ``total`` (thousandths); ``current`` is the target's scale, ``ready`` its ready pods.

    ``ready`` is None where the target has no pods at all, of which nothing follows. MetricError.
    """
    if target.value:
        return _by_value(total, target.value, current=current, ready=ready, tolerance=tolerance)
    if target.average:
        return _by_average(total, target.average, current=current, tolerance=tolerance)
    raise MetricError("invalid metric source: neither a value target nor an average value target was set")


def _by_value(total: float, target: int, *, current: int, ready: int | None, tolerance: Tolerance) -> Proposal:
    ratio = total / target
    if current == 0:
        replicas = rounded_up(ratio)
    elif tolerance.contains(ratio):
        replicas = current
    elif ready is None:
        raise MetricError("no pods returned by selector while calculating replica count")
    else:
        replicas = rounded_up(ratio * ready)
    return Proposal(replicas, 0, None, ratio, total=math.trunc(total))


def _by_average(total: float, target: int, *, current: int, tolerance: Tolerance) -> Proposal:
    borne = target * current
    ratio = total / borne if borne else (math.inf if total > 0 else 0.0)
    replicas = current if tolerance.contains(ratio) else rounded_up(total / target)
    average = math.ceil(total / current) if current else math.trunc(total)
    return Proposal(replicas, average, None, ratio)
