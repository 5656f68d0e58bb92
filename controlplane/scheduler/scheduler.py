"""The loop that assigns pods to nodes.

A pod event wakes it at once; it decides on everything that has arrived, counting each pod on its node as soon as that
is decided (assume), and lets the writes (bind) run side by side behind it. A pod that fits nowhere waits, with a
condition and an event that say why, until something changes that could help it.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from prometheus_client import Counter

from controlplane.reconcile.clock import Clock, utc_now
from controlplane.reconcile.controller import TRANSIENT_MAXIMUM_S, describe
from controlplane.reconcile.events import EventRecorder
from controlplane.reconcile.failures import Failure, classify
from controlplane.reconcile.informer import Informer
from controlplane.reconcile.objects import Objects
from controlplane.scheduler.filters import Filters, Verdict
from controlplane.scheduler.node_matrix import NodeMatrix, read_node
from controlplane.scheduler.pod_info import SCHEDULER_NAME, PodInfo, awaits_scheduling, has_ended, read_pod
from controlplane.scheduler.scores import best
from controlplane.scheduler.volumes import PodVolumes, VolumePlan
from controlplane.store.cache import Cache, CacheEvent, Entry
from flotilla.api.conditions import set_condition
from flotilla.api.objects import KubeObject, format_time, uid_of
from flotilla.api.resources import NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, STORAGE_CLASSES

logger = logging.getLogger(__name__)

ATTEMPTS = Counter("scheduler_schedule_attempts_total", "Decisions about pods.", ["result"])
BINDS_AT_ONCE = 64
REPORTS_AT_ONCE = 8
RESYNC_S = 3600.0
STORAGE = (PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES)
_HOLD_LOOP_S = 0.004
_RETRY_BASE_S = 0.05
_RETRY_MAXIMUM_S = 10.0
_LARGEST_EXPONENT = 10


@dataclass(frozen=True, slots=True)
class _Waiting:
    pod: PodInfo
    message: str
    capacity: bool


class Scheduler:
    """Assigns the pods whose ``schedulerName`` is the default one. Run it only while this server leads."""

    name = "scheduler"

    def __init__(self, cache: Cache, objects: Objects, recorder: EventRecorder, *, clock: Clock = utc_now) -> None:
        self._objects = objects
        self._recorder = recorder
        self._clock = clock
        self._matrix = NodeMatrix()
        self._volumes = PodVolumes(cache, objects)
        self._filters = Filters(self._volumes)
        self._pending: dict[str, PodInfo] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._binding: dict[str, tuple[PodInfo, str]] = {}
        self._failures: dict[str, int] = {}
        self._decisions = 0
        self._complete = False
        self._wake = asyncio.Event()
        self._bind_slots = asyncio.Semaphore(BINDS_AT_ONCE)
        self._report_slots = asyncio.Semaphore(REPORTS_AT_ONCE)
        self._informer = Informer(
            self.name,
            cache,
            resources=(NODES, PODS, *STORAGE),
            observe=self._observe,
            reset=self._reset,
            listed=self._listed,
            resync_s=RESYNC_S,
        )

    async def run(self) -> None:
        """Schedule until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._informer.run(), name="scheduler-informer")
            while True:
                await self._wake.wait()
                self._wake.clear()
                if self._complete:
                    await self._schedule_pending(group)

    def _reset(self) -> None:
        self._complete = False
        self._matrix = NodeMatrix()
        self._filters = Filters(self._volumes)
        self._pending.clear()
        for pod, node in self._binding.values():
            self._matrix.place(pod, node)

    def _listed(self) -> None:
        self._waiting = {uid: waiting for uid, waiting in self._waiting.items() if uid in self._pending}
        self._complete = True
        self._wake.set()

    def _observe(self, event: CacheEvent) -> None:
        if event.entry.resource is NODES:
            self._observe_node(event)
        elif event.entry.resource is not PODS:
            self._volumes.changed()
            self._reconsider(capacity_only=False, claims_only=True)
        else:
            self._observe_pod(event)

    def _observe_node(self, event: CacheEvent) -> None:
        if event.type == "DELETED":
            self._matrix.remove_node(event.entry.name)
        elif self._matrix.put_node(read_node(event.entry.obj)):
            self._reconsider(capacity_only=False)

    def _observe_pod(self, event: CacheEvent) -> None:
        entry = event.entry
        if event.type == "DELETED" or has_ended(entry.obj):
            self._forget(entry.uid)
        elif entry.node:
            self._pending.pop(entry.uid, None)
            self._waiting.pop(entry.uid, None)
            self._failures.pop(entry.uid, None)
            if self._matrix.node_of(entry.uid) != entry.node:
                self._matrix.place(read_pod(entry.obj), entry.node)
        elif awaits_scheduling(entry.obj):
            self._enqueue(entry)
        else:
            self._forget(entry.uid)

    def _enqueue(self, entry: Entry) -> None:
        if entry.uid in self._binding:
            return
        pod = read_pod(entry.obj)
        waiting = self._waiting.get(entry.uid)
        if waiting is not None and waiting.pod.signature == pod.signature and self._complete:
            return
        self._pending[entry.uid] = pod
        self._wake.set()

    def _forget(self, uid: str) -> None:
        self._pending.pop(uid, None)
        self._waiting.pop(uid, None)
        self._failures.pop(uid, None)
        if self._binding.pop(uid, None) is not None:
            self._volumes.changed()
        if self._matrix.release(uid):
            self._reconsider(capacity_only=True)

    def _reconsider(self, *, capacity_only: bool, claims_only: bool = False) -> None:
        """Something changed that may let waiting pods fit."""
        for uid, waiting in self._waiting.items():
            if (waiting.capacity or not capacity_only) and (waiting.pod.claims or not claims_only):
                self._pending.setdefault(uid, waiting.pod)
        if self._pending:
            self._wake.set()

    async def _schedule_pending(self, group: asyncio.TaskGroup) -> None:
        """Decide about all pending pods, the most important first, among equals the first come.

        Pods of one signature fit the same nodes: once one of them fits nowhere, so do the others of this round, since
        decisions only take room away.
        """
        clock = asyncio.get_running_loop().time
        since_s = clock()
        hopeless: dict[bytes, Verdict] = {}
        matrix = self._matrix
        for pod in sorted(self._pending.values(), key=lambda pod: -pod.priority):
            if self._pending.pop(pod.uid, None) is None:
                continue
            try:
                self._decide(pod, hopeless, group)
            except Exception:
                # One pod that breaks a filter must not stop the scheduling of all others.
                logger.exception("scheduling_broke", extra={"pod": f"{pod.namespace}/{pod.name}"})
                self._retry_later(pod)
            if clock() - since_s > _HOLD_LOOP_S:
                await asyncio.sleep(0)
                if (self._pending and self._wake.is_set()) or self._matrix is not matrix:
                    # The world has moved: what is left is decided in a new round.
                    self._wake.set()
                    return
                since_s = clock()

    def _decide(self, pod: PodInfo, hopeless: dict[bytes, Verdict], group: asyncio.TaskGroup) -> None:
        verdict = hopeless.get(pod.signature) or self._filters.judge(self._matrix, pod)
        if verdict.fits.any():
            self._assign(pod, verdict, group)
        else:
            hopeless[pod.signature] = verdict
            self._wait(pod, verdict, group)

    def _assign(self, pod: PodInfo, verdict: Verdict, group: asyncio.TaskGroup) -> None:
        self._decisions += 1
        row = best(self._matrix, pod, verdict.fits, turn=self._decisions)
        node, info = self._matrix.name_at(row), self._matrix.nodes[row]
        plan = self._volumes.assume(pod, info, self._matrix) if pod.claims and info is not None else []
        self._matrix.place(pod, node)
        self._binding[pod.uid] = (pod, node)
        self._waiting.pop(pod.uid, None)
        group.create_task(self._bind(pod, node, plan), name=f"bind-{pod.namespace}/{pod.name}")

    async def _bind(self, pod: PodInfo, node: str, plan: VolumePlan) -> None:
        now = self._clock()
        if pod.claims:
            try:
                await self._volumes.bind(pod, node, plan, wanted=lambda: pod.uid in self._binding)
            except Exception as error:
                self._not_bound(pod, error)
                return

        def change(obj: KubeObject) -> KubeObject | None:
            if uid_of(obj) != pod.uid or obj["spec"].get("nodeName") or obj["metadata"].get("deletionTimestamp"):
                return None
            return _bound(obj, node, format_time(now))

        async with self._bind_slots:
            try:
                stored = await self._objects.mutate(
                    PODS, pod.namespace, pod.name, change, manager=SCHEDULER_NAME, subresource="binding"
                )
            except Exception as error:
                self._not_bound(pod, error)
                return
        if self._binding.pop(pod.uid, None) is None:
            # Its events already said that it has gone.
            return
        if stored is None or uid_of(stored) != pod.uid or stored["spec"].get("nodeName") != node:
            # Gone, or somebody else's decision; if that is a node, the pod's own event counts it there.
            self._matrix.release(pod.uid)
            self._reconsider(capacity_only=True)
            return
        ATTEMPTS.labels("scheduled").inc()
        message = f"Successfully assigned {pod.namespace}/{pod.name} to {node}"
        self._recorder.record(pod.reference, "Normal", "Scheduled", message, component=SCHEDULER_NAME)

    def _not_bound(self, pod: PodInfo, error: Exception) -> None:
        if self._binding.pop(pod.uid, None) is None:
            return
        self._matrix.release(pod.uid)
        ATTEMPTS.labels("error").inc()
        failure = classify(error)
        if failure not in (Failure.STALE, Failure.DEPOSED):
            facts = {"pod": f"{pod.namespace}/{pod.name}", "error": describe(error), "failure": failure.value}
            logger.warning("bind_failed", extra=facts)
        self._retry_later(pod, maximum_s=TRANSIENT_MAXIMUM_S if failure is Failure.TRANSIENT else _RETRY_MAXIMUM_S)
        self._reconsider(capacity_only=True)

    def _retry_later(self, pod: PodInfo, *, maximum_s: float = _RETRY_MAXIMUM_S) -> None:
        failures = self._failures.get(pod.uid, 0)
        self._failures[pod.uid] = failures + 1
        delay_s = min(_RETRY_BASE_S * 2.0 ** min(failures, _LARGEST_EXPONENT), maximum_s)
        asyncio.get_running_loop().call_later(delay_s, self._again, pod)

    def _again(self, pod: PodInfo) -> None:
        """Back in the queue, unless its events said meanwhile that it is gone or bound."""
        if pod.uid in self._failures and not self._matrix.node_of(pod.uid):
            self._pending.setdefault(pod.uid, pod)
            self._wake.set()

    def _wait(self, pod: PodInfo, verdict: Verdict, group: asyncio.TaskGroup) -> None:
        message = verdict.message()
        before = self._waiting.get(pod.uid)
        self._waiting[pod.uid] = _Waiting(pod, message, verdict.capacity)
        ATTEMPTS.labels("unschedulable").inc()
        if before is None or before.message != message:
            group.create_task(self._report(pod, message), name=f"report-{pod.namespace}/{pod.name}")

    async def _report(self, pod: PodInfo, message: str) -> None:
        """Say in the pod's condition and in an event why it waits."""

        def change(obj: KubeObject) -> KubeObject | None:
            if uid_of(obj) != pod.uid or obj["spec"].get("nodeName"):
                return None
            conditions = obj.setdefault("status", {}).setdefault("conditions", [])
            changed = set_condition(
                conditions,
                "PodScheduled",
                status="False",
                reason="Unschedulable",
                message=message,
                now=self._clock(),
            )
            return obj if changed else None

        async with self._report_slots:
            waiting = self._waiting.get(pod.uid)
            if waiting is None or waiting.message != message:
                return
            try:
                await self._objects.mutate(
                    PODS, pod.namespace, pod.name, change, manager=SCHEDULER_NAME, subresource="status"
                )
            except Exception as error:
                logger.warning("condition_not_written", extra={"pod": pod.name, "error": describe(error)})
        self._recorder.record(pod.reference, "Warning", "FailedScheduling", message, component=SCHEDULER_NAME)


def _bound(pod: KubeObject, node: str, moment: str) -> KubeObject:
    """The pod assigned, and saying so in its conditions, in one write."""
    pod["spec"]["nodeName"] = node
    conditions = pod.setdefault("status", {}).setdefault("conditions", [])
    conditions[:] = [condition for condition in conditions if condition["type"] != "PodScheduled"]
    conditions.append({"type": "PodScheduled", "status": "True", "lastTransitionTime": moment})
    return pod
