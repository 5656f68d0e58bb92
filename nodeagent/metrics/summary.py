"""``/stats/summary``: the node and its pods in the kubelet's JSON (``k8s.io/kubelet/pkg/apis/stats/v1alpha1``).

Rates (``usageNanoCores``) are told over the last ten seconds, or since the container was first sampled. Figures that
need a tree to be walked are as old as their ``time`` says.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flotilla.api.objects import KubeObject, encode, format_time, name_of, namespace_of
from nodeagent.cgroups.details import CgroupDetails, pressure_directory, read_details
from nodeagent.cgroups.limits import UNLIMITED
from nodeagent.cgroups.stats import CgroupStats, read_stats
from nodeagent.disk.filesystems import Filesystem, filesystem_of
from nodeagent.disk.places import PodDisk
from nodeagent.metrics.exposition import pod_links
from nodeagent.metrics.machine import (
    LinkCounters,
    Pressure,
    link_counters,
    memory_bytes,
    pressures,
    process_counts,
)
from nodeagent.metrics.page_view import PageView
from nodeagent.metrics.sampler import Round
from nodeagent.node_view import PodView, RunningContainer

_NS_PER_S = 1_000_000_000


def summary_page(view: PageView, *, only_cpu_and_memory: bool = False) -> bytes:
    """The Summary as JSON. Reads many files: for a thread."""
    return encode(_Summary(view, only_cpu_and_memory=only_cpu_and_memory).document())


def _time(unix_s: float) -> str:
    return format_time(datetime.fromtimestamp(unix_s, UTC))


def _psi(found: Mapping[tuple[str, str], Pressure], resource: str) -> KubeObject:
    """``{"psi": {"some": ..., "full": ...}}`` of one resource; empty where the kernel keeps none."""
    kinds = {
        kind: {
            "total": int(each.total_s * _NS_PER_S),
            "avg10": each.avg10,
            "avg60": each.avg60,
            "avg300": each.avg300,
        }
        for kind in ("full", "some")
        if (each := found.get((resource, kind))) is not None
    }
    return {"psi": kinds} if kinds else {}


def _filesystem(found: Filesystem, moment: str, used_bytes: int | None = None) -> KubeObject:
    return {
        "time": moment,
        "availableBytes": found.available_bytes,
        "capacityBytes": found.capacity_bytes,
        "usedBytes": found.used_bytes if used_bytes is None else used_bytes,
        "inodesFree": found.inodes_free,
        "inodes": found.inodes,
    } | ({"inodesUsed": found.inodes - found.inodes_free} if used_bytes is None else {})


def _network(moment: str, name: str, counters: LinkCounters) -> KubeObject:
    figures = {
        "name": name,
        "rxBytes": counters.bytes[0],
        "rxErrors": counters.errors[0],
        "txBytes": counters.bytes[1],
        "txErrors": counters.errors[1],
    }
    return {"time": moment, **figures, "interfaces": [figures]}


class _Summary:
    """One answer in the making."""

    def __init__(self, view: PageView, *, only_cpu_and_memory: bool) -> None:
        self._view, self._brief = view, only_cpu_and_memory
        self._earliest = _earliest(view.recent)
        self._filesystem = filesystem_of(view.data_dir)
        self._links = pod_links(
            {pod.uid: view.links.get((namespace_of(pod.pod), name_of(pod.pod)), "") for pod in view.pods}
        )

    def document(self) -> KubeObject:
        newest = self._view.round
        if newest is None:
            return {"node": {"nodeName": self._view.node_name}, "pods": []}
        return {"node": self._node(newest), "pods": [self._pod(pod, newest) for pod in self._view.pods if pod.running]}

    def _node(self, newest: Round) -> KubeObject:
        view, moment = self._view, _time(newest.time_unix_s)
        memory = memory_bytes(Path("/proc/meminfo").read_text(encoding="ascii"))
        stalls = pressures(Path("/proc/pressure"))
        before = view.recent[0] if view.recent else newest
        node: KubeObject = {
            "nodeName": view.node_name,
            "startTime": _time(view.boot_unix_s),
            "cpu": {
                "time": moment,
                "usageNanoCores": _rate(
                    newest.machine.cpu_usage_ns - before.machine.cpu_usage_ns, newest.time_unix_s - before.time_unix_s
                ),
                "usageCoreNanoSeconds": newest.machine.cpu_usage_ns,
                **_psi(stalls, "cpu"),
            },
            "memory": {
                "time": moment,
                "availableBytes": memory["MemTotal"] - newest.machine.memory_working_set_bytes,
                "usageBytes": memory["MemTotal"] - memory["MemFree"],
                "workingSetBytes": newest.machine.memory_working_set_bytes,
                "rssBytes": memory.get("AnonPages", 0),
                **_psi(stalls, "memory"),
            },
        }
        if self._brief:
            return node
        running, most = process_counts()
        images = filesystem_of(view.data_dir / "images" if (view.data_dir / "images").exists() else view.data_dir)
        counters = link_counters(Path("/proc/thread-self/net/dev").read_text(encoding="ascii"))
        interfaces = [_network(moment, name, each)["interfaces"][0] for name, each in counters.items() if name != "lo"]
        return node | {
            "network": {"time": moment, "name": "", "interfaces": interfaces},
            "fs": _filesystem(self._filesystem, moment),
            "io": {"time": moment, **_psi(stalls, "io")},
            "runtime": {"imageFs": _filesystem(images, moment), "containerFs": _filesystem(self._filesystem, moment)},
            "rlimit": {"time": moment, "maxpid": most, "curproc": running},
        }

    def _pod(self, pod: PodView, newest: Round) -> KubeObject:
        moment = _time(newest.time_unix_s)
        reference = {"name": name_of(pod.pod), "namespace": namespace_of(pod.pod), "uid": pod.uid}
        found: KubeObject = {
            "podRef": reference,
            "startTime": _time(pod.start_time_unix_s),
            "containers": [self._container(pod, each, newest) for each in pod.running],
        }
        found |= self._own_figures(pod, moment)
        if self._brief:
            return found
        found["process_stats"] = {"process_count": pod.processes}
        if (counters := self._links.get(pod.uid)) is not None:
            found["network"] = _network(moment, "eth0", counters)
        disk = self._view.disks.get(pod.uid)
        if disk is not None:
            volumes = disk.volumes.items()
            found["volume"] = [{**self._measured(disk, used), "name": name} for name, used in volumes]
            found["ephemeral-storage"] = self._measured(disk, disk.total)
        return found

    def _own_figures(self, pod: PodView, moment: str) -> KubeObject:
        """CPU and memory of the pod's own cgroup."""
        layout = self._view.layout
        if not pod.cgroup_path:
            return {}
        try:
            row = read_stats(layout, pod.cgroup_path)
        except OSError:
            return {}
        rate = sum(self._nano_cores(container.container_id, each.cpu_usage_ns) for container, each in pod.running)
        return self._figures(row, read_details(layout, pod.cgroup_path), pod.cgroup_path, moment, rate)

    def _container(self, pod: PodView, running: RunningContainer, newest: Round) -> KubeObject:
        container, row = running
        moment = _time(newest.time_unix_s)
        details = read_details(self._view.layout, container.cgroup_path)
        rate = self._nano_cores(container.container_id, row.cpu_usage_ns)
        found: KubeObject = {"name": container.container, "startTime": _time(container.start_time_unix_s)}
        found |= self._figures(row, details, container.cgroup_path, moment, rate)
        disk = self._view.disks.get(pod.uid)
        if disk is not None and not self._brief:
            found["rootfs"] = self._measured(disk, disk.layers.get(container.container, 0))
            found["logs"] = self._measured(disk, disk.logs.get(container.container, 0))
        return found

    def _figures(self, row: CgroupStats, details: CgroupDetails, path: str, moment: str, rate: int) -> KubeObject:
        directory = pressure_directory(self._view.layout, path)
        stalls = pressures(directory, suffix=".pressure") if directory is not None else {}
        memory: KubeObject = {
            "time": moment,
            "usageBytes": row.memory_usage_bytes,
            "workingSetBytes": row.memory_working_set_bytes,
            "rssBytes": row.memory_rss_bytes,
            "pageFaults": details.page_faults,
            "majorPageFaults": details.major_page_faults,
            **_psi(stalls, "memory"),
        }
        if details.limits.memory_bytes != UNLIMITED:
            memory["availableBytes"] = max(0, details.limits.memory_bytes - row.memory_working_set_bytes)
        cpu = {"time": moment, "usageNanoCores": rate, "usageCoreNanoSeconds": row.cpu_usage_ns, **_psi(stalls, "cpu")}
        found: KubeObject = {
            "cpu": cpu,
            "memory": memory,
            "swap": {"time": moment, "swapUsageBytes": details.swap_bytes},
        }
        return found if self._brief else found | {"io": {"time": moment, **_psi(stalls, "io")}}

    def _measured(self, disk: PodDisk, used_bytes: int) -> KubeObject:
        return _filesystem(self._filesystem, _time(disk.time_unix_s), used_bytes)

    def _nano_cores(self, container_id: str, used_ns: int) -> int:
        newest = self._view.round
        assert newest is not None
        before_s, before_ns = self._earliest.get(container_id, (newest.time_unix_s, used_ns))
        return _rate(used_ns - before_ns, newest.time_unix_s - before_s)


def _earliest(rounds: Sequence[Round]) -> dict[str, tuple[float, int]]:
    """When each container was sampled first among these rounds, and what it had used then."""
    found: dict[str, tuple[float, int]] = {}
    for each in rounds:
        for container, row in zip(each.containers, each.rows, strict=True):
            found.setdefault(container.container_id, (each.time_unix_s, row.cpu_usage_ns))
    return found


def _rate(used_ns: int, seconds: float) -> int:
    """Nanoseconds a second; 0 where there is nothing to tell it by."""
    return max(0, int(used_ns / seconds)) if seconds > 0 else 0


def boot_unix_s() -> float:
    """When the machine was started."""
    return time.time() - float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])


def pod_list(pods: list[Any]) -> bytes:
    """``/pods``: a PodList of specs and statuses as this node has them."""
    return encode({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods})
