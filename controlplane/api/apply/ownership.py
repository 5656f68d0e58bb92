"""Recording what plain writes (create, update, patch) change, so that a later apply knows whose fields it touches.

Every creation is recorded, as in Kubernetes, those of controllers too: what is owned by nobody can be taken over from
everybody. An object whose record a client has dropped (``managedFields: [{}]``) is not recorded again until someone
applies to it: then everything it has belongs to ``before-first-apply``.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from controlplane.api.apply.field_set import difference, union
from controlplane.api.apply.managers import (
    UPDATE,
    Manager,
    cap_updaters,
    read_managers,
    read_sent_managers,
    write_managers,
)
from controlplane.api.apply.ownable import ownable
from controlplane.api.apply.versions import Changes, in_present_form
from flotilla.api.objects import KubeObject, format_time
from flotilla.api.registry import REGISTRY, Registry, Resource


def reset_fields(resource: Resource, subresource: str) -> Collection[str]:
    """The parts of the object that a write of this kind can't change, so that its writer never comes to own them."""
    if subresource == "status":
        return ("spec",) if resource.shape is None else ("metadata", "spec")
    return ("status",) if resource.strategy.status_subresource else ()


def track_write(
    resource: Resource,
    new: KubeObject,
    old: KubeObject | None,
    *,
    manager: str,
    now: datetime,
    subresource: str = "",
    registry: Registry = REGISTRY,
) -> None:
    """Set ``new``'s managedFields to what follows from a plain write by ``manager`` over ``old`` (None: a creation)."""
    sent = new["metadata"].pop("managedFields", None)
    known = _managers(sent, old, subresource)
    if old is not None:
        known = in_present_form(resource, old, known, registry)
    if not known and old is not None:
        return
    writer = Manager(
        name=manager, operation=UPDATE, api_version=resource.api_version, subresource=subresource, time="", fields={}
    )
    try:
        known = _after_write(_changes(resource, new, old, subresource, registry), known, writer, now)
    except ValueError:
        pass  # an object without the keys of its own lists: nothing can be said of who set what
    entries = write_managers(known)
    if entries:
        new["metadata"]["managedFields"] = entries


def _managers(sent: Any, old: KubeObject | None, subresource: str) -> list[Manager]:
    """The managers before the write: those that the client sent where it may, those of the object otherwise."""
    if old is None:
        return []
    before = old["metadata"].get("managedFields")
    if subresource or not sent or sent == before:
        return read_managers(before)
    if sent == [{}]:
        return []
    try:
        return read_sent_managers(sent)
    except ValueError:
        return read_managers(before)


def _changes(
    resource: Resource, new: KubeObject, old: KubeObject | None, subresource: str, registry: Registry
) -> Changes:
    without = reset_fields(resource, subresource)
    before = ownable(old, without=without) if old is not None else {}
    chosen = resource.strategy.without_chosen if old is None else None
    return Changes(resource, before, ownable(chosen(new) if chosen else new, without=without), registry)


def _after_write(changes: Changes, known: list[Manager], writer: Manager, now: datetime) -> list[Manager]:
    """Give what was set to ``writer`` alone, and take what went from everybody.

    The writer's time is that of the last write in which it set something.
    """
    change = changes.own
    if not change:
        return known
    result: list[Manager] = []
    own = writer
    for manager in known:
        seen = changes.at(manager.api_version)
        if manager.same_as(writer):
            own = manager
        elif seen is not None:
            lost = union(union(seen.added, seen.modified), seen.removed)
            result.append(manager.owning(difference(manager.fields, lost)))
    gained = union(change.added, change.modified)
    fields = union(difference(own.fields, change.removed), gained)
    time = format_time(now) if gained else own.time
    return cap_updaters([*result, own._replace(fields=fields, time=time)], now)
