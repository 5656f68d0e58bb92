"""Claims that pods use and volumes that claims have are kept: a deleted one goes when its last user is gone.

New ones are born with the finalizers (``flotilla.api.kinds.claims``). A pod uses a claim from the moment that it has a
node until it has ended. A volume whose data a node would have to delete, and whose node is gone, has lost them with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Literal

from controlplane.reconcile.objects import Objects
from controlplane.reconcile.result import DONE, Result, after
from controlplane.store.cache import Cache, CacheEvent, Entry
from flotilla.api.objects import KubeObject, is_deleting, uid_of
from flotilla.api.registry import Resource
from flotilla.api.resources import NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS
from flotilla.api.storage import CLAIM_PROTECTION, LOCAL_PATH, VOLUME_PROTECTION, claims_of, local_node

MANAGER = "storage-protection"
RESOURCES = (PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, NODES)
QUARANTINE_S = 10.0

Key = tuple[Literal["claim", "volume"], str, str]


class ProtectionReconciler:
    """Keys are claims and volumes that are being deleted."""

    def __init__(self, cache: Cache, objects: Objects, *, quarantine_s: float = QUARANTINE_S) -> None:
        self._cache, self._objects, self._quarantine_s = cache, objects, quarantine_s
        self._users: dict[tuple[str, str], set[str]] = {}
        self._missing_since_s: dict[str, float] = {}

    def reset(self) -> None:
        self._users.clear()

    def keys(self, event: CacheEvent) -> Iterable[Key]:
        entry = event.entry
        if entry.resource is PODS:
            return self._keys_of_pod(event)
        if entry.resource is NODES:
            return self._keys_of_node(event)
        if event.type == "DELETED" or not is_deleting(entry.obj):
            return ()
        kind: Literal["claim", "volume"] = "claim" if entry.resource is PERSISTENT_VOLUME_CLAIMS else "volume"
        return [(kind, entry.namespace, entry.name)]

    def _keys_of_pod(self, event: CacheEvent) -> list[Key]:
        entry = event.entry
        names = set(claims_of(entry.obj))
        uses = event.type != "DELETED" and bool(entry.node) and not _has_ended(entry.obj)
        for name in names:
            users = self._users.setdefault((entry.namespace, name), set())
            users.add(entry.uid) if uses else users.discard(entry.uid)
            if not users:
                del self._users[entry.namespace, name]
        return [] if uses else [("claim", entry.namespace, name) for name in sorted(names)]

    def _keys_of_node(self, event: CacheEvent) -> list[Key]:
        if event.type != "DELETED":
            self._missing_since_s.pop(event.entry.name, None)
            return []
        volumes = [volume for volume in self._cache.list(PERSISTENT_VOLUMES) if is_deleting(volume.obj)]
        return [("volume", "", volume.name) for volume in volumes if local_node(volume.obj) == event.entry.name]

    async def reconcile(self, key: Key) -> Result:
        kind, namespace, name = key
        resource = PERSISTENT_VOLUME_CLAIMS if kind == "claim" else PERSISTENT_VOLUMES
        entry = self._cache.get(resource, namespace, name)
        if entry is None or not is_deleting(entry.obj):
            return DONE
        if kind == "claim":
            if (namespace, name) not in self._users:
                await self._let_go(resource, entry, CLAIM_PROTECTION)
            return DONE
        if (entry.obj.get("status") or {}).get("phase") != "Bound":
            await self._let_go(resource, entry, VOLUME_PROTECTION)
        return await self._forget_data(entry)

    async def _forget_data(self, volume: Entry) -> Result:
        """Don't wait for a node that is to keep the data, or that no longer exists."""
        node = local_node(volume.obj)
        if volume.obj["spec"].get("persistentVolumeReclaimPolicy") == "Delete":
            if self._cache.get(NODES, "", node) is not None:
                return DONE
            now_s = asyncio.get_running_loop().time()
            left_s = self._missing_since_s.setdefault(node, now_s) + self._quarantine_s - now_s
            if left_s > 0:
                return after(left_s)
            await self._cache.barrier()
            if self._cache.get(NODES, "", node) is not None:
                return DONE
        await self._let_go(PERSISTENT_VOLUMES, volume, LOCAL_PATH)
        return DONE

    async def _let_go(self, resource: Resource, entry: Entry, finalizer: str) -> None:
        def change(obj: KubeObject) -> KubeObject | None:
            finalizers = obj["metadata"].get("finalizers") or []
            if uid_of(obj) != entry.uid or finalizer not in finalizers:
                return None
            obj["metadata"]["finalizers"] = [each for each in finalizers if each != finalizer]
            return obj

        await self._objects.mutate(resource, entry.namespace, entry.name, change, manager=MANAGER)


def _has_ended(pod: KubeObject) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
