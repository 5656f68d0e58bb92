"""Writes the endpoints of Services as their pods come, become ready, and go."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Mapping
from typing import Any

from controlplane.controllers.endpoints.mirror import MANAGED_BY as MIRROR_MANAGED_BY
from controlplane.controllers.endpoints.mirror import MANAGED_BY_VALUE as MIRROR_MANAGED_BY_VALUE
from controlplane.controllers.endpoints.mirror import mirror, same, updated
from controlplane.controllers.endpoints.plan import (
    MANAGED_BY,
    MANAGED_BY_VALUE,
    SERVICE_NAME,
    Groups,
    group_endpoints,
    has_endpoints,
    plan_slices,
)
from controlplane.reconcile.controller import ObjectKey
from controlplane.reconcile.objects import Objects
from controlplane.reconcile.own_writes import OwnWrites
from controlplane.reconcile.parallel import settle_or_raise
from controlplane.reconcile.result import DONE, Result
from controlplane.store.cache import Cache, CacheEvent, Entry
from flotilla.api.errors import ApiError
from flotilla.api.objects import KubeObject, is_deleting, name_of
from flotilla.api.registry import Resource
from flotilla.api.resources import ENDPOINT_SLICES, ENDPOINTS, PODS, SERVICES

MANAGER = "endpointslice-controller"
RESOURCES = (SERVICES, PODS, ENDPOINT_SLICES, ENDPOINTS)


class _Members:
    """Which pods each Service selects, kept up with every event, so that no reconcile searches a namespace."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._selectors: dict[str, dict[str, Mapping[str, str]]] = {}
        self._pods: dict[ObjectKey, set[str]] = {}

    def reset(self) -> None:
        self._selectors.clear()
        self._pods.clear()

    def observe_service(self, event: CacheEvent) -> None:
        entry = event.entry
        key = (entry.namespace, entry.name)
        if event.type == "DELETED" or not has_endpoints(entry.obj):
            self._forget(key)
            return
        selector = entry.obj["spec"]["selector"]
        selectors = self._selectors.setdefault(entry.namespace, {})
        if selectors.get(entry.name) != selector:
            selectors[entry.name] = selector
            pods = self._cache.list(PODS, entry.namespace)
            self._pods[key] = {pod.name for pod in pods if selector.items() <= pod.labels.items()}

    def _forget(self, key: ObjectKey) -> None:
        namespace, name = key
        selectors = self._selectors.get(namespace, {})
        selectors.pop(name, None)
        if not selectors:
            self._selectors.pop(namespace, None)
        self._pods.pop(key, None)

    def observe_pod(self, event: CacheEvent) -> set[ObjectKey]:
        """The Services that select the pod, or did."""
        entry = event.entry
        keys = set()
        for service, selector in self._selectors.get(entry.namespace, {}).items():
            pods = self._pods[entry.namespace, service]
            was = entry.name in pods
            belongs = event.type != "DELETED" and selector.items() <= entry.labels.items()
            if belongs:
                pods.add(entry.name)
            else:
                pods.discard(entry.name)
            if was or belongs:
                keys.add((entry.namespace, service))
        return keys

    def pods(self, key: ObjectKey) -> list[KubeObject]:
        found = [self._cache.get(PODS, key[0], name) for name in self._pods.get(key, ())]
        return [entry.obj for entry in found if entry is not None]


