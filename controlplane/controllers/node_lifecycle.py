"""Judges nodes lost and found: conditions, taints, and what the pods of a lost node say of themselves.

A node is lost when it has been silent for longer than the grace. What follows is graded: it takes no new pods at once;
its pods count as not ready and are evicted after their tolerations (see :mod:`.taint_eviction`) only while most of the
cluster answers. When the only node or most nodes seem lost at the same time, it is more likely that this server can't
hear them: everything then stays as it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from typing import Protocol

from controlplane.controllers.node_taints import mark_lost, wanted_taints
from controlplane.reconcile.clock import Clock
from controlplane.reconcile.controller import Controller
from controlplane.reconcile.events import EventRecorder
from controlplane.reconcile.objects import Objects
from controlplane.reconcile.parallel import settle_or_raise
from controlplane.reconcile.queue import WorkQueue
from controlplane.reconcile.result import DONE, Result
from controlplane.scheduler.taints import taints_of
from controlplane.store.cache import Cache, CacheEvent, Entry
from flotilla.api.conditions import get_condition, is_true, set_condition
from flotilla.api.objects import KubeObject, uid_of
from flotilla.api.resources import NODES, PODS

logger = logging.getLogger(__name__)

MANAGER = "node-lifecycle-controller"
RESOURCES = (NODES,)
LOST_SHARE = 0.55
NODE_LOST = "NodeLost"
_RECHECK_S = 0.5
_SHORTEST_WAIT_S = 0.02
_PODS_AT_ONCE = 32


class NodeLiveness(Protocol):
    """What the dispatcher knows of the agents' sessions."""

    def connected(self, node: str) -> bool:
        """Whether a session of the node is open."""

    def silent_for_s(self, node: str) -> float:
        """Seconds of silence that count against the node: since its last message, this server's stalls left out."""

    def held_for_s(self, node: str) -> float:
        """Seconds for which an announced stop of the agent still excuses its silence; 0 if it announced none."""

    def changed(self) -> AsyncIterator[str]:
        """The name of a node each time that its session opens or ends, from now on, until the consumer stops."""


class Judge:
    """Who is lost, by everything that is known now."""

    def __init__(self, cache: Cache, liveness: NodeLiveness, *, grace_s: float) -> None:
        self._cache = cache
        self._liveness = liveness
        self._grace_s = grace_s
        self._since_s = 0.0

    def start(self) -> None:
        """Silence before this moment doesn't count: nobody was listening."""
        self._since_s = asyncio.get_running_loop().time()

    def silence_s(self, node: str) -> float:
        return min(self._liveness.silent_for_s(node), asyncio.get_running_loop().time() - self._since_s)

    def lost(self, node: str) -> bool:
        return self.silence_s(node) > self._grace_s and self._liveness.held_for_s(node) <= 0

    def next_check_s(self, node: str) -> float | None:
        """Seconds until the judgement may change without a session opening or ending."""
        if self.lost(node):
            return _RECHECK_S if self._liveness.connected(node) else None
        return max(self._grace_s - self.silence_s(node), self._liveness.held_for_s(node))

    def believes(self) -> bool:
        """Whether losses are to be acted upon: not when the only node or most nodes may be lost at once.

        Nodes that are half-way to being lost count here, for they may go down together and be noticed one by one.
        """
        nodes = [entry.name for entry in self._cache.list(NODES)]
        doubtful = sum(self._doubtful(node) for node in nodes)
        return doubtful == 0 or (len(nodes) > 1 and doubtful <= LOST_SHARE * len(nodes))

    def _doubtful(self, node: str) -> bool:
        if self._liveness.held_for_s(node) > 0:
            return False
        return not self._liveness.connected(node) or self.silence_s(node) > self._grace_s / 2


