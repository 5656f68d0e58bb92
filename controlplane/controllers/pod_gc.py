"""Removes pods that nobody will ever finish, and finished pods when there are too many.

A pod whose node no longer exists has no agent that could confirm its end; it is removed at once after a quarantine that
allows for a Node object that was deleted and comes back. The same holds for pods that wait to end on a node tainted
``out-of-service``. Source: Kubernetes' ``podgc``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from controlplane.controllers.node_taints import OUT_OF_SERVICE
from controlplane.reconcile.controller import ObjectKey
from controlplane.reconcile.objects import Objects
from controlplane.reconcile.result import DONE, Result, after
from controlplane.scheduler.taints import taints_of
from controlplane.store.cache import Cache, CacheEvent, Entry
from flotilla.api.errors import ApiError
from flotilla.api.objects import KubeObject, is_deleting
from flotilla.api.resources import NODES, PODS

MANAGER = "pod-garbage-collector"
RESOURCES = (PODS, NODES)
QUARANTINE_S = 10.0
MOST_FINISHED = 12_500


def _is_finished(pod: KubeObject) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _is_out_of_service(node: KubeObject) -> bool:
    return any(taint["key"] == OUT_OF_SERVICE for taint in taints_of(node))


class PodGarbageCollector:
    """Keys are pods."""

    def __init__(
        self,
        cache: Cache,
        objects: Objects,
        *,
        quarantine_s: float = QUARANTINE_S,
        most_finished: int = MOST_FINISHED,
    ) -> None:
        self._cache = cache
        self._objects = objects
        self._quarantine_s = quarantine_s
        self._most_finished = most_finished
        self._missing_since_s: dict[str, float] = {}
        self._finished: dict[ObjectKey, str] = {}

    def reset(self) -> None:
        self._finished.clear()

    def keys(self, event: CacheEvent) -> Iterable[ObjectKey]:
        entry = event.entry
        if entry.resource is NODES:
            if event.type != "DELETED" and not _is_out_of_service(entry.obj):
                self._missing_since_s.pop(entry.name, None)
                return ()
            return [(pod.namespace, pod.name) for pod in self._cache.pods_on_node(entry.name)]
        return self._keys_of_pod(event)

    def _keys_of_pod(self, event: CacheEvent) -> list[ObjectKey]:
        entry = event.entry
        key = (entry.namespace, entry.name)
        if event.type == "DELETED":
            self._finished.pop(key, None)
            if not self._cache.pods_on_node(entry.node):
                self._missing_since_s.pop(entry.node, None)
            return []
        if not _is_finished(entry.obj):
            return [key] if entry.node and self._is_lost(entry) else []
        self._finished[key] = entry.obj["metadata"]["creationTimestamp"]
        return [key, *self._surplus()] if entry.node and self._is_lost(entry) else self._surplus()

    def _is_lost(self, pod: Entry) -> bool:
        node = self._cache.get(NODES, "", pod.node)
        return node is None or (is_deleting(pod.obj) and _is_out_of_service(node.obj))

    def _surplus(self) -> list[ObjectKey]:
        """The finished pods that are too many, oldest first."""
        surplus = len(self._finished) - self._most_finished
        if surplus <= 0:
            return []
        return sorted(self._finished, key=lambda key: (self._finished[key], key))[:surplus]

    async def reconcile(self, key: ObjectKey) -> Result:
        entry = self._cache.get(PODS, *key)
        if entry is None:
            return DONE
        if _is_finished(entry.obj) and key in self._surplus():
            await self._remove(entry)
            return DONE
        if not entry.node or not self._is_lost(entry):
            return DONE
        if self._cache.get(NODES, "", entry.node) is None:
            left_s = self._quarantine_left_s(entry.node)
            if left_s > 0:
                return after(left_s)
            await self._cache.barrier()
            if self._cache.get(NODES, "", entry.node) is not None:
                return DONE
        await self._remove(entry)
        return DONE

    def _quarantine_left_s(self, node: str) -> float:
        now_s = asyncio.get_running_loop().time()
        since_s = self._missing_since_s.setdefault(node, now_s)
        return since_s + self._quarantine_s - now_s

    async def _remove(self, pod: Entry) -> None:
        options: dict[str, Any] = {"manager": MANAGER, "uid": pod.uid, "grace_period_s": 0}
        try:
            await self._objects.delete(PODS, pod.namespace, pod.name, **options)
        except ApiError as error:
            if error.reason not in ("NotFound", "Conflict"):
                raise
