"""Namespace: its strategy. The finalizer ``kubernetes`` holds it until its contents are deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import each_invalid, invalid
from flotilla.api.kinds.metadata import keep_status, metadata_fields, no_warnings, validate_metadata
from flotilla.api.kinds.resource import Strategy
from flotilla.api.names import dns_label_faults, qualified_name_faults
from flotilla.api.objects import KubeObject

NAME_LABEL = "kubernetes.io/metadata.name"
FINALIZER = "kubernetes"
_STANDARD_FINALIZERS = (FINALIZER, "orphan", "foregroundDeletion")
_UNQUALIFIED = "name is neither a standard finalizer name nor is it fully qualified"


def _default(namespace: KubeObject) -> None:
    metadata = namespace["metadata"]
    if metadata.get("name"):
        metadata["labels"] = {**(metadata.get("labels") or {}), NAME_LABEL: metadata["name"]}


def _prepare_for_create(namespace: KubeObject) -> None:
    namespace["status"] = {"phase": "Active"}
    spec = namespace.setdefault("spec", {})
    if FINALIZER not in (spec.get("finalizers") or ()):
        spec["finalizers"] = [*(spec.get("finalizers") or ()), FINALIZER]


def _prepare_for_update(namespace: KubeObject, old: KubeObject) -> None:
    """Finalizers change through the ``finalize`` subresource only."""
    keep_status(namespace, old)
    if "spec" in old:
        namespace["spec"] = old["spec"]


def _validate_status(subresource: str, namespace: KubeObject, old: KubeObject) -> list[FieldError]:
    """A namespace is being terminated exactly when it is deleted."""
    if subresource != "status":
        return []
    phase = (namespace.get("status") or {}).get("phase") or "Active"
    expected = "Terminating" if namespace["metadata"].get("deletionTimestamp") else "Active"
    if phase == expected:
        return []
    when = "is not empty" if expected == "Terminating" else "is empty"
    return [invalid("status.Phase", phase, f"may only be '{expected}' if `deletionTimestamp` {when}")]


def _validate(namespace: KubeObject, old: KubeObject | None) -> list[FieldError]:
    errors = validate_metadata(namespace, name_faults=dns_label_faults)
    for finalizer in (namespace.get("spec") or {}).get("finalizers") or ():
        faults = qualified_name_faults(finalizer)
        errors += each_invalid("spec.finalizers", finalizer, faults)
        if not faults and "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
            errors.append(invalid("spec.finalizers", finalizer, _UNQUALIFIED))
    return errors


def _selectable_fields(namespace: Mapping[str, Any]) -> dict[str, str]:
    return metadata_fields(namespace) | {"status.phase": (namespace.get("status") or {}).get("phase", "")}


STRATEGY = Strategy(
    default=_default,
    validate=_validate,
    prepare_for_create=_prepare_for_create,
    prepare_for_update=_prepare_for_update,
    warnings=no_warnings,
    selectable_fields=_selectable_fields,
    status_subresource=True,
    validate_subresource=_validate_status,
)
