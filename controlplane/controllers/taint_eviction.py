"""Evicts pods from nodes with NoExecute taints once their tolerations run out.

Source: Kubernetes' taint-eviction controller. Whether a lost node gets such a taint is decided by
:mod:`.node_lifecycle`; taints that users set are honoured alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from controlplane.reconcile.clock import Clock
from controlplane.reconcile.events import EventRecorder
from controlplane.reconcile.objects import Objects
from controlplane.reconcile.parallel import settle_or_raise
from controlplane.reconcile.result import Result, earliest
from controlplane.scheduler.taints import NO_EXECUTE, eviction_due, taints_of
from controlplane.store.cache import Cache, CacheEvent, Entry
from flotilla.api.errors import ApiError
from flotilla.api.objects import KubeObject, uid_of
from flotilla.api.resources import NODES, PODS
from flotilla.api.workloads import pod_is_active

MANAGER = "taint-eviction-controller"
RESOURCES = (NODES, PODS)


def _executing(node: KubeObject) -> list[KubeObject]:
    return [taint for taint in taints_of(node) if taint["effect"] == NO_EXECUTE]


class TaintEvictionReconciler:
    """Keys are nodes' names."""

    def __init__(self, cache: Cache, objects: Objects, recorder: EventRecorder, *, clock: Clock) -> None:
        self._cache = cache
        self._objects = objects
        self._recorder = recorder
        self._clock = clock
        self._tainted: set[str] = set()
        # Taints that users set carry no time: per node and taint, when it was first seen.
        self._first_seen: dict[str, dict[tuple[str, str], datetime]] = {}

    def reset(self) -> None:
        self._tainted.clear()

    def keys(self, event: CacheEvent) -> Iterable[str]:
        entry = event.entry
        if entry.resource is PODS:
            return [entry.node] if entry.node in self._tainted and event.type != "DELETED" else ()
        was_tainted = entry.name in self._tainted
        if event.type != "DELETED" and _executing(entry.obj):
            self._tainted.add(entry.name)
            return [entry.name]
        self._tainted.discard(entry.name)
        return [entry.name] if was_tainted else ()

    async def reconcile(self, key: str) -> Result:
        entry = self._cache.get(NODES, "", key)
        taints = _executing(entry.obj) if entry is not None else []
        if not taints:
            self._first_seen.pop(key, None)
            return earliest()
        now = self._clock()
        first_seen = self._note(key, taints, now)
        waits = []
        evictions = []
        for pod in self._cache.pods_on_node(key):
            if not pod_is_active(pod.obj):
                continue
            due = eviction_due(taints, pod.obj["spec"].get("tolerations") or (), first_seen=first_seen)
            if due is not None and due <= now:
                evictions.append(self._evict(pod))
            elif due is not None:
                waits.append((due - now).total_seconds())
        await settle_or_raise(evictions)
        return earliest(*waits)

    def _note(self, node: str, taints: Iterable[KubeObject], now: datetime) -> datetime:
        """The time from which the youngest taint without a time of its own counts."""
        known = self._first_seen.get(node, {})
        present = [(taint["key"], taint.get("value") or "") for taint in taints]
        self._first_seen[node] = {taint: known.get(taint, now) for taint in present}
        return max(self._first_seen[node].values())

    async def _evict(self, pod: Entry) -> None:
        name = f"{pod.namespace}/{pod.name}"
        try:
            await self._objects.delete(PODS, pod.namespace, pod.name, manager=MANAGER, uid=uid_of(pod.obj))
        except ApiError as error:
            if error.reason not in ("NotFound", "Conflict"):
                raise
            return
        message = f"Marking for deletion Pod {name}"
        self._recorder.record(pod.obj, "Normal", "TaintManagerEviction", message, component=MANAGER)
