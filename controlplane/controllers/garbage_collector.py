"""Deletes what nobody owns any more, and carries out foreground and orphan deletion.

The cache indexes every object by its owners' uids, so there is no graph to keep: a deleted owner's dependents are one
look-up away. An owner counts as absent only when its deletion was seen, or after the cache caught up with the store.
Source: Kubernetes' ``pkg/controller/garbagecollector``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.controllers.ownership import without_owner
from controlplane.reconcile.objects import Objects
from controlplane.reconcile.parallel import settle_or_raise
from controlplane.reconcile.result import DONE, Result
from controlplane.store.cache import Cache, CacheEvent, Entry
from flotilla.api.errors import ApiError
from flotilla.api.objects import KubeObject, is_deleting
from flotilla.api.registry import Registry, Resource
from flotilla.api.resources import EVENTS

MANAGER = "garbage-collector"
FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
_REMEMBERED_DELETIONS = 10_000

GcKey = tuple[Resource, str, str]
"""The stored resource, namespace, name."""


def collected(registry: Registry) -> tuple[Resource, ...]:
    """The kinds whose objects may own others or be owned."""
    return tuple(resource for resource in registry.stored() if resource is not EVENTS)


@dataclass(frozen=True, slots=True)
class _Owners:
    """An object's owners: there to stay, gone, or waiting in the foreground for this object to go first."""

    solid: tuple[KubeObject, ...]
    absent: tuple[KubeObject, ...]
    waiting: tuple[KubeObject, ...]


def _finalizers(obj: Mapping[str, Any]) -> list[str]:
    finalizers: list[str] = obj["metadata"].get("finalizers") or []
    return finalizers


def _owner_references(obj: Mapping[str, Any]) -> list[KubeObject]:
    references: list[KubeObject] = obj["metadata"].get("ownerReferences") or []
    return references


def _deletes_in_foreground(obj: Mapping[str, Any]) -> bool:
    return is_deleting(obj) and FOREGROUND in _finalizers(obj)


def _key(entry: Entry) -> GcKey:
    return entry.resource, entry.namespace, entry.name


