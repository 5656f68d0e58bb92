"""The newest round as Prometheus series under cAdvisor's and the kubelet's names.

Series are made when a scrape asks; nothing is kept between scrapes. Traffic of a pod is read from its link's node end,
so received and sent are swapped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from nodeagent.cgroups.details import pressure_directory
from nodeagent.cgroups.layout import CgroupLayout
from nodeagent.cgroups.stats import CgroupStats
from nodeagent.metrics.machine import LinkCounters, link_counters, pressures, total_memory_bytes
from nodeagent.metrics.sampler import Round, TrackedContainer

LABELS = ("namespace", "pod", "container", "id", "name", "image")
_NETWORK_LABELS = ("namespace", "pod", "interface")
_WAIT_KINDS = {"some": "waiting", "full": "stalled"}
_NETWORK_SERIES = {"bytes": "bytes", "packets": "packets", "errors": "errors", "dropped": "packets_dropped"}
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


Labelled = tuple[tuple[str, ...], CgroupStats]


class RoundCollector(Collector):
    """Shows what ``newest`` returns, and the machine."""

    def __init__(
        self, newest: Callable[[], Round | None], layout: CgroupLayout, *, link_of: Callable[[str], str]
    ) -> None:
        self._newest = newest
        self._layout = layout
        self._link_of = link_of

    def collect(self) -> Iterator[Metric]:
        yield from machine_families()
        round_ = self._newest()
        if round_ is not None:
            rows = zip(map(labels_of, round_.containers), round_.rows, strict=True)
            yield from container_families(list(rows))
            yield from moment_families(round_)
            pods = {(each.namespace, each.pod): self._link_of(each.pod_uid) for each in round_.containers}
            yield from network_families(pods)
            paths = ((labels_of(each), each.cgroup_path) for each in round_.containers)
            yield from pressure_families(self._layout, paths)
            yield from _node(round_)


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


def labels_of(container: TrackedContainer) -> tuple[str, ...]:
    """The values of ``LABELS``."""
    return (
        container.namespace,
        container.pod,
        container.container,
        container.cgroup_path,
        container.container_id,
        container.image,
    )


def container_families(rows: Sequence[Labelled]) -> Iterator[Metric]:
    """cAdvisor's counters of CPU and memory."""
    for family, name, text, value_of in _CONTAINER_SERIES:
        yield family_of(family, name, text, [(labels, value_of(row)) for labels, row in rows])


def moment_families(round_: Round) -> Iterator[Metric]:
    """When containers started, and when they were sampled."""
    starts = ((labels_of(each), each.start_time_unix_s) for each in round_.containers)
    yield family_of(GaugeMetricFamily, "container_start_time_seconds", "When the container started", starts)
    seen = ((labels_of(each), round_.time_unix_s) for each in round_.containers)
    yield family_of(GaugeMetricFamily, "container_last_seen", "When the container was last sampled", seen)


def network_families(links: Mapping[tuple[str, str], str]) -> Iterator[Metric]:
    """What pods have received and sent, by (namespace, name) with the name of the pod's link on the node."""
    counters = pod_links(links)
    for direction, column in (("receive", 0), ("transmit", 1)):
        for what, name in _NETWORK_SERIES.items():
            family = CounterMetricFamily(
                f"container_network_{direction}_{name}", f"Network: {what}, {direction}", labels=_NETWORK_LABELS
            )
            for (namespace, pod), each in counters.items():
                family.add_metric((namespace, pod, "eth0"), getattr(each, what)[column])
            yield family


def pod_links(links: Mapping[Any, str]) -> dict[Any, LinkCounters]:
    """The counters of pods' links as the pods see them; pods without one are left out."""
    found = link_counters(Path("/proc/thread-self/net/dev").read_text())
    return {pod: found[link].swapped() for pod, link in links.items() if link in found}


def pressure_families(layout: CgroupLayout, paths: Iterable[tuple[tuple[str, ...], str]]) -> Iterator[Metric]:
    """Pressure stall times of cgroups, which only the version 2 hierarchy keeps; of a hybrid machine too."""
    families: dict[tuple[str, str], CounterMetricFamily] = {}
    for labels, path in paths:
        directory = pressure_directory(layout, path)
        if directory is None:
            return
        for key, pressure in pressures(directory, suffix=".pressure").items():
            name = f"container_pressure_{key[0]}_{_WAIT_KINDS[key[1]]}_seconds"
            family = families.setdefault(key, CounterMetricFamily(name, "Time tasks waited", labels=LABELS))
            family.add_metric(labels, pressure.total_s)
    yield from families.values()


def family_of(kind: type[Metric], name: str, text: str, values: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    """A family of series with the labels of containers."""
    family = kind(name, text, labels=LABELS)  # type: ignore[call-arg]
    for labels, value in values:
        family.add_metric(labels, value)  # type: ignore[attr-defined]
    return family


def _node(round_: Round) -> Iterator[Metric]:
    used_s = round_.machine.cpu_usage_ns / _NS_PER_S
    yield CounterMetricFamily("node_cpu_usage_seconds", "CPU time used on the node", value=used_s)
    working_set = round_.machine.memory_working_set_bytes
    yield GaugeMetricFamily("node_memory_working_set_bytes", "Memory in use on the node", value=working_set)


def machine_families() -> Iterator[Metric]:
    """Sizes of the machine, and how long its tasks have waited."""
    yield GaugeMetricFamily("machine_cpu_cores", "Processors", value=os.cpu_count() or 1)
    yield GaugeMetricFamily("machine_memory_bytes", "Memory", value=total_memory_bytes())
    for (resource, kind), pressure in pressures(Path("/proc/pressure")).items():
        name = f"node_pressure_{resource}_{_WAIT_KINDS[kind]}_seconds"
        yield CounterMetricFamily(name, "Time tasks of the node waited", value=pressure.total_s)
