"""Recording what plain writes (create, update, patch) change, so that a later apply knows whose fields it touches.

As in Kubernetes, an object whose creation was not recorded is not recorded later either, until someone applies to it:
then everything it has belongs to ``before-first-apply``. Controllers' creations are not recorded; that halves the size
of the objects that there are most of.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from controlplane.api.apply.field_set import FieldSet, difference, union
from controlplane.api.apply.managers import UPDATE, Manager, read_managers, write_managers
from controlplane.api.apply.typed import compare
from controlplane.api.schema import schema_of
from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource

_UNOWNED_METADATA = frozenset(
    {
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "managedFields",
    }
)


def ownable(obj: Mapping[str, Any]) -> KubeObject:
    """The part of an object that managers can own."""
    metadata = {name: value for name, value in obj["metadata"].items() if name not in _UNOWNED_METADATA}
    bare = {name: value for name, value in obj.items() if name not in ("apiVersion", "kind", "metadata")}
    return bare | {"metadata": metadata} if metadata else bare


def track_write(
    resource: Resource,
    new: KubeObject,
    old: KubeObject | None,
    *,
    manager: str,
    now: datetime,
    subresource: str = "",
) -> None:
    """Set ``new``'s managedFields to what follows from a plain write by ``manager`` over ``old`` (None: a creation)."""
    sent = new["metadata"].pop("managedFields", None)
    known = _managers(sent, old)
    if known is None:
        return
    writer = Manager(
        name=manager, operation=UPDATE, api_version=resource.api_version, subresource=subresource, time="", fields={}
    )
    try:
        managers = _after_write(resource, new, old, known, writer, now)
    except ValueError:
        managers = known
    entries = write_managers(managers, now)
    if entries:
        new["metadata"]["managedFields"] = entries


def _managers(sent: Any, old: KubeObject | None) -> list[Manager] | None:
    """The managers before the write; None if the object is not recorded, or the client asked to forget them."""
    if old is None:
        return []
    before = old["metadata"].get("managedFields")
    if not before or sent == [{}]:
        return None
    try:
        return read_managers(sent or before)
    except ValueError:
        return read_managers(before)


def _after_write(
    resource: Resource, new: KubeObject, old: KubeObject | None, known: list[Manager], writer: Manager, now: datetime
) -> list[Manager]:
    before = ownable(old) if old is not None else {}
    change = compare(before, ownable(new), schema_of(resource))
    gained = union(change.added, change.modified)
    return assign(known, writer, gained, change.removed, now)


def assign(known: list[Manager], writer: Manager, gained: FieldSet, removed: FieldSet, now: datetime) -> list[Manager]:
    """Give ``gained`` to ``writer`` alone, and take ``removed`` from everybody."""
    lost = union(gained, removed)
    result: list[Manager] = []
    own = writer
    for manager in known:
        if manager.same_as(writer):
            own = manager
        elif lost:
            result.append(manager.with_fields(difference(manager.fields, lost), now))
        else:
            result.append(manager)
    return [*result, own.with_fields(union(difference(own.fields, removed), gained), now)]
