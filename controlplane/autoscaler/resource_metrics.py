"""``metrics.k8s.io`` objects, as ``kubectl top`` and others read them."""

from __future__ import annotations

from datetime import UTC, datetime

from controlplane.autoscaler.columns import Usage
from controlplane.autoscaler.samples import SampleStore, total
from controlplane.store.cache import Cache, Entry
from flotilla.api.objects import KubeObject, format_time
from flotilla.api.resources import NODES, PODS
from flotilla.clocks import shown_unix_s

API_VERSION = "metrics.k8s.io/v1beta1"
_NANO = 1e-9


class ResourceMetrics:
    """Implements ``MetricsSource``: what the cache knows of pods and nodes, with what was measured of them."""

    def __init__(self, cache: Cache, samples: SampleStore) -> None:
        self._cache = cache
        self._samples = samples

    def pod_metrics(self, namespace: str, name: str = "") -> list[KubeObject]:
        """``PodMetrics`` of a namespace (all if empty) or of one pod, for pods whose figures are known."""
        if name:
            entry = self._cache.get(PODS, namespace, name)
            entries = [entry] if entry is not None else []
        else:
            entries = self._cache.list(PODS, namespace)
        return [metrics for entry in entries if (metrics := self._pod(entry)) is not None]

    def node_metrics(self, name: str = "") -> list[KubeObject]:
        """``NodeMetrics`` of one node or of all whose figures are known."""
        if name:
            entry = self._cache.get(NODES, "", name)
            entries = [entry] if entry is not None else []
        else:
            entries = self._cache.list(NODES)
        return [metrics for entry in entries if (metrics := self._node(entry)) is not None]

    def _pod(self, entry: Entry) -> KubeObject | None:
        containers = self._samples.containers(entry.node, entry.uid)
        whole = total([container.cpu for container in containers])
        if whole is None:
            return None
        usages = [{"name": each.name, "usage": _usage(each.cpu, each.memory)} for each in containers]
        return {"kind": "PodMetrics", **_head(entry, whole), "containers": usages}

    def _node(self, entry: Entry) -> KubeObject | None:
        usage = self._samples.node_usage(entry.name)
        if usage is None:
            return None
        return {"kind": "NodeMetrics", **_head(entry, usage[0]), "usage": _usage(*usage)}


def _head(entry: Entry, cpu: Usage) -> KubeObject:
    moment = format_time(datetime.fromtimestamp(shown_unix_s(cpu.window_end_unix_s), UTC))
    metadata: KubeObject = {"name": entry.name, "creationTimestamp": moment, "labels": entry.labels}
    if entry.namespace:
        metadata["namespace"] = entry.namespace
    window = f"{round(cpu.window_s, 3):g}s"
    return {"apiVersion": API_VERSION, "metadata": metadata, "timestamp": moment, "window": window}


def _usage(cpu: Usage, memory: Usage) -> KubeObject:
    return {"cpu": f"{round(cpu.value / _NANO)}n", "memory": f"{round(memory.value / 1024)}Ki"}
