"""Applying a configuration: merge it into the live object, take away what it no longer sets, refuse conflicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from controlplane.api.apply.field_set import FieldSet, difference, intersection, paths, union
from controlplane.api.apply.managers import (
    APPLY,
    BEFORE_FIRST_APPLY,
    UPDATE,
    Manager,
    read_managers,
    write_managers,
)
from controlplane.api.apply.ownable import ownable
from controlplane.api.apply.ownership import reset_fields
from controlplane.api.apply.typed import Difference, compare, fields_of, merge
from controlplane.api.apply.versions import Changes, in_present_form, pruned
from controlplane.api.schema import TypeSchema, schema_of
from controlplane.api.subresources import applied_part
from flotilla.api.errors import ApiError, bad_request
from flotilla.api.objects import KubeObject, decode, encode, format_time
from flotilla.api.registry import REGISTRY, Registry, Resource

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_KUBECTL = "kubectl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """An apply: the configuration of ``manager``; ``force`` takes fields over from those who disagree."""

    config: KubeObject
    manager: str
    force: bool
    subresource: str = ""


def apply_config(
    resource: Resource,
    live: KubeObject | None,
    application: Application,
    *,
    now: datetime,
    registry: Registry = REGISTRY,
) -> KubeObject:
    """The object that results, with its managedFields; ``live`` is not changed. 409 Conflict, 400 for bad input."""
    schema = schema_of(resource)
    config = _bare_config(resource, application)
    known = _known_managers(resource, live, now, registry)
    bare = ownable(live) if live else {}
    try:
        wanted = fields_of(config, schema)
        merged = merge(bare, config, schema)
        me = _me(resource, application, known)
        others = [manager for manager in known if not manager.same_as(me)]
        merged = pruned(resource, merged, me, wanted, others, registry)
        changes = Changes(resource, bare, merged, registry)
        others = _settle(others, changes, live, application, resource)
        change = changes.own
    except ValueError as error:
        raise bad_request(f"failed to create typed patch object ({_place(application)}): {error}") from error
    moved = change or wanted != me.fields or me.api_version != resource.api_version
    time = format_time(now) if moved else me.time
    me = me._replace(fields=wanted, api_version=resource.api_version, time=time)
    result = _assembled(resource, live, merged, application)
    entries = write_managers([*others, me])
    if entries:
        result["metadata"]["managedFields"] = entries
    return result


def _place(application: Application) -> str:
    """What is applied, as Kubernetes' messages name it."""
    config = application.config
    metadata = config["metadata"]
    group, _, version = config["apiVersion"].rpartition("/")
    kind = f"{group}/{version}, Kind={config['kind']}"
    return f"{metadata.get('namespace', '')}/{metadata.get('name', '')}; {kind}"


def _bare_config(resource: Resource, application: Application) -> KubeObject:
    if (application.config.get("metadata") or {}).get("managedFields") is not None:
        raise bad_request("metadata.managedFields must be nil")
    config = applied_part(application.subresource, {"metadata": {}} | application.config)
    return ownable(config, without=reset_fields(resource, application.subresource))


def _known_managers(resource: Resource, live: KubeObject | None, now: datetime, registry: Registry) -> list[Manager]:
    if live is None:
        return []
    entries = live["metadata"].get("managedFields")
    if entries:
        return in_present_form(resource, live, read_managers(entries), registry)
    try:
        fields = compare({}, ownable(live), schema_of(resource)).added
    except ValueError:
        return []
    return [
        Manager(
            name=BEFORE_FIRST_APPLY,
            operation=UPDATE,
            api_version=resource.api_version,
            subresource="",
            time=format_time(now),
            fields=fields,
        )
    ]


def _me(resource: Resource, application: Application, known: Sequence[Manager]) -> Manager:
    me = Manager(
        name=application.manager,
        operation=APPLY,
        api_version=resource.api_version,
        subresource=application.subresource,
        time="",
        fields={},
    )
    return next((manager for manager in known if manager.same_as(me)), me)


