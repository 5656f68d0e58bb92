"""The newest round as Prometheus series under cAdvisor's and the kubelet's names.

Series are made when a scrape asks; nothing is kept between scrapes. Traffic of a pod is read from its link's node end,
so received and sent are swapped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from nodeagent.cgroups.layout import CgroupLayout
from nodeagent.cgroups.stats import CgroupStats
from nodeagent.metrics.machine import link_bytes, pressure_stall_s, total_memory_bytes
from nodeagent.metrics.sampler import Round, TrackedContainer

_LABELS = ("namespace", "pod", "container", "id", "name", "image")
_POD_LABELS = ("namespace", "pod", "interface")
_WAIT_KINDS = {"some": "waiting", "full": "stalled"}
_NS_PER_S = 1e9

_CONTAINER_SERIES: tuple[tuple[type[Metric], str, str, Callable[[CgroupStats], float]], ...] = (
    (CounterMetricFamily, "container_cpu_usage_seconds", "CPU time used", lambda row: row.cpu_usage_ns / _NS_PER_S),
    (
        CounterMetricFamily,
        "container_cpu_cfs_throttled_seconds",
        "Time throttled by the CPU limit",
        lambda row: row.throttled_ns / _NS_PER_S,
    ),
    (CounterMetricFamily, "container_cpu_cfs_periods", "Enforcement periods", lambda row: row.periods),
    (
        CounterMetricFamily,
        "container_cpu_cfs_throttled_periods",
        "Enforcement periods with throttling",
        lambda row: row.throttled_periods,
    ),
    (
        GaugeMetricFamily,
        "container_memory_working_set_bytes",
        "Memory in use less inactive page cache",
        lambda row: row.memory_working_set_bytes,
    ),
    (
        GaugeMetricFamily,
        "container_memory_usage_bytes",
        "Memory in use, page cache included",
        lambda row: row.memory_usage_bytes,
    ),
    (GaugeMetricFamily, "container_memory_cache", "Page cache in bytes", lambda row: row.memory_cache_bytes),
    (GaugeMetricFamily, "container_memory_rss", "Anonymous memory in bytes", lambda row: row.memory_rss_bytes),
    (CounterMetricFamily, "container_oom_events", "Processes killed for want of memory", lambda row: row.oom_kills),
    (GaugeMetricFamily, "container_threads", "Tasks in the container", lambda row: row.pids),
)


class RoundCollector(Collector):
    """Shows what ``newest`` returns, and the machine."""

    def __init__(
        self, newest: Callable[[], Round | None], layout: CgroupLayout, *, link_of: Callable[[str], str]
    ) -> None:
        self._newest = newest
        self._layout = layout
        self._link_of = link_of

    def collect(self) -> Iterator[Metric]:
        yield from _machine()
        round_ = self._newest()
        if round_ is not None:
            yield from _containers(round_)
            yield from self._traffic(round_)
            yield from self._pressure(round_)
            yield from _node(round_)

    def _traffic(self, round_: Round) -> Iterator[Metric]:
        received = CounterMetricFamily("container_network_receive_bytes", "Bytes received", labels=_POD_LABELS)
        sent = CounterMetricFamily("container_network_transmit_bytes", "Bytes sent", labels=_POD_LABELS)
        links = link_bytes(Path("/proc/thread-self/net/dev").read_text())
        pods = {(each.namespace, each.pod): each.pod_uid for each in round_.containers}
        for (namespace, pod), uid in pods.items():
            counters = links.get(self._link_of(uid))
            if counters:
                received.add_metric((namespace, pod, "eth0"), counters[1])
                sent.add_metric((namespace, pod, "eth0"), counters[0])
        yield from (received, sent)

    def _pressure(self, round_: Round) -> Iterator[Metric]:
        """Pressure stall times, which only version 2 keeps for each cgroup."""
        if self._layout.version != 2:
            return
        families: dict[tuple[str, str], CounterMetricFamily] = {}
        for container in round_.containers:
            directory = self._layout.directory("cpu", container.cgroup_path)
            for key, stalled_s in pressure_stall_s(directory, suffix=".pressure").items():
                name = f"container_pressure_{key[0]}_{_WAIT_KINDS[key[1]]}_seconds"
                family = families.setdefault(key, CounterMetricFamily(name, "Time tasks waited", labels=_LABELS))
                family.add_metric(_labels(container), stalled_s)
        yield from families.values()


def registry(
    newest: Callable[[], Round | None], layout: CgroupLayout, *, link_of: Callable[[str], str]
) -> CollectorRegistry:
    """A registry of the node's series and of this process's own; ``link_of`` names a pod's link by its uid."""
    series = CollectorRegistry()
    series.register(RoundCollector(newest, layout, link_of=link_of))
    ProcessCollector(registry=series)
    PlatformCollector(registry=series)
    return series


def exposition(series: CollectorRegistry) -> bytes:
    """The text of a scrape (Prometheus exposition format 0.0.4)."""
    return generate_latest(series)


def _labels(container: TrackedContainer) -> tuple[str, ...]:
    return (
        container.namespace,
        container.pod,
        container.container,
        container.cgroup_path,
        container.container_id,
        container.image,
    )


def _containers(round_: Round) -> Iterator[Metric]:
    rows = list(zip(map(_labels, round_.containers), round_.rows, strict=True))
    for family, name, text, value_of in _CONTAINER_SERIES:
        yield _family(family, name, text, [(labels, value_of(row)) for labels, row in rows])
    starts = ((_labels(each), each.start_time_unix_s) for each in round_.containers)
    yield _family(GaugeMetricFamily, "container_start_time_seconds", "When the container started", starts)
    seen = ((_labels(each), round_.time_unix_s) for each in round_.containers)
    yield _family(GaugeMetricFamily, "container_last_seen", "When the container was last sampled", seen)


def _family(kind: type[Metric], name: str, text: str, values: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    family = kind(name, text, labels=_LABELS)  # type: ignore[call-arg]
    for labels, value in values:
        family.add_metric(labels, value)  # type: ignore[attr-defined]
    return family


def _node(round_: Round) -> Iterator[Metric]:
    used_s = round_.machine.cpu_usage_ns / _NS_PER_S
    yield CounterMetricFamily("node_cpu_usage_seconds", "CPU time used on the node", value=used_s)
    working_set = round_.machine.memory_working_set_bytes
    yield GaugeMetricFamily("node_memory_working_set_bytes", "Memory in use on the node", value=working_set)


def _machine() -> Iterator[Metric]:
    yield GaugeMetricFamily("machine_cpu_cores", "Processors", value=os.cpu_count() or 1)
    yield GaugeMetricFamily("machine_memory_bytes", "Memory", value=total_memory_bytes())
    for (resource, kind), stalled_s in pressure_stall_s(Path("/proc/pressure")).items():
        name = f"node_pressure_{resource}_{_WAIT_KINDS[kind]}_seconds"
        yield CounterMetricFamily(name, "Time tasks of the node waited", value=stalled_s)
