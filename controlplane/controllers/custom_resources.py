"""Accepts the names of custom kinds, establishes them, and empties those that are being deleted.

Names are unique within a group: the plural, singular and short ones among each other, kinds and list kinds among each
other. A definition that wants a name that is taken waits until it is free. All definitions are one queue with one
worker, so that no two of them are given the same name; the writes of a server that no longer leads are fenced off.
Source: ``pkg/controller/{status,establish,finalizer,apiapproval}`` of apiextensions-apiserver.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from controlplane.reconcile.clock import Clock
from controlplane.reconcile.objects import Objects
from controlplane.reconcile.parallel import settle_or_raise
from controlplane.reconcile.result import DONE, Result
from controlplane.store.cache import Cache, CacheEvent, Entry
from flotilla.api.conditions import get_condition, is_true, set_condition
from flotilla.api.crd.definition_rules import APPROVED, is_protected
from flotilla.api.crd.definitions import CLEANUP
from flotilla.api.errors import ApiError
from flotilla.api.objects import KubeObject, is_deleting
from flotilla.api.registry import Registry, Resource
from flotilla.api.resources import CUSTOM_RESOURCE_DEFINITIONS

MANAGER = "custom-resource-definition-controller"
_DELETES_AT_ONCE = 64


@dataclass(slots=True)
class Taken:
    """Names that other definitions of the group have been given."""

    resources: set[str] = field(default_factory=set)
    kinds: set[str] = field(default_factory=set)

    def add(self, names: Mapping[str, Any]) -> None:
        self.resources |= {names.get("plural") or "", names.get("singular") or "", *(names.get("shortNames") or ())}
        self.kinds |= {names.get("kind") or "", names.get("listKind") or ""}


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The names that a definition gets, and the first conflict, if any, as reason and message."""

    names: KubeObject
    reason: str = "NoConflicts"
    message: str = "no conflicts found"

    @property
    def accepted(self) -> bool:
        return self.reason == "NoConflicts"


def accept_names(wanted: Mapping[str, Any], given: Mapping[str, Any], taken: Taken) -> Acceptance:
    """Give each name that is free or the definition's own already."""
    names: KubeObject = {name: value for name, value in given.items() if value}
    conflicts: list[tuple[str, str]] = []

    def settle(word: str, reason: str, used: set[str]) -> None:
        name = wanted.get(word) or ""
        if name != (given.get(word) or "") and name in used:
            conflicts.append((reason, f'"{name}" is already in use'))
        elif name:
            names[word] = name
        else:
            names.pop(word, None)

    settle("plural", "PluralConflict", taken.resources)
    settle("singular", "SingularConflict", taken.resources)
    short = wanted.get("shortNames") or []
    used = [name for name in short if name not in (given.get("shortNames") or ()) and name in taken.resources]
    if used:
        conflicts.append(("ShortNamesConflict", ", ".join(f'"{name}" is already in use' for name in used)))
    elif short:
        names["shortNames"] = short
    else:
        names.pop("shortNames", None)
    settle("kind", "KindConflict", taken.kinds)
    settle("listKind", "ListKindConflict", taken.kinds)
    names.pop("categories", None)
    if wanted.get("categories"):
        names["categories"] = wanted["categories"]
    names = {"plural": names.get("plural", ""), "kind": names.get("kind", "")} | names
    return Acceptance(names, *conflicts[-1]) if conflicts else Acceptance(names)


def followed(registry: Registry) -> tuple[Resource, ...]:
    """The definitions, and the kinds that they define."""
    return tuple(row for row in registry.stored() if row is CUSTOM_RESOURCE_DEFINITIONS or row.shape is not None)