def _settle(
    others: list[Manager], changes: Changes, live: KubeObject | None, application: Application, resource: Resource
) -> list[Manager]:
    """The other managers after the apply; Conflict if one of them owns what changes and ``force`` is not set."""
    found = [(other, seen) for other in others if (seen := changes.at(other.api_version)) is not None]
    if not application.force:
        _refuse_conflicts(found, live, application, resource)
    return [
        other.owning(difference(other.fields, union(_set(seen), seen.removed))) if seen else other
        for other, seen in found
    ]


def _set(change: Difference) -> FieldSet:
    return union(change.added, change.modified)


def _refuse_conflicts(
    found: Sequence[tuple[Manager, Difference]],
    live: KubeObject | None,
    application: Application,
    resource: Resource,
) -> None:
    conflicts = [(other, common) for other, seen in found if (common := intersection(other.fields, _set(seen)))]
    if not conflicts:
        return
    excused = _applied_by_client(live, application, schema_of(resource))
    remaining = [
        (other, rest)
        for other, fields in conflicts
        if (rest := difference(fields, excused) if other.api_version == resource.api_version else fields)
    ]
    if remaining:
        raise conflict_error(remaining)


def _applied_by_client(live: KubeObject | None, application: Application, schema: TypeSchema) -> FieldSet:
    """The fields that kubectl had applied from the client's side and that still are as it left them: its to change."""
    annotations = (live["metadata"].get("annotations") or {}) if live else {}
    if application.manager != _KUBECTL or live is None or LAST_APPLIED not in annotations:
        return {}
    try:
        last = ownable({"metadata": {}} | decode(annotations[LAST_APPLIED].encode()))
        since = compare(last, ownable(live), schema)
        owned = fields_of(last, schema)
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}
    for part in (since.added, since.modified, since.removed):
        owned = difference(owned, part)
    return owned


def conflict_error(conflicts: Sequence[tuple[Manager, FieldSet]]) -> ApiError:
    """409, worded as Kubernetes words it, with one cause a field."""
    found = [(manager.printed(), path) for manager, fields in conflicts for path in paths(fields)]
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {manager}", "field": path}
        for manager, path in found
    ]
    if len(found) == 1:
        message = f"Apply failed with 1 conflict: conflict with {found[0][0]}: {found[0][1]}"
    else:
        managers = sorted({manager for manager, _ in found})
        listed = [
            f"conflicts with {manager}:\n" + "\n".join(f"- {path}" for name, path in found if name == manager)
            for manager in managers
        ]
        message = f"Apply failed with {len(found)} conflicts: " + "\n".join(listed)
    return ApiError(409, "Conflict", message, details={"causes": causes})


def _assembled(resource: Resource, live: KubeObject | None, merged: KubeObject, application: Application) -> KubeObject:
    """``merged`` as a whole object again, private to the caller."""
    own = (application.config.get("metadata") or {}) if live is None else live["metadata"]
    kept = {name: value for name, value in own.items() if name not in merged.get("metadata", {})}
    kept = {name: value for name, value in kept.items() if name in _identity(live)}
    metadata = merged.get("metadata", {}) | kept
    result: KubeObject = {"apiVersion": resource.api_version, "kind": resource.kind}
    result |= {name: value for name, value in merged.items() if name != "metadata"}
    result["metadata"] = metadata
    result = decode(encode(result))
    _keep_last_applied(result, live, application)
    return result


def _identity(live: KubeObject | None) -> tuple[str, ...]:
    named = ("name", "namespace")
    if live is None:
        return named
    return (
        *named,
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    )


def _keep_last_applied(result: KubeObject, live: KubeObject | None, application: Application) -> None:
    """Keep kubectl's own annotation true, so that a later client-side apply starts from what was applied here."""
    annotations: dict[str, str] = result["metadata"].get("annotations") or {}
    before = ((live or {}).get("metadata") or {}).get("annotations") or {}
    if application.manager != _KUBECTL or LAST_APPLIED not in before:
        return
    config: dict[str, Any] = decode(encode(application.config))
    (config.get("metadata", {}).get("annotations") or {}).pop(LAST_APPLIED, None)
    result["metadata"]["annotations"] = annotations | {LAST_APPLIED: encode(config).decode() + "\n"}
