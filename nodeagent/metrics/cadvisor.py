"""``/metrics/cadvisor``: containers, their pods and the machine under cAdvisor's names and labels.

Dashboards and rules that were written for a kubelet find their series here: a container's have ``container`` and
``image``, a pod's own cgroup has empty ones, and the machine is ``id="/"``. What costs more than the sampler's second
(limits, peaks, disk input and output, sizes of writable layers) is read when the page is asked for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from flotilla.api.objects import name_of, namespace_of
from nodeagent.cgroups.details import CgroupDetails, read_details
from nodeagent.cgroups.layout import CgroupLayout
from nodeagent.cgroups.limits import PERIOD_US, UNLIMITED
from nodeagent.cgroups.stats import read_stats
from nodeagent.disk.filesystems import device_of, filesystem_of
from nodeagent.metrics.exposition import (
    LABELS,
    Labelled,
    container_families,
    family_of,
    labels_of,
    machine_families,
    moment_families,
    network_families,
    pressure_families,
)
from nodeagent.metrics.page_view import PageView
from nodeagent.node_view import PodView

_NS_PER_S = 1e9
_DISK_LABELS = (*LABELS, "device")

_DETAIL_SERIES: tuple[tuple[type[Metric], str, str, Callable[[CgroupDetails], float]], ...] = (
    (
        CounterMetricFamily,
        "container_cpu_user_seconds",
        "CPU time in programs",
        lambda row: row.cpu_user_ns / _NS_PER_S,
    ),
    (
        CounterMetricFamily,
        "container_cpu_system_seconds",
        "CPU time in the kernel",
        lambda row: row.cpu_system_ns / _NS_PER_S,
    ),
    (GaugeMetricFamily, "container_memory_max_usage_bytes", "Most memory used", lambda row: row.memory_peak_bytes),
    (GaugeMetricFamily, "container_memory_mapped_file", "Mapped files in bytes", lambda row: row.memory_mapped_bytes),
    (GaugeMetricFamily, "container_memory_swap", "Swap in bytes", lambda row: row.swap_bytes),
    (CounterMetricFamily, "container_memory_failcnt", "Times the limit was hit", lambda row: row.memory_limit_hits),
    (CounterMetricFamily, "container_fs_reads_bytes", "Bytes read from disks", lambda row: row.read_bytes),
    (CounterMetricFamily, "container_fs_writes_bytes", "Bytes written to disks", lambda row: row.written_bytes),
    (CounterMetricFamily, "container_fs_reads", "Reads from disks", lambda row: row.reads),
    (CounterMetricFamily, "container_fs_writes", "Writes to disks", lambda row: row.writes),
    (GaugeMetricFamily, "container_processes", "Processes in the container", lambda row: row.processes),
    (GaugeMetricFamily, "container_spec_cpu_shares", "CPU shares", lambda row: row.limits.cpu_shares),
    (GaugeMetricFamily, "container_spec_cpu_period", "CPU period in microseconds", lambda row: PERIOD_US),
    (
        GaugeMetricFamily,
        "container_spec_memory_limit_bytes",
        "Memory limit, 0 for none",
        lambda row: max(0, row.limits.memory_bytes),
    ),
    (GaugeMetricFamily, "container_threads_max", "Limit of tasks, 0 for none", lambda row: max(0, row.limits.pids)),
)


def cadvisor_page(view: PageView) -> bytes:
    """The text (Prometheus exposition format 0.0.4). Reads many files: for a thread."""
    series = CollectorRegistry()
    series.register(_ViewCollector(view))
    return generate_latest(series)


class _ViewCollector(Collector):
    def __init__(self, view: PageView) -> None:
        self._view = view

    def describe(self) -> list[Metric]:
        """Nothing beforehand: a page is collected once."""
        return []

    def collect(self) -> Iterator[Metric]:
        view = self._view
        yield from machine_families()
        yield GaugeMetricFamily("container_scrape_error", "1 if there was an error while reading", value=0)
        if view.round is None:
            return
        containers = [(labels_of(each), each.cgroup_path) for each in view.round.containers]
        pods = [(_pod_labels(pod), pod.cgroup_path) for pod in view.pods if pod.running and pod.cgroup_path]
        rows: list[Labelled] = list(zip((labels for labels, _ in containers), view.round.rows, strict=True))
        for labels, path in pods:
            with contextlib.suppress(OSError):
                rows.append((labels, read_stats(view.layout, path)))
        yield from container_families(rows)
        yield from moment_families(view.round)
        yield from network_families(view.links)
        yield from pressure_families(view.layout, [*containers, *pods])
        yield from _details(view.layout, [*containers, *pods])
        yield from _disks(view)


def _pod_labels(pod: PodView) -> tuple[str, ...]:
    return (namespace_of(pod.pod), name_of(pod.pod), "", pod.cgroup_path, "", "")


def _details(layout: CgroupLayout, paths: Sequence[tuple[tuple[str, ...], str]]) -> Iterator[Metric]:
    rows = [(labels, read_details(layout, path)) for labels, path in paths]
    for kind, name, text, value_of in _DETAIL_SERIES:
        yield family_of(kind, name, text, [(labels, value_of(row)) for labels, row in rows])
    quotas = [(labels, row.limits.cpu_quota_us) for labels, row in rows if row.limits.cpu_quota_us != UNLIMITED]
    yield family_of(GaugeMetricFamily, "container_spec_cpu_quota", "CPU quota in microseconds a period", quotas)


def _disks(view: PageView) -> Iterator[Metric]:
    """Writable layer and logs of each container as last measured, on a file system of such a size."""
    device, whole = device_of(view.data_dir), filesystem_of(view.data_dir)
    used = GaugeMetricFamily("container_fs_usage_bytes", "Writable layer and logs in bytes", labels=_DISK_LABELS)
    limit = GaugeMetricFamily("container_fs_limit_bytes", "Size of the file system", labels=_DISK_LABELS)
    root = ("", "", "", "/", "", "", device)
    used.add_metric(root, whole.used_bytes)
    limit.add_metric(root, whole.capacity_bytes)
    for pod in view.pods:
        disk = view.disks.get(pod.uid)
        for container, _ in pod.running if disk is not None else ():
            assert disk is not None
            labels = (*labels_of(container), device)
            used.add_metric(labels, disk.container(container.container))
            limit.add_metric(labels, whole.capacity_bytes)
    yield from (used, limit)
    for name, value in (("inodes_total", whole.inodes), ("inodes_free", whole.inodes_free)):
        family = GaugeMetricFamily(f"container_fs_{name}", "Inodes of the file system", labels=_DISK_LABELS)
        family.add_metric(root, value)
        yield family
