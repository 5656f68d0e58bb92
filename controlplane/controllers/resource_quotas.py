"""Keeps the status of ResourceQuotas: what they limit, and how much of it the objects of their namespace use.

Admission adds to ``status.used`` before it stores an object; here everything is counted again, so that what is gone, or
was never stored, is given back. Both write the same field. A count is taken at one instant, together with the quota and
with what is promised to objects on their way (:mod:`controlplane.quota.ledger`), and what is written is the difference
to the quota of that instant: what admission has added since then stays.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from controlplane.quota.amounts import Amounts, amounts_of, shown
from controlplane.quota.ledger import Ledger, Promised
from controlplane.quota.scopes import in_scopes
from controlplane.quota.usage import ends_counting, is_counted, tracked, usage_of
from controlplane.reconcile.clock import Clock
from controlplane.reconcile.controller import ObjectKey
from controlplane.reconcile.objects import Objects
from controlplane.reconcile.own_writes import OwnWrites
from controlplane.reconcile.result import DONE, Result, after
from controlplane.store.cache import Cache, CacheEvent, Entry
from flotilla.api.objects import KubeObject, is_deleting
from flotilla.api.registry import Registry, Resource
from flotilla.api.resources import PERSISTENT_VOLUME_CLAIMS, PODS, RESOURCE_QUOTAS, SERVICES

MANAGER = "resourcequota-controller"
CALM_S = 0.2
"""Seconds between two counts of a quota whose namespace doesn't come to rest."""

_VARYING = (PERSISTENT_VOLUME_CLAIMS, PODS, SERVICES)
_SLICE = 100
_Used = tuple[tuple[str, int], ...]


def counted_kinds(registry: Registry) -> list[Resource]:
    """Every kind that a quota may count."""
    return [resource for resource in registry.stored() if is_counted(resource)]


class ResourceQuotaReconciler:
    """Keys are quotas."""

    def __init__(self, cache: Cache, objects: Objects, ledger: Ledger, *, clock: Clock) -> None:
        self._cache = cache
        self._objects = objects
        self._ledger = ledger
        self._clock = clock
        self._own: OwnWrites[ObjectKey] = OwnWrites(cache)
        self._counts: dict[ObjectKey, _Counts] = {}
        self._counted_at: dict[ObjectKey, datetime] = {}

    def reset(self) -> None:
        """Nothing is remembered of events."""

    def keys(self, event: CacheEvent) -> Iterable[ObjectKey]:
        entry = event.entry
        if entry.resource is RESOURCE_QUOTAS and event.type != "DELETED":
            yield entry.namespace, entry.name
        if self._cache.count(RESOURCE_QUOTAS) and _matters(event):
            for quota in self._cache.list(RESOURCE_QUOTAS, entry.namespace):
                if tracked(entry.resource, (quota.obj.get("spec") or {}).get("hard") or ()):
                    yield quota.namespace, quota.name

    async def reconcile(self, key: ObjectKey) -> Result:
        await self._own.catch_up(key)
        entry = self._cache.get(RESOURCE_QUOTAS, *key)
        if entry is None or is_deleting(entry.obj):
            self._counts.pop(key, None)
            self._counted_at.pop(key, None)
            return DONE
        now = self._clock()
        since_s = (now - self._counted_at[key]).total_seconds() if key in self._counted_at else CALM_S
        if since_s < CALM_S and _limits_known(entry.obj):
            return after(CALM_S - since_s)
        self._counted_at[key] = now
        counts = self._counts.setdefault(key, _Counts())
        await counts.learn(self._cache, key[0], entry.obj.get("spec") or {}, now=now)
        newest = self._cache.get(RESOURCE_QUOTAS, *key)
        if newest is None or newest.obj.get("spec") != entry.obj.get("spec"):
            return after(0.0)
        used = counts.count(self._cache, key[0], now=now)
        promised = self._ledger.promised(*key)
        await self._write(key, newest, used, promised)
        if promised:
            return after(CALM_S)
        changes_at = counts.changes_at()
        return DONE if changes_at is None else after((changes_at - now).total_seconds())

    async def _write(self, key: ObjectKey, entry: Entry, used: Amounts, promised: Promised) -> None:
        hard: Mapping[str, Any] = (entry.obj.get("spec") or {}).get("hard") or {}
        status: Mapping[str, Any] = entry.obj.get("status") or {}
        before = amounts_of(status.get("used"))
        corrections = {name: _correction(name, before, used, promised) for name in hard}
        if status.get("hard", {}) == hard and before.keys() == hard.keys() and not any(corrections.values()):
            return

        def correct(quota: KubeObject) -> KubeObject:
            now_used = amounts_of((quota.get("status") or {}).get("used"))
            right = {name: max(now_used.get(name, 0) + corrections[name], 0) for name in hard}
            quota["status"] = {"hard": dict(hard), "used": {name: shown(name, right[name]) for name in hard}}
            return quota

        async with self._ledger.lock(key[0]):
            stored = await self._objects.mutate(RESOURCE_QUOTAS, *key, correct, manager=MANAGER, subresource="status")
        self._own.wrote(key, stored)