class GarbageCollector:
    """Keys are objects that may have to go, or that wait for their dependents to go."""

    def __init__(self, cache: Cache, objects: Objects) -> None:
        self._cache = cache
        self._objects = objects
        self._deleted: OrderedDict[str, None] = OrderedDict()

    def reset(self) -> None:
        pass

    def keys(self, event: CacheEvent) -> Iterable[GcKey]:
        entry = event.entry
        if event.type == "DELETED":
            self._remember(entry.uid)
            keys = {_key(dependent) for dependent in self._cache.by_owner(entry.uid)}
            return keys | self._foreground_owners(entry) if entry.owners else keys
        keys = set()
        if entry.owners or (event.previous is not None and event.previous.owners):
            keys |= self._foreground_owners(entry)
            keys |= self._foreground_owners(event.previous) if event.previous is not None else set()
            if any(self._is_going(entry, reference) for reference in _owner_references(entry.obj)):
                keys.add(_key(entry))
        if b'"deletionTimestamp":"' in entry.data and {FOREGROUND, ORPHAN} & set(_finalizers(entry.obj)):
            keys.add(_key(entry))
            keys |= {_key(dependent) for dependent in self._cache.by_owner(entry.uid)}
        return keys

    def _remember(self, uid: str) -> None:
        self._deleted[uid] = None
        if len(self._deleted) > _REMEMBERED_DELETIONS:
            self._deleted.popitem(last=False)

    def _foreground_owners(self, dependent: Entry) -> set[GcKey]:
        owners = [self._present(dependent, reference) for reference in _owner_references(dependent.obj)]
        return {_key(owner) for owner in owners if owner is not None and _deletes_in_foreground(owner.obj)}

    def _is_going(self, dependent: Entry, reference: KubeObject) -> bool:
        if not self._can_resolve(dependent, reference):
            return False
        owner = self._present(dependent, reference)
        return owner is None or _deletes_in_foreground(owner.obj)

    def _can_resolve(self, dependent: Entry, reference: KubeObject) -> bool:
        """Owners of unknown kinds, or namespaced ones of cluster-scoped objects, are never taken for absent."""
        resource = self._cache.registry.by_kind(reference["apiVersion"], reference["kind"])
        return resource is not None and (not resource.namespaced or bool(dependent.namespace))

    def _present(self, dependent: Entry, reference: KubeObject) -> Entry | None:
        resource = self._cache.registry.by_kind(reference["apiVersion"], reference["kind"])
        if resource is None:
            return None
        owner = self._cache.get(resource, dependent.namespace if resource.namespaced else "", reference["name"])
        return owner if owner is not None and owner.uid == reference["uid"] else None

    async def reconcile(self, key: GcKey) -> Result:
        entry = self._cache.get(*key)
        if entry is None:
            return DONE
        if not is_deleting(entry.obj):
            await self._collect(entry)
        elif ORPHAN in _finalizers(entry.obj):
            await self._orphan_dependents(entry)
        elif FOREGROUND in _finalizers(entry.obj):
            await self._finish_foreground(entry)
        return DONE

    async def _owners(self, entry: Entry) -> _Owners:
        references = _owner_references(entry.obj)
        if any(self._looks_absent(entry, reference) for reference in references):
            await self._cache.barrier()
        solid: list[KubeObject] = []
        absent: list[KubeObject] = []
        waiting: list[KubeObject] = []
        for reference in references:
            owner = self._present(entry, reference)
            if not self._can_resolve(entry, reference):
                solid.append(reference)
            elif owner is None:
                absent.append(reference)
            elif _deletes_in_foreground(owner.obj):
                waiting.append(reference)
            else:
                solid.append(reference)
        return _Owners(tuple(solid), tuple(absent), tuple(waiting))

    def _looks_absent(self, entry: Entry, reference: KubeObject) -> bool:
        return (
            reference["uid"] not in self._deleted
            and self._can_resolve(entry, reference)
            and self._present(entry, reference) is None
        )

    async def _collect(self, entry: Entry) -> None:
        owners = await self._owners(entry)
        going = [reference["uid"] for reference in (*owners.absent, *owners.waiting)]
        if not going:
            return
        if owners.solid:
            await self._disown(entry, going)
        else:
            await self._delete(entry, self._propagation(entry, waiting=bool(owners.waiting)))

    def _propagation(self, entry: Entry, *, waiting: bool) -> str:
        finalizers = _finalizers(entry.obj)
        if ORPHAN in finalizers:
            return "Orphan"
        if FOREGROUND in finalizers or (waiting and self._cache.by_owner(entry.uid)):
            return "Foreground"
        return "Background"

    async def _delete(self, entry: Entry, propagation: str) -> None:
        try:
            await self._objects.delete(
                entry.resource, entry.namespace, entry.name, manager=MANAGER, uid=entry.uid, propagation=propagation
            )
        except ApiError as error:
            if error.reason not in ("NotFound", "Conflict"):
                raise

    async def _disown(self, entry: Entry, owner_uids: Iterable[str]) -> None:
        uids = set(owner_uids)

        def change(obj: KubeObject) -> KubeObject | None:
            states = [without_owner(obj, uid) for uid in uids]
            return obj if any(state is not None for state in states) else None

        await self._objects.mutate(entry.resource, entry.namespace, entry.name, change, manager=MANAGER)

    async def _orphan_dependents(self, owner: Entry) -> None:
        await self._cache.barrier()
        dependents = self._cache.by_owner(owner.uid)
        await settle_or_raise(self._disown(dependent, [owner.uid]) for dependent in dependents)
        await self._remove_finalizer(owner, ORPHAN)

    async def _finish_foreground(self, owner: Entry) -> None:
        if self._blocking(owner):
            return
        await self._cache.barrier()
        if not self._blocking(owner):
            await self._remove_finalizer(owner, FOREGROUND)

    def _blocking(self, owner: Entry) -> bool:
        """Whether a dependent is left that blocks the owner's deletion; its own events bring the owner's key again."""
        return any(
            reference["uid"] == owner.uid and reference.get("blockOwnerDeletion")
            for dependent in self._cache.by_owner(owner.uid)
            for reference in _owner_references(dependent.obj)
        )

    async def _remove_finalizer(self, owner: Entry, finalizer: str) -> None:
        uid = owner.uid

        def change(obj: KubeObject) -> KubeObject | None:
            kept = [each for each in _finalizers(obj) if each != finalizer]
            if obj["metadata"]["uid"] != uid or len(kept) == len(_finalizers(obj)):
                return None
            obj["metadata"]["finalizers"] = kept
            return obj

        await self._objects.mutate(owner.resource, owner.namespace, owner.name, change, manager=MANAGER)
