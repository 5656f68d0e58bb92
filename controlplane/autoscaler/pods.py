"""The pods of a target as facts for the calculator.

Pods are found by owner references from the target down, not by labels: what else carries the same labels is not the
target's. A CPU sample is taken, where possible, from after the moment capacity last grew: until then the older pods
carried the load of the new ones too, and adding both would count it twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from controlplane.autoscaler.calculator import PodFacts, Sample
from controlplane.autoscaler.columns import Span, Usage
from controlplane.autoscaler.metrics import PodMetric, PodsMetric, ResourceMetric
from controlplane.autoscaler.pod_traits import PodTraitsCache
from controlplane.autoscaler.readiness import Readiness
from controlplane.autoscaler.samples import WINDOW
from controlplane.autoscaler.usage import PodState, UsageSource
from controlplane.store.cache import Cache, Entry
from flotilla.api.resources import PODS
from flotilla.api.selectors import LabelSelector

SETTLED_AFTER_S = 2.5
SATURATED = 0.9
LAST_INTERVAL = Span(0.0, intervals=1)
INTERVAL_BEFORE = Span(0.0, intervals=1, back=1)
LAST_TWO = Span(WINDOW.window_s, intervals=2)


def pods_of(cache: Cache, owner_uid: str) -> list[Entry]:
    """Every pod below the object, by way of whatever owns them; by name."""
    found: dict[str, Entry] = {}
    waiting = [owner_uid]
    seen: set[str] = set()
    while waiting:
        uid = waiting.pop()
        if uid in seen:
            continue
        seen.add(uid)
        for entry in cache.by_owner(uid):
            if entry.resource is PODS:
                found[entry.uid] = entry
            else:
                waiting.append(entry.uid)
    return sorted(found.values(), key=lambda entry: entry.key)


class ReadinessSource(Protocol):
    """When each pod last became ready or unready."""

    def of(self, uid: str) -> Readiness | None: ...


class ApplicationSource(Protocol):
    """What pods say of themselves."""

    def of_pod(self, node: str, uid: str, metric: str, selector: LabelSelector) -> Usage | None: ...


@dataclass(frozen=True, slots=True)
class PodReader:
    """Reads facts about pods for one metric at a time."""

    usage: UsageSource
    applications: ApplicationSource
    readiness: ReadinessSource
    traits: PodTraitsCache = field(default_factory=PodTraitsCache)

    def facts(self, pods: Sequence[PodState], metric: PodMetric, *, span: Span = WINDOW) -> list[PodFacts]:
        """Facts about each pod, CPU averaged over ``span``."""
        grown = self._capacity_grew(pods)
        return [self._facts(entry, metric, span=span, grown=grown) for entry in pods]

    def ready_count(self, pods: Sequence[PodState]) -> int:
        """How many of the pods run and are ready; those being deleted count as long as they are, as in Kubernetes."""
        return sum(
            self.traits.of(pod).phase == "Running"
            and (readiness := self.readiness.of(pod.uid)) is not None
            and readiness.ready
            for pod in pods
        )

    def settling(self, pods: Sequence[PodState], *, now: datetime) -> bool:
        """Whether capacity has just grown and some pod has no CPU sample since then.

        Nodes sample at moments of their own, so that such a pod may be up to a round behind the new ones: it would be
        counted with the load that the new ones have taken over.
        """
        grown = self._capacity_grew(pods)
        if now.timestamp() - grown > SETTLED_AFTER_S:
            return False
        since = replace(WINDOW, since_unix_s=grown)
        return any(
            self.usage.cpu(pod, "", since) is None and self.usage.cpu(pod, "", WINDOW) is not None
            for pod in pods
            if (readiness := self.readiness.of(pod.uid)) is not None and readiness.ready
        )

    def saturated(self, pods: Sequence[PodState], metric: ResourceMetric) -> bool:
        """Whether the pods with samples use nine tenths of their limits, so that their use no longer shows the load."""
        used = limits = 0.0
        for entry in pods:
            sample = self._sample(entry, metric, LAST_INTERVAL)
            if sample is None:
                continue
            limit, _ = self.traits.of(entry).amount("limits", metric.resource, metric.container)
            if limit is None:
                return False
            used, limits = used + sample.value, limits + limit
        return limits > 0 and used >= SATURATED * limits

    def _capacity_grew(self, pods: Sequence[PodState]) -> float:
        """When the last of the pods became ready, for the first time or again, as Unix time; 0 if none is."""
        moments = [
            readiness.changed
            for entry in pods
            if (readiness := self.readiness.of(entry.uid)) is not None and readiness.ready
        ]
        return max(moments).timestamp() if moments else 0.0

    def _facts(self, entry: PodState, metric: PodMetric, *, span: Span, grown: float) -> PodFacts:
        traits, readiness = self.traits.of(entry), self.readiness.of(entry.uid)
        since = max(grown, readiness.changed.timestamp() if readiness is not None and readiness.ready else 0.0)
        sample = self._sample(entry, metric, replace(span, since_unix_s=since)) or self._sample(entry, metric, span)
        request, fault = None, ""
        if isinstance(metric, ResourceMetric):
            request, fault = traits.amount("requests", metric.resource, metric.container)
        return PodFacts(
            name=traits.name,
            phase=traits.phase,
            deleting=traits.deleting,
            ready=readiness is not None and readiness.ready,
            ready_changed=readiness.changed if readiness is not None else None,
            started=readiness.started if readiness is not None else None,
            request=request,
            request_fault=fault,
            sample=sample,
        )

    def _sample(self, pod: PodState, metric: PodMetric, span: Span) -> Sample | None:
        if isinstance(metric, PodsMetric):
            usage = self.applications.of_pod(pod.node, pod.uid, metric.name, metric.selector)
            return _sample(usage, factor=1000.0) if usage is not None else None
        if metric.resource == "cpu":
            usage = self.usage.cpu(pod, metric.container, span)
            return _sample(usage, factor=1000.0) if usage is not None else None
        if metric.resource == "memory":
            usage = self.usage.memory(pod, metric.container)
            return _sample(usage, factor=1.0) if usage is not None else None
        return None


def _sample(usage: Usage, *, factor: float) -> Sample:
    return Sample(
        usage.value * factor,
        datetime.fromtimestamp(usage.window_start_unix_s, UTC),
        datetime.fromtimestamp(usage.window_end_unix_s, UTC),
    )
