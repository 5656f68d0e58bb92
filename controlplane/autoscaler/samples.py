"""What the agents have measured lately: the source of the autoscaler's figures and of ``metrics.k8s.io``.

CPU is averaged over a sliding window of five seconds. Where the window lies is taken from when rounds arrived (on the
server's clock, which pod readiness is judged on too), its length and the rates from the node's own timestamps, so that
clocks that differ distort neither. What is older than ten seconds is missing, not current.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from controlplane.autoscaler.columns import ContainerId, NodeColumns, Numbers, Round, Span, Usage
from flotilla.api.objects import KubeObject, format_time
from protos import dispatcher_pb2 as pb

logger = logging.getLogger(__name__)

WINDOW_S = 5.0
STALE_AFTER_S = 10.0
WINDOW = Span(WINDOW_S)
_METRICS_API = "metrics.k8s.io/v1beta1"
_NANO = 1e-9


@dataclass(slots=True)
class _Node:
    generation: int
    columns: NodeColumns
    pods: dict[str, list[int]]  # uid → columns


class SampleStore:
    """Takes samples in and answers for the last few seconds. Implements ``MetricsSource``."""

    def __init__(self, *, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self._nodes: dict[str, _Node] = {}
        self._node_of: dict[str, str] = {}
        self._arrived: set[str] = set()
        self._arrival = asyncio.Event()

    def ingest(self, node: str, samples: pb.Samples) -> None:
        """Add a round of ``node``. A round that can't be read, or is not newer than the last, is left out."""
        known = self._adopt(node, samples)
        if known is None:
            return
        if samples.time_unix_s == known.columns.newest_unix_s:
            return
        if samples.time_unix_s < known.columns.newest_unix_s:
            # The node's clock was set back: rates across the step would be wrong.
            known.columns = NodeColumns(known.columns.containers)
        round_ = self._round(samples, width=len(known.columns.containers))
        if round_ is None:
            logger.warning("samples_unreadable", extra={"node": node})
            return
        known.columns.add(round_)
        self._arrived.add(node)
        self._arrival.set()

    def forget(self, node: str) -> None:
        """The node no longer exists."""
        gone = self._nodes.pop(node, None)
        for uid in gone.pods if gone is not None else ():
            self._drop_pod(uid, node)

    async def arrivals(self) -> set[str]:
        """The nodes that have sent samples since the last call; at least one. For one reader."""
        await self._arrival.wait()
        self._arrival.clear()
        arrived, self._arrived = self._arrived, set()
        return arrived

    def pod_cpu(self, uid: str, *, container: str = "", span: Span = WINDOW) -> Usage | None:
        """Cores that the pod, or one container of it, has used over the span; None if that is not known."""
        found = self._columns_of(uid, container)
        return _total([found[0].cpu_rate(index, span) for index in found[1]]) if found else None

    def pod_memory(self, uid: str, *, container: str = "") -> Usage | None:
        """Bytes in the working set of the pod, or of one container; None if that is not known."""
        found = self._columns_of(uid, container)
        return _total([found[0].memory(index) for index in found[1]]) if found else None

    def pod_metrics(self, namespace: str, name: str = "") -> list[KubeObject]:
        """``PodMetrics`` of a namespace (all if empty) or of one pod, for pods whose figures are known."""
        return [
            metrics
            for node in self._fresh()
            for indexes in node.pods.values()
            if self._wanted(node.columns.containers[indexes[0]], namespace, name)
            and (metrics := _pod_metrics(node.columns, indexes))
        ]

    def node_metrics(self, name: str = "") -> list[KubeObject]:
        """``NodeMetrics`` of one node or of all whose figures are known."""
        names = [name] if name else sorted(self._nodes)
        fresh = [(each, self._nodes[each].columns) for each in names if each in self._nodes and self._is_fresh(each)]
        return [metrics for each, columns in fresh if (metrics := _node_metrics(each, columns))]

    def _adopt(self, node: str, samples: pb.Samples) -> _Node | None:
        """The node's columns, made to fit the round's set of containers; None if that set has not been sent."""
        known = self._nodes.get(node)
        same = known is not None and known.generation == samples.generation
        if not samples.containers and (same or samples.cpu_usage_ns):
            return known if same else None
        containers = [ContainerId(key.namespace, key.pod, key.pod_uid, key.container) for key in samples.containers]
        columns = known.columns.with_containers(containers) if known is not None else NodeColumns(containers)
        return self._replace(node, _Node(samples.generation, columns, _by_pod(containers)))

    def _replace(self, node: str, new: _Node) -> _Node:
        old = self._nodes.get(node)
        for uid in old.pods if old is not None else ():
            if uid not in new.pods:
                self._drop_pod(uid, node)
        self._node_of |= dict.fromkeys(new.pods, node)
        self._nodes[node] = new
        return new

    def _drop_pod(self, uid: str, node: str) -> None:
        if self._node_of.get(uid) == node:
            del self._node_of[uid]

    def _round(self, samples: pb.Samples, *, width: int) -> Round | None:
        cpu = _column(samples.cpu_usage_ns, "<u8", width)
        memory = _column(samples.memory_working_set_bytes, "<u8", width)
        started = _column(samples.start_time_unix_s, "<f8", width)
        if cpu is None or memory is None or started is None:
            return None
        return Round(
            time_unix_s=samples.time_unix_s,
            received_unix_s=self._wall_clock(),
            cpu_s=cpu * _NANO,
            memory_bytes=memory,
            started_unix_s=started,
            node_cpu_s=samples.node_cpu_usage_ns * _NANO,
            node_memory_bytes=float(samples.node_memory_working_set_bytes),
        )

    def _columns_of(self, uid: str, container: str) -> tuple[NodeColumns, list[int]] | None:
        name = self._node_of.get(uid)
        if name is None or not self._is_fresh(name):
            return None
        node = self._nodes[name]
        indexes = node.pods[uid]
        if container:
            indexes = [index for index in indexes if node.columns.containers[index].container == container]
        return (node.columns, indexes) if indexes else None

    def _is_fresh(self, node: str) -> bool:
        return self._wall_clock() - self._nodes[node].columns.received_unix_s <= STALE_AFTER_S

    def _fresh(self) -> Iterator[_Node]:
        return (node for name, node in self._nodes.items() if self._is_fresh(name))

    @staticmethod
    def _wanted(container: ContainerId, namespace: str, name: str) -> bool:
        return (not namespace or container.namespace == namespace) and (not name or container.pod == name)