def _limits_known(quota: Mapping[str, Any]) -> bool:
    """Whether the status says what the spec limits."""
    return bool((quota.get("status") or {}).get("hard") == (quota.get("spec") or {}).get("hard"))


def _correction(name: str, before: Amounts, used: Amounts, promised: Promised) -> int:
    """What to add to an amount that may be anything between what is certainly promised and what may be."""
    least = used.get(name, 0) + promised.least.get(name, 0)
    most = used.get(name, 0) + promised.most.get(name, 0)
    had = before.get(name, 0)
    return least - had if had < least else min(most - had, 0)


@dataclass(frozen=True, slots=True)
class _Known:
    """What one state of an object uses of the limited names, until it ends without a change of the object."""

    entry: Entry
    used: _Used
    until: datetime | None = None


class _Counts:
    """The objects that one quota counts, and what each uses, so that a count looks only at what has changed."""

    def __init__(self) -> None:
        self._spec: Mapping[str, Any] = {}
        self._known: dict[str, _Known] = {}

    async def learn(self, cache: Cache, namespace: str, spec: Mapping[str, Any], *, now: datetime) -> None:
        """Look at what there is, with pauses for others, so that :meth:`count` need not do it all at once."""
        if spec != self._spec:
            self._spec, self._known = spec, {}
        for position, (entry, names) in enumerate(self._entries(cache, namespace)):
            self._known[entry.key] = self._look(entry, names, now)
            if position % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)

    def count(self, cache: Cache, namespace: str, *, now: datetime) -> dict[str, int]:
        """The used amounts of everything that is limited, as the cache stands now."""
        entries = self._entries(cache, namespace)
        self._known = {entry.key: self._look(entry, names, now) for entry, names in entries}
        total: dict[str, int] = {}
        for used, objects in Counter(known.used for known in self._known.values()).items():
            for name, amount in used:
                total[name] = total.get(name, 0) + amount * objects
        return total

    def changes_at(self) -> datetime | None:
        """When the count will change although no object does."""
        return min((known.until for known in self._known.values() if known.until is not None), default=None)

    def _entries(self, cache: Cache, namespace: str) -> Iterator[tuple[Entry, set[str]]]:
        hard = self._spec.get("hard") or {}
        for resource in counted_kinds(cache.registry):
            names = tracked(resource, hard)
            if names:
                yield from ((entry, names) for entry in cache.list(resource, namespace))

    def _look(self, entry: Entry, names: set[str], now: datetime) -> _Known:
        known = self._known.get(entry.key)
        if known is not None and known.entry is entry and (known.until is None or now < known.until):
            return known
        resource, obj = entry.resource, entry.obj
        if not in_scopes(self._spec, resource, obj):
            return _Known(entry, ())
        usage = usage_of(resource, obj, now=now)
        used = tuple(sorted((name, usage[name]) for name in names & usage.keys()))
        until = ends_counting(obj, now) if resource is PODS else None
        return _Known(entry, used, until if until is not None and until > now else None)


def _matters(event: CacheEvent) -> bool:
    """Whether a change of an object may change what it uses."""
    entry, before = event.entry, event.previous
    if before is None or event.type != "MODIFIED":
        return True
    if entry.resource is PODS:
        return _stage(entry.obj) != _stage(before.obj)
    return entry.resource in _VARYING


def _stage(pod: Mapping[str, Any]) -> tuple[Any, ...]:
    """What of a pod's life bears on what it uses."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    held = [each.get("resources") for each in status.get("containerStatuses") or ()]
    return status.get("phase"), metadata.get("deletionTimestamp"), metadata.get("generation"), held
