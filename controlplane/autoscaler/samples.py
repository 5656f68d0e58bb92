"""What the agents have measured lately: the source of the autoscaler's figures and of ``metrics.k8s.io``.

CPU is averaged over a sliding window of five seconds. Where the window lies is taken from when rounds arrived (on the
server's steady clock, which pod readiness is judged on too), its length and the rates from the node's own timestamps,
so that clocks that differ, or are set, distort neither. What is older than ten seconds is missing, not current. Figures
are asked for by the node that a pod is bound to: what another node claims to have measured of it does not count.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from controlplane.autoscaler.columns import ContainerId, NodeColumns, Numbers, Round, Span, Usage
from flotilla.clocks import steady_unix_s
from protos import dispatcher_pb2 as pb

logger = logging.getLogger(__name__)

WINDOW_S = 5.0
STALE_AFTER_S = 10.0
WINDOW = Span(WINDOW_S)
_NANO = 1e-9


@dataclass(frozen=True, slots=True)
class ContainerUsage:
    """One container's cores and bytes in its working set."""

    name: str
    cpu: Usage
    memory: Usage


@dataclass(slots=True)
class _Node:
    generation: int
    columns: NodeColumns
    pods: dict[str, list[int]]  # uid → columns

    def of(self, uid: str, container: str = "") -> list[int]:
        """The columns of a pod, or of one container of it."""
        indexes = self.pods.get(uid, [])
        if container:
            return [index for index in indexes if self.columns.containers[index].container == container]
        return indexes


class SampleStore:
    """Takes samples in and answers for the last few seconds."""

    def __init__(self, *, clock: Callable[[], float] = steady_unix_s) -> None:
        self._clock = clock
        self._nodes: dict[str, _Node] = {}
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

    def now(self) -> datetime:
        """The moment, on the clock that windows are placed on."""
        return datetime.fromtimestamp(self._clock(), UTC)

    def forget(self, node: str) -> None:
        """The node no longer exists."""
        self._nodes.pop(node, None)

    async def arrivals(self) -> set[str]:
        """The nodes that have sent samples since the last call; at least one. For one reader."""
        await self._arrival.wait()
        self._arrival.clear()
        arrived, self._arrived = self._arrived, set()
        return arrived

    def pod_cpu(
        self, node: str, uid: str, *, container: str = "", span: Span = WINDOW, demand: bool = False
    ) -> Usage | None:
        """Cores that the pod, or one container of it, has used over the span; None if that is not known.

        With ``demand`` those count as well that its limit kept it from using.
        """
        known = self._fresh(node)
        if known is None:
            return None
        return total([known.columns.cpu_rate(index, span, demand=demand) for index in known.of(uid, container)])

    def pod_memory(self, node: str, uid: str, *, container: str = "") -> Usage | None:
        """Bytes in the working set of the pod, or of one container; None if that is not known."""
        known = self._fresh(node)
        return total([known.columns.memory(index) for index in known.of(uid, container)]) if known else None

    def memory_peak(self, node: str, uid: str, container: str, *, window_s: float) -> Usage | None:
        """The largest working set that one container has had in the last seconds; None if that is not known."""
        known = self._fresh(node)
        return (
            total([known.columns.memory_peak(index, window_s) for index in known.of(uid, container)]) if known else None
        )

    def containers(self, node: str, uid: str) -> list[ContainerUsage]:
        """Each container of the pod; empty if that is not known of all of them."""
        known = self._fresh(node)
        if known is None:
            return []
        columns = known.columns
        found = [(index, columns.cpu_rate(index, WINDOW), columns.memory(index)) for index in known.of(uid)]
        usages = [
            ContainerUsage(columns.containers[index].container, cpu, memory)
            for index, cpu, memory in found
            if cpu is not None and memory is not None
        ]
        return usages if len(usages) == len(found) else []

    def node_usage(self, node: str) -> tuple[Usage, Usage] | None:
        """Cores and bytes that the whole node uses; None if that is not known."""
        known = self._fresh(node)
        cpu = known.columns.node_cpu_rate(WINDOW) if known is not None else None
        return None if known is None or cpu is None else (cpu, known.columns.node_memory())

    def _adopt(self, node: str, samples: pb.Samples) -> _Node | None:
        """The node's columns, made to fit the round's set of containers; None if that set has not been sent."""
        known = self._nodes.get(node)
        same = known is not None and known.generation == samples.generation
        if not samples.containers and (same or samples.cpu_usage_ns):
            return known if same else None
        containers = [ContainerId(key.namespace, key.pod, key.pod_uid, key.container) for key in samples.containers]
        columns = known.columns.with_containers(containers) if known is not None else NodeColumns(containers)
        adopted = self._nodes[node] = _Node(samples.generation, columns, _by_pod(containers))
        return adopted

    def _round(self, samples: pb.Samples, *, width: int) -> Round | None:
        cpu = _column(samples.cpu_usage_ns, "<u8", width)
        memory = _column(samples.memory_working_set_bytes, "<u8", width)
        started = _column(samples.start_time_unix_s, "<f8", width)
        throttled = _column(samples.cpu_throttled_ns, "<u8", width)
        if cpu is None or memory is None or started is None or throttled is None:
            return None
        return Round(
            time_unix_s=samples.time_unix_s,
            received_unix_s=self._clock(),
            cpu_s=cpu * _NANO,
            memory_bytes=memory,
            started_unix_s=started,
            throttled_s=throttled * _NANO,
            node_cpu_s=samples.node_cpu_usage_ns * _NANO,
            node_memory_bytes=float(samples.node_memory_working_set_bytes),
        )

    def _fresh(self, node: str) -> _Node | None:
        known = self._nodes.get(node)
        if known is None or self._clock() - known.columns.received_unix_s > STALE_AFTER_S:
            return None
        return known


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


def total(usages: list[Usage | None]) -> Usage | None:
    """The sum over containers, over the widest of their windows; None if one of them is not known."""
    known = [usage for usage in usages if usage is not None]
    if not known or len(known) < len(usages):
        return None
    return Usage(
        sum(usage.value for usage in known),
        min(usage.window_start_unix_s for usage in known),
        max(usage.window_end_unix_s for usage in known),
    )
