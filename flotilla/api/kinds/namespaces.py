"""Namespace: its strategy. The finalizer ``kubernetes`` holds it until its contents are deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import each_invalid
from flotilla.api.kinds.metadata import keep_status, metadata_fields, no_warnings, validate_metadata
from flotilla.api.kinds.resource import Strategy
from flotilla.api.names import dns_label_faults, qualified_name_faults
from flotilla.api.objects import KubeObject

NAME_LABEL = "kubernetes.io/metadata.name"
FINALIZER = "kubernetes"


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


def _validate(namespace: KubeObject, old: KubeObject | None) -> list[FieldError]:
    errors = validate_metadata(namespace, name_faults=dns_label_faults)
    for finalizer in (namespace.get("spec") or {}).get("finalizers") or ():
        errors += each_invalid("spec.finalizers", finalizer, qualified_name_faults(finalizer))
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
)
