"""``/metrics/resource``: the few series that the kubelet offers to metrics pipelines, with the time they are of."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from flotilla.api.objects import name_of, namespace_of
from nodeagent.cgroups.details import read_details
from nodeagent.cgroups.stats import read_stats
from nodeagent.metrics.page_view import PageView
from nodeagent.metrics.sampler import Round, TrackedContainer

_NS_PER_S = 1e9


def resource_page(view: PageView) -> bytes:
    """The text (Prometheus exposition format 0.0.4). Reads many files: for a thread."""
    series = CollectorRegistry()
    series.register(_ResourceCollector(view, time.time()))
    return generate_latest(series)


class _ResourceCollector(Collector):
    _CONTAINER = ("container", "namespace", "pod")
    _POD = ("namespace", "pod")

    def __init__(self, view: PageView, now_unix_s: float) -> None:
        self._view, self._now_unix_s = view, now_unix_s

    def describe(self) -> list[Metric]:
        """Nothing beforehand: a page is collected once."""
        return []

    def collect(self) -> Iterator[Metric]:
        newest = self._view.round
        failed = newest is None
        yield GaugeMetricFamily("resource_scrape_error", "1 if there was an error while reading", value=int(failed))
        if newest is None:
            return
        moment = newest.time_unix_s
        yield from self._node(newest, moment)
        cpu = CounterMetricFamily("container_cpu_usage_seconds", "CPU time used", labels=self._CONTAINER)
        memory = GaugeMetricFamily("container_memory_working_set_bytes", "Working set", labels=self._CONTAINER)
        starts = GaugeMetricFamily("container_start_time_seconds", "Start time", labels=self._CONTAINER)
        swap = GaugeMetricFamily("container_swap_usage_bytes", "Swap in use", labels=self._CONTAINER)
        for container, row in zip(newest.containers, newest.rows, strict=True):
            labels = self._labels(container)
            cpu.add_metric(labels, row.cpu_usage_ns / _NS_PER_S, timestamp=moment)
            memory.add_metric(labels, row.memory_working_set_bytes, timestamp=moment)
            starts.add_metric(labels, container.start_time_unix_s)
            swap.add_metric(labels, read_details(self._view.layout, container.cgroup_path).swap_bytes, timestamp=moment)
        yield from (cpu, memory, starts, swap)
        yield from self._pods(moment)

    def _labels(self, container: TrackedContainer) -> tuple[str, ...]:
        return (container.container, container.namespace, container.pod)

    def _node(self, newest: Round, moment: float) -> Iterator[Metric]:
        cpu = CounterMetricFamily("node_cpu_usage_seconds", "CPU time used on the node", labels=())
        cpu.add_metric((), newest.machine.cpu_usage_ns / _NS_PER_S, timestamp=moment)
        memory = GaugeMetricFamily("node_memory_working_set_bytes", "Working set of the node", labels=())
        memory.add_metric((), newest.machine.memory_working_set_bytes, timestamp=moment)
        yield from (cpu, memory)

    def _pods(self, moment: float) -> Iterator[Metric]:
        """A pod's own cgroup: what its containers have used, those that have ended too."""
        cpu = CounterMetricFamily("pod_cpu_usage_seconds", "CPU time used", labels=self._POD)
        memory = GaugeMetricFamily("pod_memory_working_set_bytes", "Working set", labels=self._POD)
        for pod in self._view.pods:
            if not pod.running or not pod.cgroup_path:
                continue
            with contextlib.suppress(OSError):
                row = read_stats(self._view.layout, pod.cgroup_path)
                labels = (namespace_of(pod.pod), name_of(pod.pod))
                cpu.add_metric(labels, row.cpu_usage_ns / _NS_PER_S, timestamp=self._now_unix_s)
                memory.add_metric(labels, row.memory_working_set_bytes, timestamp=self._now_unix_s)
        yield from (cpu, memory)
