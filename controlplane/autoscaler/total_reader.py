"""The value of an Object or External metric: from a Prometheus query if the autoscaler names one, else from the pods.

An Object metric is the sum over the pods behind the object: those that a Service selects, those below a workload, a
pod itself, or all of a namespace; where there is none, nothing is asked of them, and the sum is zero. An External
metric is the sum over all pods of the autoscaler's namespace that offer it; its selector is one of series' labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from controlplane.autoscaler.applications import ApplicationMetrics
from controlplane.autoscaler.calculator import MetricError
from controlplane.autoscaler.metrics import Reference, TotalMetric
from controlplane.autoscaler.pods import pods_of
from controlplane.store.cache import Cache, Entry
from flotilla.api.objects import KubeObject, is_deleting, namespace_of
from flotilla.api.resources import PODS, SERVICES
from flotilla.api.selectors import label_selector_of_map

_THOUSAND = 1000.0


class Queries(Protocol):
    """Answers to the queries that autoscalers name."""

    def value(self, autoscaler: Mapping[str, Any], metric: str) -> float | None:
        """The newest answer to the query for the metric; None if the autoscaler names none. MetricError."""


class TotalSource(Protocol):
    """The values of Object and External metrics."""

    def read(self, metric: TotalMetric, autoscaler: KubeObject) -> float:
        """The value in thousandths. MetricError."""


@dataclass(frozen=True, slots=True)
class TotalReader:
    """Reads one metric at a time."""

    cache: Cache
    applications: ApplicationMetrics
    queries: Queries

    def read(self, metric: TotalMetric, autoscaler: KubeObject) -> float:
        """The value in thousandths. MetricError."""
        value = self.queries.value(autoscaler, metric.name)
        if value is None:
            value = self.from_pods(metric, namespace_of(autoscaler))
        return value * _THOUSAND

    def from_pods(self, metric: TotalMetric, namespace: str) -> float:
        """The sum over the pods that the metric is about. MetricError."""
        if metric.described is None:
            pods: Iterable[Entry] = self.cache.list(PODS, namespace)
        else:
            pods = self._behind(metric.described, namespace)
        usages = [
            self.applications.of_pod(pod.node, pod.uid, metric.name, metric.selector)
            for pod in pods
            if pod.node and not is_deleting(pod.obj)
        ]
        known = [usage.value for usage in usages if usage is not None]
        if not usages and metric.described is not None:
            return 0.0
        if not known:
            raise MetricError(
                f"no pod offers {metric.name}: annotate pods with prometheus.io/scrape: 'true' and prometheus.io/port, "
                f"or give the autoscaler a query (annotation prometheus.flotilla.dev/{metric.name})"
            )
        return sum(known)

    def _behind(self, described: Reference, namespace: str) -> Iterable[Entry]:
        if described.kind == "Namespace":
            return self.cache.list(PODS, described.name) if described.name == namespace else ()
        resource = self.cache.registry.by_kind(described.api_version or "v1", described.kind)
        entry = self.cache.get(resource, namespace, described.name) if resource is not None else None
        if resource is None or entry is None:
            raise MetricError(f'{described.kind} "{described.name}" not found')
        if resource is PODS:
            return [entry]
        if resource is SERVICES:
            selector = label_selector_of_map(entry.obj["spec"].get("selector"))
            return [pod for pod in self.cache.list(PODS, namespace) if selector.matches(pod.labels)]
        return pods_of(self.cache, entry.uid)
