"""``custom.metrics.k8s.io`` and ``external.metrics.k8s.io`` from what pods say of themselves.

A metric that nobody has asked for yet is not being read from the pods' pages. Whoever asks waits for it, three seconds
at most, and has it for the next five minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from controlplane.autoscaler.calculator import MetricError
from controlplane.autoscaler.columns import Usage
from controlplane.autoscaler.figures import Figures
from controlplane.autoscaler.metrics import Reference, TotalMetric
from controlplane.autoscaler.total_reader import TotalReader
from controlplane.autoscaler.totals import TotalTarget
from controlplane.store.cache import Cache, Entry
from flotilla.api.autoscaling_options import read_options
from flotilla.api.objects import KubeObject, format_time
from flotilla.api.quantities import format_cpu_millis
from flotilla.api.registry import Resource
from flotilla.api.resources import HORIZONTAL_POD_AUTOSCALERS, PODS
from flotilla.api.selectors import LabelSelector
from flotilla.clocks import shown_unix_s

LONGEST_WAIT_S = 3.0
_T = TypeVar("_T")


class DescribedMetrics:
    """Answers with values as ``v1beta2`` shows them; each has a ``describedObject`` or none (external)."""

    def __init__(self, cache: Cache, figures: Figures) -> None:
        self._cache = cache
        self._figures = figures
        self._totals = TotalReader(cache, figures.applications, figures.queries)

    def offered(self) -> dict[str, set[str]]:
        """The names of the metrics that pods offer, by namespace."""
        return self._figures.applications.offered()

    async def of_pods(
        self, namespace: str, metric: str, *, name: str, pods: LabelSelector, series: LabelSelector
    ) -> list[KubeObject]:
        """The metric of one pod, or of all that the selector admits; only of those that offer it."""

        def look() -> list[KubeObject]:
            found = self._cache.list(PODS, namespace)
            chosen = [pod for pod in found if (not name or pod.name == name) and pods.matches(pod.labels)]
            usages = [(pod, self._of_pod(pod, metric, series)) for pod in chosen]
            return [_value(_reference(PODS, pod), metric, usage) for pod, usage in usages if usage is not None]

        return await self._wait(namespace, metric, look) or []

    async def of_object(
        self, resource: Resource, entry: Entry, metric: str, *, series: LabelSelector
    ) -> KubeObject | None:
        """The sum over the pods behind the object; None if none of them offers it."""
        described = Reference(resource.api_version, resource.kind, entry.name)
        wanted = TotalMetric(metric, series, TotalTarget(), described)

        def look() -> KubeObject | None:
            return self._total(wanted, entry.namespace, _reference(resource, entry))

        return await self._wait(entry.namespace, metric, look)

    async def external(self, namespace: str, metric: str, *, series: LabelSelector) -> KubeObject | None:
        """The metric as an autoscaler of the namespace sees it: its query's answer, else the sum over all pods."""
        for scaler in self._cache.list(HORIZONTAL_POD_AUTOSCALERS, namespace):
            if metric in read_options(scaler.obj)[0].queries:
                try:
                    value = self._figures.queries.value(scaler.obj, metric)
                except MetricError:
                    continue
                if value is not None:
                    return _shown(None, metric, value, datetime.now(UTC))
        wanted = TotalMetric(metric, series, TotalTarget())
        return await self._wait(namespace, metric, lambda: self._total(wanted, namespace, None))

    def _of_pod(self, pod: Entry, metric: str, series: LabelSelector) -> Usage | None:
        return self._figures.applications.of_pod(pod.node, pod.uid, metric, series)

    def _total(self, wanted: TotalMetric, namespace: str, described: KubeObject | None) -> KubeObject | None:
        try:
            return _shown(described, wanted.name, self._totals.from_pods(wanted, namespace), datetime.now(UTC))
        except MetricError:
            return None

    async def _wait(self, namespace: str, metric: str, look: Callable[[], _T]) -> _T:
        self._figures.interest.ask(namespace, metric)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_WAIT_S):
                while not look() and metric in self.offered().get(namespace, ()):
                    await self._figures.applications.arrival()
        return look()


def _reference(resource: Resource, entry: Entry) -> KubeObject:
    reference = {"kind": resource.kind, "name": entry.name, "apiVersion": resource.api_version}
    return reference | ({"namespace": entry.namespace} if entry.namespace else {})


def _value(described: KubeObject, metric: str, usage: Usage) -> KubeObject:
    shown = _shown(described, metric, usage.value, datetime.fromtimestamp(shown_unix_s(usage.window_end_unix_s), UTC))
    return shown | ({"windowSeconds": round(usage.window_s)} if usage.window_s else {})


def _shown(described: KubeObject | None, metric: str, value: float, moment: datetime) -> KubeObject:
    about = {"describedObject": described} if described is not None else {}
    number = format_cpu_millis(round(value * 1000))
    return {**about, "metric": {"name": metric, "selector": None}, "timestamp": format_time(moment), "value": number}
