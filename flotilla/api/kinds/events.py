"""Event (core/v1): its strategy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import each_invalid, invalid, required
from flotilla.api.kinds.metadata import (
    metadata_fields,
    no_defaults,
    no_warnings,
    prepare_plain,
    prepare_plain_update,
    validate_metadata,
)
from flotilla.api.kinds.resource import Strategy
from flotilla.api.names import qualified_name_faults
from flotilla.api.objects import KubeObject

_REFERENCE_FIELDS = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_LONGEST_WORD = 128
_LONGEST_NOTE = 1024


def _namespace_faults(event: KubeObject) -> list[FieldError]:
    """Events about cluster-scoped objects live in the namespace default, new ones also in kube-system."""
    about, own = (event.get("involvedObject") or {}).get("namespace", ""), event["metadata"].get("namespace", "")
    if event.get("eventTime"):
        good = bool(about) or own in ("default", "kube-system")
    else:
        good = about == own or (not about and own == "default")
    return [] if good else [invalid("involvedObject.namespace", about, "does not match event.namespace")]


def _new_style_faults(event: KubeObject) -> list[FieldError]:
    """What an event with an ``eventTime`` must say; ``reportingController`` is Kubernetes' name for the component."""
    controller = event.get("reportingComponent") or ""
    errors = [] if controller else [required("reportingController")]
    errors += each_invalid("reportingController", controller, qualified_name_faults(controller))
    for field in ("reportingInstance", "action", "reason"):
        text = event.get(field) or ""
        if not text:
            errors.append(required(field))
        if len(text.encode()) > _LONGEST_WORD:
            errors.append(invalid(field, "", f"can have at most {_LONGEST_WORD} characters"))
    if len((event.get("message") or "").encode()) > _LONGEST_NOTE:
        errors.append(invalid("message", "", f"can have at most {_LONGEST_NOTE} characters"))
    return errors


def _validate(event: KubeObject, old: KubeObject | None) -> list[FieldError]:
    errors = validate_metadata(event) + _namespace_faults(event)
    return errors + _new_style_faults(event) if event.get("eventTime") else errors


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
