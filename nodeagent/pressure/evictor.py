"""Keeping the node from running out: conditions, reclaiming what nobody needs, and pods that have to go.

Signals are looked at whenever a round of samples arrives. One pod goes at a time, and the next only if the threshold is
still met once the node holds nothing of the first any more. Before a pod goes for want of disk, containers that have
ended and images that nothing uses go; that is tried again no sooner than after some seconds.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from flotilla.api.objects import KubeObject, uid_of
from flotilla.clocks import steady_unix_s
from nodeagent.cgroups import CgroupReader
from nodeagent.disk.meter import DiskMeter
from nodeagent.disk.places import PodDisk
from nodeagent.metrics.machine import MachineSample
from nodeagent.node_facts import pressure_conditions
from nodeagent.node_shutdown import DISRUPTION
from nodeagent.node_view import NodeView, PodView
from nodeagent.pod_events import EventSink, node_event, pod_event
from nodeagent.pod_state import Stop
from nodeagent.pod_worker import PodWorker, until_released
from nodeagent.pressure.admission import refusal
from nodeagent.pressure.ranking import REASON, RESOURCES, PodUse, is_critical, message, rank
from nodeagent.pressure.signals import Observation, observe
from nodeagent.pressure.state import PressureState, still_met
from nodeagent.pressure.thresholds import (
    ALLOCATABLE_MEMORY,
    IMAGEFS_INODES_FREE,
    NODEFS_INODES_FREE,
    PID_AVAILABLE,
    EvictionSettings,
    Threshold,
)

logger = logging.getLogger(__name__)

RELEASE_TIMEOUT_S = 30.0
RECLAIM_PERIOD_S = 10.0
_MEMORY_SIGNALS = frozenset(signal for signal, resource in RESOURCES.items() if resource == "memory")
_TURNS = {
    ("MemoryPressure", True): "NodeHasInsufficientMemory",
    ("MemoryPressure", False): "NodeHasSufficientMemory",
    ("DiskPressure", True): "NodeHasDiskPressure",
    ("DiskPressure", False): "NodeHasNoDiskPressure",
    ("PIDPressure", True): "NodeHasInsufficientPID",
    ("PIDPressure", False): "NodeHasSufficientPID",
}


class UnusedImages(Protocol):
    """The images of the node: removes those that nothing uses or needs. Blocks."""

    def __call__(self) -> object: ...


class Evictor:
    """``conditions_changed`` gets the pressure conditions whenever one has turned.

    ``all_pods`` reads what all pods use together, and ``pods_memory_bytes`` is what they may; None where the node
    reserves no memory. For the agent's loop.
    """

    def __init__(
        self,
        settings: EvictionSettings,
        view: NodeView,
        meter: DiskMeter,
        *,
        node_name: str,
        memory_bytes: int,
        remove_images: UnusedImages,
        conditions_changed: Callable[[list[KubeObject]], None],
        events: EventSink,
        pods_memory_bytes: int | None = None,
        all_pods: Callable[[], CgroupReader] | None = None,
    ) -> None:
        self._settings, self._view, self._meter = settings, view, meter
        self._node_name, self._memory_bytes = node_name, memory_bytes
        self._remove_images, self._conditions_changed, self._events = remove_images, conditions_changed, events
        self._pods_memory_bytes, self._all_pods = pods_memory_bytes, all_pods
        self._reader: CgroupReader | None = None
        self._state = PressureState(settings)
        self._holding: frozenset[str] = frozenset()
        self._announced: frozenset[Threshold] = frozenset()
        self._reclaimed_s = 0.0
        self._machine: MachineSample | None = None
        self._wake = asyncio.Event()

    @property
    def conditions(self) -> list[KubeObject]:
        """The node's pressure conditions."""
        return pressure_conditions(self._holding)

    def refusal(self, pod: KubeObject) -> str:
        """Why a new pod can't be taken now; empty if it can."""
        return refusal(pod, self._holding)

    def sampled(self, machine: MachineSample) -> None:
        """A round of samples has been taken."""
        self._machine = machine
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                try:
                    await self._look()
                except Exception:
                    logger.exception("eviction_failed")
        finally:
            if self._reader is not None:
                self._reader.close()

    async def _look(self) -> None:
        observations = self._observe()
        verdict = self._state.step(observations, time.monotonic())
        self._turn(verdict.conditions)
        self._announce(verdict.due)
        if not verdict.due:
            return
        threshold = verdict.due[0]
        if threshold.signal not in _MEMORY_SIGNALS and threshold.signal != PID_AVAILABLE:
            await self._reclaim()
            observations = self._observe()
            if not still_met(threshold, observations):
                return
        await self._evict_one(threshold, observations.get(threshold.signal))

    def _observe(self) -> Mapping[str, Observation]:
        assert self._machine is not None
        images = self._view.data_dir / "images"
        observations = observe(
            self._machine,
            memory_bytes=self._memory_bytes,
            nodefs=self._view.data_dir,
            imagefs=images if images.is_dir() else self._view.data_dir,
        )
        return {**observations, **self._observe_pods()}

    def _observe_pods(self) -> Mapping[str, Observation]:
        """What is left of the memory that all pods together may use, where that is less than the machine's."""
        if self._pods_memory_bytes is None or self._all_pods is None:
            return {}
        if self._reader is None:
            self._reader = self._all_pods()
        available = self._pods_memory_bytes - self._reader.read().memory_working_set_bytes
        return {ALLOCATABLE_MEMORY: Observation(max(0, available), self._pods_memory_bytes)}

    def _turn(self, holding: frozenset[str]) -> None:
        turned = holding ^ self._holding
        if not turned:
            return
        self._holding = holding
        for condition in sorted(turned):
            reason = _TURNS[condition, condition in holding]
            logger.warning("node_condition_turned", extra={"condition": condition, "reason": reason})
            text = f"Node {self._node_name} status is now: {reason}"
            self._events(node_event(self._node_name, "Normal", reason, text))
        self._conditions_changed(self.conditions)

    def _announce(self, due: Iterable[Threshold]) -> None:
        """Say once that a threshold has something go, until it is no longer met."""
        met = frozenset(due)
        for threshold in met - self._announced:
            text = f"Attempting to reclaim {RESOURCES[threshold.signal]}"
            logger.warning("eviction_threshold_met", extra={"signal": threshold.signal})
            self._events(node_event(self._node_name, "Warning", "EvictionThresholdMet", text))
        self._announced = met

    async def _reclaim(self) -> None:
        """Remove what ended containers have written, and images that nothing uses."""
        if time.monotonic() - self._reclaimed_s < RECLAIM_PERIOD_S:
            return
        for pod in self._view.pods():
            await pod.worker.discard_ended()
        await asyncio.to_thread(self._remove_images)
        self._reclaimed_s = time.monotonic()

    async def _evict_one(self, threshold: Threshold, observation: Observation | None) -> None:
        pods = {pod.uid: pod for pod in self._view.pods(lambda pod: not is_critical(pod)) if pod.active}
        if not pods:
            return
        ranked = rank(threshold, await self._uses(threshold, list(pods.values())))
        use = ranked[0]
        pod = pods[uid_of(use.pod)]
        grace_s = 0.0 if threshold.hard else min(self._settings.maximum_grace_s, pod.grace_s)
        evict(pod.worker, message(threshold, observation, use), self._events, grace_s=grace_s, disruption=DISRUPTION)
        logger.warning("pod_evicted", extra={"pod_uid": pod.uid, "signal": threshold.signal, "used": use.used})
        if not await until_released([pod.worker], timeout_s=RELEASE_TIMEOUT_S):
            logger.warning("evicted_pod_remains", extra={"pod_uid": pod.uid})
        self._wake.clear()

    async def _uses(self, threshold: Threshold, pods: list[PodView]) -> list[PodUse]:
        if threshold.signal in _MEMORY_SIGNALS:
            return [
                PodUse(
                    pod.pod,
                    pod.memory_bytes,
                    {container.container: row.memory_working_set_bytes for container, row in pod.running},
                )
                for pod in pods
            ]
        if threshold.signal == PID_AVAILABLE:
            return [PodUse(pod.pod, pod.processes) for pod in pods]
        places = [pod.places for pod in pods]
        if threshold.signal in (NODEFS_INODES_FREE, IMAGEFS_INODES_FREE):
            inodes = await self._meter.inodes(places)
            return [_disk_use(pod, inodes.get(pod.uid)) for pod in pods]
        await self._meter.measure(places)
        return [_disk_use(pod, self._meter.disk(pod.uid)) for pod in pods]


def _disk_use(pod: PodView, disk: PodDisk | None) -> PodUse:
    if disk is None:
        return PodUse(pod.pod, 0)
    return PodUse(pod.pod, disk.total, {name: disk.container(name) for name in {*disk.layers, *disk.logs}})


def evict(worker: PodWorker, text: str, events: EventSink, *, grace_s: float = 0.0, disruption: str = "") -> None:
    """End a pod for good: it stays, failed, with reason ``Evicted`` and ``text``."""
    worker.terminate(Stop("terminated", steady_unix_s(), grace_s, REASON, text, disruption))
    events(pod_event(worker.pod, "Warning", REASON, text))
