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
from controlplane.api.apply.ownership import ownable
from controlplane.api.apply.typed import Difference, compare, fields_of, merge, prune
from controlplane.api.schema import TypeSchema, schema_of
from flotilla.api.errors import ApiError, bad_request
from flotilla.api.objects import KubeObject, decode, encode, format_time
from flotilla.api.registry import Resource

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_KUBECTL = "kubectl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """An apply: the configuration of ``manager``; ``force`` takes fields over from those who disagree."""

    config: KubeObject
    manager: str
    force: bool
    subresource: str = ""


def apply_config(resource: Resource, live: KubeObject | None, application: Application, *, now: datetime) -> KubeObject:
    """The object that results, with its managedFields; ``live`` is not changed. 409 Conflict, 400 for bad input."""
    schema = schema_of(resource)
    config = _bare_config(resource, application)
    try:
        known = _known_managers(resource, live, schema, now)
        wanted = fields_of(config, schema)
        merged = merge(ownable(live) if live else {}, _without_nulls(config), schema)
        me = _me(resource, application, known, now)
        others = [manager for manager in known if not manager.same_as(me)]
        merged = prune(merged, schema, difference(me.fields, wanted), _all_fields(others, wanted))
        change = compare(ownable(live) if live else {}, merged, schema)
    except ValueError as error:
        raise bad_request(f"failed to create typed patch object: {error}") from error
    others = _settle(others, change, live, application, schema, now)
    result = _assembled(resource, live, merged, application)
    entries = write_managers([*others, me.with_fields(wanted, now)], now)
    if entries:
        result["metadata"]["managedFields"] = entries
    return result


def _bare_config(resource: Resource, application: Application) -> KubeObject:
    if (application.config.get("metadata") or {}).get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    config = ownable({"metadata": {}} | application.config)
    if application.subresource:
        return {name: value for name, value in config.items() if name in ("metadata", application.subresource)}
    if resource.strategy.status_subresource:
        config.pop("status", None)
    return config


def _known_managers(resource: Resource, live: KubeObject | None, schema: TypeSchema, now: datetime) -> list[Manager]:
    if live is None:
        return []
    entries = live["metadata"].get("managedFields")
    if entries:
        return read_managers(entries)
    fields = fields_of(ownable(live), schema)
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


def _me(resource: Resource, application: Application, known: Sequence[Manager], now: datetime) -> Manager:
    me = Manager(
        name=application.manager,
        operation=APPLY,
        api_version=resource.api_version,
        subresource=application.subresource,
        time=format_time(now),
        fields={},
    )
    return next((manager for manager in known if manager.same_as(me)), me)


def _all_fields(managers: Sequence[Manager], start: FieldSet) -> FieldSet:
    fields = start
    for manager in managers:
        fields = union(fields, manager.fields)
    return fields


def _settle(
    others: list[Manager],
    change: Difference,
    live: KubeObject | None,
    application: Application,
    schema: TypeSchema,
    now: datetime,
) -> list[Manager]:
    """The other managers after the apply; Conflict if one of them owns what changes and ``force`` is not set."""
    changed = union(change.added, change.modified)
    conflicts = [(other, common) for other in others if (common := intersection(other.fields, changed))]
    if conflicts and not application.force and not _excused(conflicts, live, application, schema):
        raise conflict_error(conflicts)
    lost = union(changed, change.removed)
    return [other.with_fields(difference(other.fields, lost), now) for other in others]


def _excused(
    conflicts: Sequence[tuple[Manager, FieldSet]], live: KubeObject | None, application: Application, schema: TypeSchema
) -> bool:
    """Whether kubectl only takes over what it had applied before from the client's side."""
    annotations = (live["metadata"].get("annotations") or {}) if live else {}
    if application.manager != _KUBECTL or live is None or LAST_APPLIED not in annotations:
        return False
    try:
        last = ownable({"metadata": {}} | decode(annotations[LAST_APPLIED].encode()))
        difference_now = compare(last, ownable(live), schema)
        owned = fields_of(last, schema)
    except (ValueError, TypeError, KeyError, AttributeError):
        return False
    for part in (difference_now.added, difference_now.modified, difference_now.removed):
        owned = difference(owned, part)
    return not any(difference(fields, owned) for _, fields in conflicts)


def conflict_error(conflicts: Sequence[tuple[Manager, FieldSet]]) -> ApiError:
    """409, worded as Kubernetes words it, with one cause a field."""
    found = [(manager.printed(), path) for manager, fields in conflicts for path in sorted(paths(fields))]
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


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(child) for name, child in value.items() if child is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
