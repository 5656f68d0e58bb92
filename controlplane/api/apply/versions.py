"""One object in the versions that its kind is served in, for managers who have set its fields through different ones.

A manager's fields are paths of the version that it wrote through, and are recorded with that version. What a write
changes is therefore looked at in every version in which somebody owns something: the object before and after it is
converted, and compared by that version's schema. Sets of fields are never translated themselves, because a path of one
version may stand for a part of a value in another. Source: ``sigs.k8s.io/structured-merge-diff`` (``merge/update.go``).
"""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.api.apply.field_set import FieldSet, difference, union
from controlplane.api.apply.managers import Manager
from controlplane.api.apply.ownable import ownable
from controlplane.api.apply.reshaping import reshaped
from controlplane.api.apply.typed import Difference, compare, prune
from controlplane.api.schema import schema_of
from flotilla.api.objects import KubeObject
from flotilla.api.registry import Registry, Resource


def converted(bare: KubeObject, source: Resource, target: Resource) -> KubeObject:
    """The ownable part of an object of ``source`` as ``target`` shows it."""
    if source is target:
        return bare
    obj: KubeObject = {"apiVersion": source.api_version, "kind": source.kind, "metadata": {}} | bare
    if source.view is not None:
        obj = source.view.to_stored(obj)
    if target.view is not None:
        obj = target.view.from_stored(obj)
    return ownable(obj)


class Changes:
    """What one write changes, in every version that is asked for. ValueError for items of lists without keys."""

    def __init__(self, resource: Resource, old: KubeObject, new: KubeObject, registry: Registry) -> None:
        self._resource = resource
        self._old = old
        self._new = new
        self._registry = registry
        self._known: dict[str, Difference | None] = {}

    @property
    def own(self) -> Difference:
        """In the version of the write."""
        found = self.at(self._resource.api_version)
        assert found is not None
        return found

    def at(self, api_version: str) -> Difference | None:
        """In a version, None if there is no such version: who owns something in it owns nothing any more."""
        if api_version not in self._known:
            row = self._registry.in_version(self._resource, api_version)
            self._known[api_version] = self._compared(row) if row is not None else None
        return self._known[api_version]

    def _compared(self, row: Resource) -> Difference:
        old, new = (converted(each, self._resource, row) for each in (self._old, self._new))
        return compare(old, new, schema_of(row))


def in_present_form(resource: Resource, live: KubeObject, managers: list[Manager], registry: Registry) -> list[Manager]:
    """The managers of ``live`` with their fields in the form that the present schemas give them.

    The schemas of the release never change while objects are stored; those that users define do.
    """
    if resource.shape is None:
        return managers
    bare = ownable(live)
    found: list[Manager] = []
    for manager in managers:
        row = registry.in_version(resource, manager.api_version)
        if row is not None:
            value = converted(bare, resource, row)
            manager = manager.owning(reshaped(manager.fields, value, schema_of(row)))
        found.append(manager)
    return found


def pruned(
    resource: Resource,
    merged: KubeObject,
    me: Manager,
    wanted: FieldSet,
    others: Sequence[Manager],
    registry: Registry,
) -> KubeObject:
    """``merged`` without what ``me`` had set and is not ``wanted`` any more, unless somebody else owns it.

    It is taken away in the version that ``me`` had set it through; what that takes along and is owned in other versions
    is put back in these.
    """
    then = registry.in_version(resource, me.api_version)
    if then is None or not me.fields:
        return merged
    owned: dict[Resource, FieldSet] = {}
    for manager in others:
        row = registry.in_version(resource, manager.api_version)
        if row is not None:
            owned[row] = union(owned.get(row, {}), manager.fields)
    kept = union(owned.pop(resource, {}), wanted)
    if then is resource:
        result: KubeObject = prune(merged, schema_of(resource), difference(me.fields, wanted), kept)
        if not owned:
            return result
    else:
        result = prune(converted(merged, resource, then), schema_of(then), me.fields, owned.pop(then, {}))
    at = then
    for row, fields in [*owned.items(), (resource, kept)]:
        whole, left = converted(merged, resource, row), converted(result, at, row)
        gone = compare(whole, left, schema_of(row)).removed
        result, at = prune(whole, schema_of(row), gone, fields), row
    return result
