"""How many replicas a metric asks for. Pure: the arithmetic of Kubernetes' ``podautoscaler/replica_calculator.go``.

Pods fall into four groups: those that count, those without figures (missing), those that are not ready yet (CPU only,
because starting up burns CPU), and those that are ignored (being deleted, failed). Missing and unready pods are first
set aside; if there are any, the ratio is computed once more with a cautious assumption for them, and a change that
would be smaller than the tolerance or turn round is dropped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

CPU_INITIALIZATION_PERIOD = timedelta(minutes=5)
INITIAL_READINESS_DELAY = timedelta(seconds=30)
DEFAULT_TOLERANCE = 0.1


class MetricError(Exception):
    """A metric from which no replica count follows; the message is what the condition shows."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A pod's use of a resource (thousandths of a core, or bytes), and the window that it was averaged over."""

    value: float
    window_start: datetime
    window_end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFacts:
    """What decides how a pod counts. ``request`` is that of the metric's resource, of all containers or of the one.

    ``ready_changed`` is when the pod last became ready or unready, None if it has no such condition; ``request_fault``
    says why there is no request.
    """

    name: str
    phase: str
    deleting: bool
    ready: bool
    ready_changed: datetime | None
    started: datetime | None
    request: int | None
    request_fault: str
    sample: Sample | None


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far the ratio may be off 1 without action, in each direction."""

    up: float = DEFAULT_TOLERANCE
    down: float = DEFAULT_TOLERANCE

    def contains(self, ratio: float) -> bool:
        return 1.0 - self.down <= ratio <= 1.0 + self.up


@dataclass(frozen=True, slots=True)
class Target:
    """What a resource metric aims at: a percentage of the request, or an average value a pod (millis or bytes)."""

    utilization: int | None = None
    average_value: int | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """The replicas that a metric asks for, and what was measured: of the pods that count, before any assumption.

    ``average_value`` and ``total`` (of a metric that is one number for the whole target) are in the metric's unit:
    thousandths, or bytes.
    """

    replicas: int
    average_value: int
    utilization: int | None
    ratio: float
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Groups:
    """Pods by how they count; ``counted`` have a sample."""

    counted: tuple[PodFacts, ...]
    unready: tuple[PodFacts, ...]
    missing: tuple[PodFacts, ...]
    ignored: tuple[PodFacts, ...]


def group_pods(pods: Sequence[PodFacts], *, is_cpu: bool, now: datetime) -> Groups:
    """Sort ``pods`` into groups; readiness matters for CPU only."""
    counted, unready, missing, ignored = [], [], [], []
    for pod in pods:
        if pod.deleting or pod.phase == "Failed":
            ignored.append(pod)
        elif pod.phase == "Pending":
            unready.append(pod)
        elif pod.sample is None:
            missing.append(pod)
        elif is_cpu and not_yet_ready(pod, pod.sample, now=now):
            unready.append(pod)
        else:
            counted.append(pod)
    return Groups(tuple(counted), tuple(unready), tuple(missing), tuple(ignored))


def not_yet_ready(pod: PodFacts, sample: Sample, *, now: datetime) -> bool:
    """Whether the pod's CPU use is still that of starting up.

    In the first five minutes a sample counts only if the pod is ready and its window lies within the ready period;
    later an unready pod is left out only if it has never been ready.
    """
    if pod.started is None or pod.ready_changed is None:
        return True
    if pod.started + CPU_INITIALIZATION_PERIOD > now:
        return not pod.ready or sample.window_start < pod.ready_changed
    return not pod.ready and pod.started + INITIAL_READINESS_DELAY > pod.ready_changed


def replicas_for(
    pods: Sequence[PodFacts], target: Target, *, current: int, is_cpu: bool, tolerance: Tolerance, now: datetime
) -> Proposal:
    """The replica count that keeps the pods at ``target``; ``current`` is the target's scale. MetricError."""
    if not pods:
        raise MetricError("no pods returned by selector while calculating replica count")
    groups = group_pods(pods, is_cpu=is_cpu, now=now)
    if not groups.counted:
        raise MetricError("did not receive metrics for targeted pods (pods might be unready)")
    measure = _Utilization(pods, target.utilization) if target.utilization is not None else _Average(target)
    values = {pod.name: pod.sample.value for pod in groups.counted if pod.sample is not None}
    ratio, average = measure.ratio(values), math.trunc(sum(values.values()) / len(values))
    replicas = _replicas(groups, measure, values, ratio=ratio, current=current, tolerance=tolerance)
    return Proposal(replicas, average, measure.percentage(values), ratio)


def _replicas(
    groups: Groups,
    measure: _Utilization | _Average,
    values: Mapping[str, float],
    *,
    ratio: float,
    current: int,
    tolerance: Tolerance,
) -> int:
    dampened = bool(groups.unready) and ratio > 1.0
    if not dampened and not groups.missing:
        return current if tolerance.contains(ratio) else rounded_up(ratio * len(groups.counted))
    assumed = dict(values)
    if ratio < 1.0:
        assumed |= {pod.name: measure.full(pod) for pod in groups.missing}
    elif ratio > 1.0:
        assumed |= {pod.name: 0.0 for pod in groups.missing}
    if dampened:
        assumed |= {pod.name: 0.0 for pod in groups.unready}
    adjusted = measure.ratio(assumed)
    if tolerance.contains(adjusted) or (ratio < 1.0 < adjusted) or (adjusted < 1.0 < ratio):
        return current
    replicas = rounded_up(adjusted * len(assumed))
    turned = replicas > current if adjusted < 1.0 else replicas < current
    return current if turned else replicas


def rounded_up(value: float) -> int:
    """A count, rounded up, forgiving the last bits of floating point: 1.1 × 10 is 11, not 12."""
    return math.ceil(round(value, 9))


class _Utilization:
    """Use as a percentage of the request, whole percents as Kubernetes counts them."""

    def __init__(self, pods: Sequence[PodFacts], target: int) -> None:
        self._requests = {pod.name: _request(pod) for pod in pods}
        self._target = target

    def percentage(self, values: Mapping[str, float]) -> int:
        total = sum(self._requests[name] for name in values)
        if total == 0:
            raise MetricError("no metrics returned matched known pods")
        return math.trunc(sum(values.values()) * 100 / total)

    def ratio(self, values: Mapping[str, float]) -> float:
        return self.percentage(values) / self._target

    def full(self, pod: PodFacts) -> float:
        """What a pod without figures is assumed to use when fewer replicas seem enough: all that it may."""
        return self._requests[pod.name] * max(100, self._target) / 100


class _Average:
    """Use as an average a pod."""

    def __init__(self, target: Target) -> None:
        if not target.average_value:
            raise MetricError("invalid resource metric source: neither a utilization target nor a value target was set")
        self._target = target.average_value

    def percentage(self, values: Mapping[str, float]) -> None:
        return None

    def ratio(self, values: Mapping[str, float]) -> float:
        return sum(values.values()) / len(values) / self._target

    def full(self, pod: PodFacts) -> float:
        return float(self._target)


def _request(pod: PodFacts) -> int:
    if pod.request is None:
        raise MetricError(pod.request_fault)
    return pod.request
