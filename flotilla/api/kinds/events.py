"""Event (core/v1): its strategy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import invalid, required, unsupported
from flotilla.api.kinds.metadata import (
    metadata_fields,
    no_defaults,
    no_warnings,
    prepare_plain,
    prepare_plain_update,
    validate_metadata,
)
from flotilla.api.kinds.resource import Strategy
from flotilla.api.objects import KubeObject

_REFERENCE_FIELDS = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_TYPES = ("Normal", "Warning")
_NEW_STYLE_FIELDS = ("reportingComponent", "reportingInstance", "action", "reason")


def _validate_namespace(event: KubeObject) -> list[FieldError]:
    """Events about cluster-scoped objects live in the namespace default."""
    about, own = (event.get("involvedObject") or {}).get("namespace", ""), event["metadata"].get("namespace", "")
    if about == own or (not about and own in ("default", "kube-system")):
        return []
    return [invalid("involvedObject.namespace", about, "does not match event.namespace")]


def _validate(event: KubeObject, old: KubeObject | None) -> list[FieldError]:
    errors = validate_metadata(event) + _validate_namespace(event)
    if not event.get("eventTime"):
        return errors
    errors += [required(field) for field in _NEW_STYLE_FIELDS if not event.get(field)]
    if event.get("type") not in _TYPES:
        errors.append(unsupported("type", event.get("type"), _TYPES))
    return errors


def _selectable_fields(event: Mapping[str, Any]) -> dict[str, str]:
    about, component = event.get("involvedObject") or {}, event.get("reportingComponent") or ""
    fields = metadata_fields(event) | {
        "reason": event.get("reason") or "",
        "reportingComponent": component,
        "source": (event.get("source") or {}).get("component") or component,
        "type": event.get("type") or "",
    }
    return fields | {f"involvedObject.{field}": about.get(field) or "" for field in _REFERENCE_FIELDS}


STRATEGY = Strategy(
    default=no_defaults,
    validate=_validate,
    prepare_for_create=prepare_plain,
    prepare_for_update=prepare_plain_update,
    warnings=no_warnings,
    selectable_fields=_selectable_fields,
)