class NodeReconciler:
    """Keys are nodes' names."""

    def __init__(self, cache: Cache, objects: Objects, recorder: EventRecorder, *, judge: Judge, clock: Clock) -> None:
        self._cache = cache
        self._objects = objects
        self._recorder = recorder
        self._judge = judge
        self._clock = clock

    def reset(self) -> None:
        pass

    def keys(self, event: CacheEvent) -> Iterable[str]:
        return [event.entry.name]

    async def reconcile(self, key: str) -> Result:
        entry = self._cache.get(NODES, "", key)
        if entry is None:
            return DONE
        lost, evict = self._judge.lost(key), self._judge.believes()
        if lost:
            await self._mark_lost(entry)
        await self._write_taints(entry, lost=lost, evict=evict)
        if lost and evict:
            await self._mark_pods(key, ready=False)
        elif not lost and is_true(entry.obj, "Ready"):
            await self._mark_pods(key, ready=True)
        return DONE

    async def _mark_lost(self, entry: Entry) -> None:
        ready = get_condition(entry.obj, "Ready")
        if ready is not None and ready["status"] == "Unknown":
            return

        def change(node: KubeObject) -> KubeObject | None:
            return node if self._judge.lost(entry.name) and mark_lost(node, now=self._clock()) else None

        await self._objects.mutate(NODES, "", entry.name, change, manager=MANAGER, subresource="status")
        message = f"Node {entry.name} status is now: NodeNotReady"
        self._recorder.record(entry.obj, "Normal", "NodeNotReady", message, component="node-controller")

    async def _write_taints(self, entry: Entry, *, lost: bool, evict: bool) -> None:
        now = self._clock()
        if wanted_taints(entry.obj, lost=lost, evict=evict, now=now) == taints_of(entry.obj):
            return

        def change(node: KubeObject) -> KubeObject | None:
            wanted = wanted_taints(node, lost=lost, evict=evict, now=now)
            if wanted == taints_of(node):
                return None
            node.setdefault("spec", {})["taints"] = wanted
            return node

        await self._objects.mutate(NODES, "", entry.name, change, manager=MANAGER)

    async def _mark_pods(self, node: str, *, ready: bool) -> None:
        """Pods of a lost node are not ready; those that were marked so are ready again when it is back."""
        limit = asyncio.Semaphore(_PODS_AT_ONCE)
        pods = [pod for pod in self._cache.pods_on_node(node) if _to_mark(pod.obj, ready=ready)]
        await settle_or_raise(self._mark_pod(pod, ready, limit) for pod in pods)

    async def _mark_pod(self, pod: Entry, ready: bool, limit: asyncio.Semaphore) -> None:
        uid = pod.uid

        def change(obj: KubeObject) -> KubeObject | None:
            if uid_of(obj) != uid or not _to_mark(obj, ready=ready):
                return None
            status = "True" if ready else "False"
            reason, message = ("", "") if ready else (NODE_LOST, "the pod's node is lost")
            set_condition(
                obj["status"]["conditions"], "Ready", status=status, reason=reason, message=message, now=self._clock()
            )
            return obj

        async with limit:
            await self._objects.mutate(PODS, pod.namespace, pod.name, change, manager=MANAGER, subresource="status")


def _to_mark(pod: KubeObject, *, ready: bool) -> bool:
    condition = get_condition(pod, "Ready")
    if condition is None:
        return False
    if ready:
        return condition["status"] == "False" and condition.get("reason") == NODE_LOST
    return bool(condition["status"] == "True")


class NodeLifecycle:
    """The controller and what wakes it: sessions that open or end, and silence that grows too long."""

    name = "node-lifecycle"

    def __init__(
        self,
        cache: Cache,
        objects: Objects,
        recorder: EventRecorder,
        *,
        liveness: NodeLiveness,
        grace_s: float,
        clock: Clock,
    ) -> None:
        self._cache = cache
        self._liveness = liveness
        self._judge = Judge(cache, liveness, grace_s=grace_s)
        self._queue: WorkQueue[str] = WorkQueue()
        reconciler = NodeReconciler(cache, objects, recorder, judge=self._judge, clock=clock)
        self._controller = Controller(
            self.name, reconciler, cache=cache, resources=RESOURCES, queue=self._queue, workers=4
        )
        self._wake = asyncio.Event()
        self._lost: set[str] = set()
        self._believed = True

    async def run(self) -> None:
        await self._cache.wait_synced()
        self._judge.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._controller.run(), name=f"{self.name}-controller")
            group.create_task(self._follow_sessions(), name=f"{self.name}-sessions")
            group.create_task(self._watch_silence(), name=f"{self.name}-silence")

    async def _follow_sessions(self) -> None:
        while True:
            try:
                async for node in self._liveness.changed():
                    self._queue.add(node)
                    self._wake.set()
            except Exception:
                logger.exception("session_watch_broke")
                await asyncio.sleep(_RECHECK_S)

    async def _watch_silence(self) -> None:
        """Look at all nodes whenever the first of them could become lost, not more often."""
        while True:
            self._wake.clear()
            try:
                wait_s = self._look()
            except Exception:
                # What breaks the judgement of one moment must not end all judgement.
                logger.exception("silence_watch_broke")
                wait_s = _RECHECK_S
            try:
                async with asyncio.timeout(max(wait_s, _SHORTEST_WAIT_S)):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _look(self) -> float:
        """Queue the nodes that are judged otherwise than before; seconds until the next look."""
        nodes = [entry.name for entry in self._cache.list(NODES)]
        lost = {node for node in nodes if self._judge.lost(node)}
        believes = self._judge.believes()
        again = lost if believes != self._believed else set()
        for node in (lost ^ self._lost) | again:
            self._queue.add(node)
        self._lost, self._believed = lost, believes
        checks = [self._judge.next_check_s(node) for node in nodes]
        return min((check for check in checks if check is not None), default=_RECHECK_S * 2)
