"""Event of events.k8s.io/v1: a view of the core/v1 object under other names, and with stricter rules.

Source: ``pkg/apis/events/v1/conversion.go`` and ``pkg/apis/core/validation/events.go``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds import events
from flotilla.api.kinds.faults import IMMUTABLE, invalid, required
from flotilla.api.kinds.resource import Column
from flotilla.api.objects import KubeObject

_NAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "reportingComponent": "reportingController",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
}
_STORED_NAMES = {viewed: stored for stored, viewed in _NAMES.items()}
_MUST_BE_UNSET = ("firstTimestamp", "lastTimestamp", "count", "source")
_FIXED = (
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingComponent",
    "reportingInstance",
)


def from_stored(stored: KubeObject) -> KubeObject:
    """The events.k8s.io/v1 form of a core/v1 event."""
    return {_NAMES.get(name, name): value for name, value in stored.items()} | {"apiVersion": "events.k8s.io/v1"}


def to_stored(viewed: KubeObject) -> KubeObject:
    """The core/v1 form of an events.k8s.io/v1 event. ``involvedObject`` is always there, as core/v1 demands."""
    stored = {_STORED_NAMES.get(name, name): value for name, value in viewed.items()}
    return {"involvedObject": {}} | stored | {"apiVersion": "v1"}


def _series_faults(event: Mapping[str, Any]) -> list[FieldError]:
    series = event.get("series")
    if series is None:
        return []
    errors: list[FieldError] = []
    if (series.get("count") or 0) < 2:
        errors.append(invalid("series.count", "", "should be at least 2"))
    if not series.get("lastObservedTime"):
        errors.append(required("series.lastObservedTime"))
    return errors


def _creation_faults(event: Mapping[str, Any]) -> list[FieldError]:
    errors = _series_faults(event)
    if not event.get("eventTime"):
        errors.append(required("eventTime"))
    if event.get("type") not in ("Normal", "Warning"):
        errors.append(invalid("type", "", f"has invalid value: {event.get('type') or ''}"))
    return errors + [invalid(name, "", "needs to be unset") for name in _MUST_BE_UNSET if event.get(name)]


def _update_faults(event: Mapping[str, Any], old: Mapping[str, Any]) -> list[FieldError]:
    errors = _series_faults(event) if event.get("series") != old.get("series") else []
    changed = [name for name in _FIXED if (event.get(name) or None) != (old.get(name) or None)]
    return errors + [invalid(name, event.get(name), IMMUTABLE) for name in changed]


def _validate(viewed: KubeObject, old: KubeObject | None) -> list[FieldError]:
    """Core's rules, then the strict ones; faults carry the names of the stored fields, as in Kubernetes."""
    event, before = to_stored(viewed), to_stored(old) if old is not None else None
    errors = events.STRATEGY.validate(event, before)
    return errors + (_creation_faults(event) if before is None else _update_faults(event, before))


def _selectable_fields(viewed: Mapping[str, Any]) -> dict[str, str]:
    fields = events.STRATEGY.selectable_fields(to_stored(dict(viewed)))
    del fields["source"]
    fields["reportingController"] = fields.pop("reportingComponent")
    return {name.replace("involvedObject.", "regarding."): value for name, value in fields.items()}


def viewed_column(column: Column) -> Column:
    """A column of core/v1 events for those of events.k8s.io/v1."""
    return replace(column, value=lambda viewed, now: column.value(to_stored(viewed), now))


STRATEGY = replace(events.STRATEGY, validate=_validate, selectable_fields=_selectable_fields)