def _by_pod(containers: list[ContainerId]) -> dict[str, list[int]]:
    pods: dict[str, list[int]] = {}
    for index, container in enumerate(containers):
        pods.setdefault(container.uid, []).append(index)
    return pods


def _column(data: bytes, kind: str, width: int) -> Numbers | None:
    if len(data) != 8 * width:
        return None
    numbers: Numbers = np.frombuffer(data, dtype=kind).astype(np.float64)
    return numbers if np.isfinite(numbers).all() else None


def _total(usages: list[Usage | None]) -> Usage | None:
    """The sum over containers, over the widest of their windows; None if one of them is not known."""
    known = [usage for usage in usages if usage is not None]
    if not known or len(known) < len(usages):
        return None
    return Usage(
        sum(usage.value for usage in known),
        min(usage.window_start_unix_s for usage in known),
        max(usage.window_end_unix_s for usage in known),
    )


def _pod_metrics(columns: NodeColumns, indexes: list[int]) -> KubeObject | None:
    rates = [columns.cpu_rate(index, WINDOW) for index in indexes]
    total = _total(rates)
    if total is None:
        return None
    first = columns.containers[indexes[0]]
    containers = [
        {"name": columns.containers[index].container, "usage": _usage(rate, memory)}
        for index, rate in zip(indexes, rates, strict=True)
        if rate is not None and (memory := columns.memory(index)) is not None
    ]
    return {
        "kind": "PodMetrics",
        "apiVersion": _METRICS_API,
        "metadata": {"name": first.pod, "namespace": first.namespace, "creationTimestamp": _moment(columns)},
        "timestamp": _moment(columns),
        "window": _duration(total.window_s),
        "containers": containers,
    }


def _node_metrics(name: str, columns: NodeColumns) -> KubeObject | None:
    cpu = columns.node_cpu_rate(WINDOW)
    if cpu is None:
        return None
    return {
        "kind": "NodeMetrics",
        "apiVersion": _METRICS_API,
        "metadata": {"name": name, "creationTimestamp": _moment(columns)},
        "timestamp": _moment(columns),
        "window": _duration(cpu.window_s),
        "usage": _usage(cpu, columns.node_memory()),
    }


def _usage(cpu: Usage, memory: Usage) -> KubeObject:
    return {"cpu": f"{round(cpu.value / _NANO)}n", "memory": f"{round(memory.value / 1024)}Ki"}


def _moment(columns: NodeColumns) -> str:
    return format_time(datetime.fromtimestamp(columns.received_unix_s, UTC))


def _duration(seconds: float) -> str:
    return f"{round(seconds, 3):g}s"
