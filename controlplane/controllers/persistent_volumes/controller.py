"""The controller of claims and volumes: which of them a change concerns.

A claim without a volume is looked at again whenever a volume, a class or a node could help it; everything else follows
from the names that a claim and its volume hold of each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from controlplane.controllers.persistent_volumes.binding import Binder
from controlplane.controllers.persistent_volumes.claims import ClaimSide
from controlplane.controllers.persistent_volumes.volumes import VolumeSide
from controlplane.reconcile.events import EventRecorder
from controlplane.reconcile.objects import Objects
from controlplane.reconcile.result import DONE, Result
from controlplane.store.cache import Cache, CacheEvent, Entry
from flotilla.api.conditions import is_true
from flotilla.api.resources import NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES
from flotilla.api.storage import is_bound

RESOURCES = (PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES, NODES)

Key = tuple[Literal["claim", "volume"], str, str]


class PersistentVolumeReconciler:
    """Keys are claims and volumes."""

    def __init__(self, cache: Cache, objects: Objects, recorder: EventRecorder) -> None:
        self._cache = cache
        binder = Binder(objects)
        self._claims = ClaimSide(cache, objects, recorder, binder)
        self._volumes = VolumeSide(cache, objects, recorder, binder)
        self._unbound: set[Key] = set()
        self._referring: dict[Key, set[str]] = {}

    def reset(self) -> None:
        self._unbound.clear()
        self._referring.clear()

    def keys(self, event: CacheEvent) -> Iterable[Key]:
        entry = event.entry
        if entry.resource is PERSISTENT_VOLUME_CLAIMS:
            return self._keys_of_claim(event)
        if entry.resource is PERSISTENT_VOLUMES:
            return self._keys_of_volume(event)
        if entry.resource is STORAGE_CLASSES or _has_become_ready(event):
            return list(self._unbound)
        return ()

    def _keys_of_claim(self, event: CacheEvent) -> list[Key]:
        entry = event.entry
        key: Key = ("claim", entry.namespace, entry.name)
        if event.type == "DELETED" or is_bound(entry.obj):
            self._unbound.discard(key)
        else:
            self._unbound.add(key)
        named = entry.obj["spec"].get("volumeName")
        names = self._referring.get(key, set()) | ({named} if named else set())
        return [key, *(("volume", "", name) for name in sorted(names))]

    def _keys_of_volume(self, event: CacheEvent) -> list[Key]:
        entry = event.entry
        key: Key = ("volume", "", entry.name)
        before, after = _claim_key(event.previous), _claim_key(entry) if event.type != "DELETED" else None
        if before is not None and before != after:
            self._referring.get(before, set()).discard(entry.name)
            if not self._referring.get(before):
                self._referring.pop(before, None)
        if after is not None:
            self._referring.setdefault(after, set()).add(entry.name)
        touched = {each for each in (before, after) if each is not None}
        if event.type != "DELETED" and after is None:
            touched |= self._unbound
        if event.type == "DELETED":
            touched |= {each for each in self._unbound if self._names(each) == entry.name}
        return [key, *sorted(touched)]

    def _names(self, claim: Key) -> str:
        entry = self._cache.get(PERSISTENT_VOLUME_CLAIMS, claim[1], claim[2])
        name: str = entry.obj["spec"].get("volumeName") or "" if entry is not None else ""
        return name

    async def reconcile(self, key: Key) -> Result:
        kind, namespace, name = key
        if kind == "claim":
            entry = self._cache.get(PERSISTENT_VOLUME_CLAIMS, namespace, name)
            if entry is not None:
                await self._claims.sync(entry.obj)
        else:
            entry = self._cache.get(PERSISTENT_VOLUMES, "", name)
            if entry is not None:
                await self._volumes.sync(entry.obj)
        return DONE


def _claim_key(volume: Entry | None) -> Key | None:
    reference = volume.obj["spec"].get("claimRef") if volume is not None else None
    return ("claim", reference.get("namespace") or "", reference.get("name") or "") if reference else None


def _has_become_ready(event: CacheEvent) -> bool:
    """Whether a node can be chosen that could not before."""

    def usable(entry: Entry | None) -> bool:
        if entry is None:
            return False
        return is_true(entry.obj, "Ready") and not (entry.obj.get("spec") or {}).get("unschedulable")

    return event.type != "DELETED" and usable(event.entry) and not usable(event.previous)
