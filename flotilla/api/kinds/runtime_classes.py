"""RuntimeClass: its strategy and its columns."""

from __future__ import annotations

from flotilla.api.errors import FieldError
from flotilla.api.kinds.columns import AGE, NAME, column
from flotilla.api.kinds.faults import IMMUTABLE, each_invalid, invalid
from flotilla.api.kinds.metadata import (
    metadata_fields,
    no_warnings,
    prepare_plain,
    prepare_plain_update,
    validate_labels,
    validate_metadata,
)
from flotilla.api.kinds.pod_placement import validate_tolerations
from flotilla.api.kinds.resource import Strategy
from flotilla.api.kinds.resource_requirements import validate_requirements
from flotilla.api.names import dns_label_faults
from flotilla.api.objects import KubeObject


def _default(runtime_class: KubeObject) -> None:
    scheduling = runtime_class.get("scheduling") or {}
    for toleration in scheduling.get("tolerations") or ():
        if not toleration.get("operator"):
            toleration["operator"] = "Equal"


def _validate(runtime_class: KubeObject, old: KubeObject | None) -> list[FieldError]:
    handler = runtime_class.get("handler") or ""
    errors = validate_metadata(runtime_class)
    if old is not None:
        changed = handler != (old.get("handler") or "")
        return [*errors, invalid("handler", handler, IMMUTABLE)] if changed else errors
    errors += each_invalid("handler", handler, dns_label_faults(handler))
    overhead = runtime_class.get("overhead")
    if overhead is not None:
        errors += validate_requirements({"limits": overhead.get("podFixed")}, "overhead")
    scheduling = runtime_class.get("scheduling") or {}
    errors += validate_labels(scheduling.get("nodeSelector") or {}, "scheduling.nodeSelector")
    return errors + validate_tolerations(scheduling.get("tolerations") or [], "scheduling.tolerations")


STRATEGY = Strategy(
    default=_default,
    validate=_validate,
    prepare_for_create=prepare_plain,
    prepare_for_update=prepare_plain_update,
    warnings=no_warnings,
    selectable_fields=metadata_fields,
)
COLUMNS = (
    NAME,
    column("Handler", lambda obj, now: obj.get("handler") or "", description="The runtime that runs such pods."),
    AGE,
)