class EndpointsReconciler:
    """Keys are Services."""

    def __init__(self, cache: Cache, objects: Objects) -> None:
        self._cache = cache
        self._objects = objects
        self._members = _Members(cache)
        self._slices: dict[ObjectKey, set[str]] = {}
        self._own_writes: OwnWrites[ObjectKey] = OwnWrites(cache)

    def reset(self) -> None:
        self._members.reset()
        self._slices.clear()

    def keys(self, event: CacheEvent) -> Iterable[ObjectKey]:
        entry = event.entry
        if entry.resource is SERVICES:
            self._members.observe_service(event)
        elif entry.resource is PODS:
            return self._members.observe_pod(event)
        elif entry.resource is ENDPOINT_SLICES:
            return self._keys_of_slice(event)
        return [(entry.namespace, entry.name)]

    def _keys_of_slice(self, event: CacheEvent) -> list[ObjectKey]:
        entry = event.entry
        if entry.labels.get(MANAGED_BY) != MANAGED_BY_VALUE or SERVICE_NAME not in entry.labels:
            return []
        key = (entry.namespace, entry.labels[SERVICE_NAME])
        names = self._slices.setdefault(key, set())
        if event.type == "DELETED":
            names.discard(entry.name)
        else:
            names.add(entry.name)
        return [key]

    async def reconcile(self, key: ObjectKey) -> Result:
        await self._own_writes.catch_up(key)
        service = self._cache.get(SERVICES, *key)
        slices = self._present_slices(key)
        if service is None or not has_endpoints(service.obj) or is_deleting(service.obj):
            await self._withdraw(key, service, slices)
            return DONE
        groups = group_endpoints(service.obj, self._members.pods(key))
        await settle_or_raise([*self._slice_writes(key, service, slices, groups), self._mirror(key, service, groups)])
        return DONE

    def _present_slices(self, key: ObjectKey) -> list[KubeObject]:
        found = [self._cache.get(ENDPOINT_SLICES, key[0], name) for name in sorted(self._slices.get(key, ()))]
        # A slice whose labels were edited is somebody else's from then on.
        return [
            entry.obj
            for entry in found
            if entry is not None
            and entry.labels.get(SERVICE_NAME) == key[1]
            and entry.labels.get(MANAGED_BY) == MANAGED_BY_VALUE
        ]

    async def _withdraw(self, key: ObjectKey, service: Entry | None, slices: list[KubeObject]) -> None:
        """Nothing of ours is left: slices of a deleted Service go to the garbage collector, all else goes here."""
        present = self._cache.get(ENDPOINTS, *key)
        deletions = [self._delete(ENDPOINT_SLICES, each) for each in slices if service is not None]
        if present is not None and present.labels.get(MIRROR_MANAGED_BY) == MIRROR_MANAGED_BY_VALUE:
            deletions.append(self._delete(ENDPOINTS, present.obj))
        await settle_or_raise(deletions)
        if service is None and not slices:
            self._slices.pop(key, None)

    def _slice_writes(
        self, key: ObjectKey, service: Entry, slices: list[KubeObject], groups: Groups
    ) -> list[Coroutine[Any, Any, None]]:
        def taken(name: str) -> bool:
            return self._cache.get(ENDPOINT_SLICES, key[0], name) is not None

        plan = plan_slices(service.obj, slices, groups, taken=taken)
        return [
            *(self._create(key, ENDPOINT_SLICES, each) for each in plan.create),
            *(self._update(key, ENDPOINT_SLICES, each) for each in plan.update),
            *(self._delete(ENDPOINT_SLICES, each) for each in plan.delete),
        ]

    async def _mirror(self, key: ObjectKey, service: Entry, groups: Groups) -> None:
        wanted = mirror(service.obj, groups)
        present = self._cache.get(ENDPOINTS, *key)
        if present is None:
            await self._create(key, ENDPOINTS, wanted)
        elif not same(present.obj, wanted):
            await self._update(key, ENDPOINTS, updated(present.copy(), wanted))

    async def _create(self, key: ObjectKey, resource: Resource, obj: KubeObject) -> None:
        self._own_writes.wrote(key, await self._objects.create(resource, obj, manager=MANAGER))

    async def _update(self, key: ObjectKey, resource: Resource, obj: KubeObject) -> None:
        self._own_writes.wrote(key, await self._objects.update(resource, obj, manager=MANAGER))

    async def _delete(self, resource: Resource, obj: KubeObject) -> None:
        namespace, uid = obj["metadata"]["namespace"], obj["metadata"]["uid"]
        try:
            await self._objects.delete(resource, namespace, name_of(obj), manager=MANAGER, uid=uid)
        except ApiError as error:
            if error.reason != "NotFound":
                raise