class CustomResourceDefinitions:
    """Keys are names of definitions."""

    def __init__(self, cache: Cache, objects: Objects, *, clock: Clock) -> None:
        self._cache = cache
        self._objects = objects
        self._clock = clock

    def reset(self) -> None:
        pass

    def keys(self, event: CacheEvent) -> Iterable[str]:
        entry = event.entry
        if entry.resource is not CUSTOM_RESOURCE_DEFINITIONS:
            return self._waiting_for(entry) if event.type == "DELETED" else ()
        return {entry.name, *self._others_of(entry)} if _frees_names(event) else [entry.name]

    def _waiting_for(self, instance: Entry) -> Iterable[str]:
        """The definition that waits for this object to be gone."""
        name = f"{instance.resource.plural}.{instance.resource.group}"
        crd = self._cache.get(CUSTOM_RESOURCE_DEFINITIONS, "", name) if instance.resource.shape is not None else None
        return [name] if crd is not None and is_deleting(crd.obj) else ()

    def _others_of(self, entry: Entry) -> Iterable[str]:
        group = entry.obj["spec"]["group"]
        crds = self._cache.list(CUSTOM_RESOURCE_DEFINITIONS)
        return [crd.name for crd in crds if crd.obj["spec"]["group"] == group]

    async def reconcile(self, key: str) -> Result:
        entry = self._cache.get(CUSTOM_RESOURCE_DEFINITIONS, "", key)
        if entry is None:
            return DONE
        if is_deleting(entry.obj):
            if CLEANUP in (entry.obj["metadata"].get("finalizers") or ()):
                await self._empty(entry)
            return DONE
        # Writes of this worker that the cache has not seen yet must not be overlooked: names are given only once.
        await self._cache.barrier()
        entry = self._cache.get(CUSTOM_RESOURCE_DEFINITIONS, "", key)
        if entry is not None and not is_deleting(entry.obj):
            await self._accept(entry)
        return DONE

    async def _accept(self, entry: Entry) -> None:
        crd = entry.copy()
        status = crd.setdefault("status", {})
        conditions = status.setdefault("conditions", [])
        if status.get("conditions") is None:
            conditions = status["conditions"] = []
        given = status.get("acceptedNames") or {}
        acceptance = accept_names(crd["spec"]["names"], given, self._taken(entry))
        now = self._clock()
        changed = acceptance.names != given
        status["acceptedNames"] = acceptance.names
        changed |= set_condition(
            conditions,
            "NamesAccepted",
            status="True" if acceptance.accepted else "False",
            reason=acceptance.reason,
            message=acceptance.message,
            now=now,
        )
        if not is_true(crd, "Established"):
            changed |= set_condition(
                conditions,
                "Established",
                status="True" if acceptance.accepted else "False",
                reason="InitialNamesAccepted" if acceptance.accepted else "NotAccepted",
                message="the initial names have been accepted" if acceptance.accepted else "not all names are accepted",
                now=now,
            )
        changed |= self._report_approval(crd, conditions)
        if changed:
            await self._objects.update(CUSTOM_RESOURCE_DEFINITIONS, crd, manager=MANAGER, subresource="status")

    def _report_approval(self, crd: KubeObject, conditions: list[KubeObject]) -> bool:
        if not is_protected(crd["spec"]["group"]):
            return False
        approval = (crd["metadata"].get("annotations") or {}).get(APPROVED, "")
        status, reason, message = "True", "ApprovedAnnotation", f"approved in {approval}"
        if not approval:
            why = f'protected groups must have approval annotation "{APPROVED}"'
            status, reason, message = "False", "MissingAnnotation", why
        elif approval.startswith("unapproved"):
            why = f'not approved: "{approval}"'
            status, reason, message = "False", "UnapprovedAnnotation", why
        return set_condition(
            conditions,
            "KubernetesAPIApprovalPolicyConformant",
            status=status,
            reason=reason,
            message=message,
            now=self._clock(),
        )

    def _taken(self, entry: Entry) -> Taken:
        taken = Taken()
        for other in self._cache.list(CUSTOM_RESOURCE_DEFINITIONS):
            if other.name != entry.name and other.obj["spec"]["group"] == entry.obj["spec"]["group"]:
                taken.add((other.obj.get("status") or {}).get("acceptedNames") or {})
        return taken

    async def _empty(self, entry: Entry) -> None:
        """Delete the objects of a definition that is going, then let it go."""
        resource = self._stored_row(entry)
        if resource is not None:
            await self._report(entry, status="True", reason="InstanceDeletionInProgress", message=_IN_PROGRESS)
            limit = asyncio.Semaphore(_DELETES_AT_ONCE)
            going = [each for each in self._cache.list(resource) if not is_deleting(each.obj)]
            await settle_or_raise(self._delete(each, limit) for each in going)
            await self._cache.barrier()
            left = len(self._cache.list(resource))
            if left:
                return
            await self._report(entry, status="False", reason="InstanceDeletionCompleted", message=_COMPLETED)
        await self._release(entry)

    def _stored_row(self, entry: Entry) -> Resource | None:
        spec = entry.obj["spec"]
        storage = f"{spec['group']}/{spec['names']['plural']}"
        rows = self._cache.registry.stored()
        return next((row for row in rows if row.storage == storage and row.shape is not None), None)

    async def _delete(self, entry: Entry, limit: asyncio.Semaphore) -> None:
        async with limit:
            try:
                await self._objects.delete(entry.resource, entry.namespace, entry.name, manager=MANAGER, uid=entry.uid)
            except ApiError as error:
                if error.reason not in ("NotFound", "Conflict"):
                    raise

    async def _report(self, entry: Entry, *, status: str, reason: str, message: str) -> None:
        def change(crd: KubeObject) -> KubeObject | None:
            found = get_condition(crd, "Terminating")
            if found is not None and (found.get("status"), found.get("reason")) == (status, reason):
                return None
            conditions = crd.setdefault("status", {}).setdefault("conditions", [])
            now = self._clock()
            set_condition(conditions, "Terminating", status=status, reason=reason, message=message, now=now)
            return crd

        await self._mutate(entry, change, subresource="status")

    async def _release(self, entry: Entry) -> None:
        def change(crd: KubeObject) -> KubeObject | None:
            finalizers = crd["metadata"].get("finalizers") or []
            if CLEANUP not in finalizers:
                return None
            crd["metadata"]["finalizers"] = [name for name in finalizers if name != CLEANUP]
            return crd

        await self._mutate(entry, change)

    async def _mutate(self, entry: Entry, change: Any, *, subresource: str = "") -> None:
        def same_one(crd: KubeObject) -> KubeObject | None:
            changed: KubeObject | None = change(crd) if crd["metadata"]["uid"] == entry.uid else None
            return changed

        await self._objects.mutate(
            CUSTOM_RESOURCE_DEFINITIONS, "", entry.name, same_one, manager=MANAGER, subresource=subresource
        )


_IN_PROGRESS = "CustomResource deletion is in progress"
_COMPLETED = "removed all instances"


def _frees_names(event: CacheEvent) -> bool:
    """Whether others of the group may get a name now that they did not get before."""
    if event.type == "DELETED":
        return True
    before = event.previous.obj if event.previous is not None else {}
    given = (before.get("status") or {}).get("acceptedNames")
    return given is not None and given != (event.entry.obj.get("status") or {}).get("acceptedNames")
