"""CustomResourceDefinition: its strategy and its table columns."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flotilla.api.conditions import set_condition
from flotilla.api.crd.definition_rules import validate_definition
from flotilla.api.crd.formats import FORMATS
from flotilla.api.kinds.columns import NAME, column
from flotilla.api.kinds.metadata import carry_generation, metadata_fields
from flotilla.api.kinds.resource import Strategy
from flotilla.api.objects import KubeObject

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
_KNOWN_FORMATS = frozenset({*FORMATS, "double", "float", "int32", "int64", "int-or-string", "password", "binary"})
_MOST_WARNINGS = 20


def storage_version(crd: KubeObject) -> str:
    """The name of the version that objects are stored in, ``""`` where none is marked."""
    versions = (crd.get("spec") or {}).get("versions") or ()
    return next((version.get("name") or "" for version in versions if version.get("storage")), "")


def _default(crd: KubeObject) -> None:
    spec = crd.setdefault("spec", {})
    names = spec.setdefault("names", {})
    kind = names.get("kind") or ""
    names["singular"] = names.get("singular") or kind.lower()
    names["listKind"] = names.get("listKind") or (f"{kind}List" if kind else "")
    conversion = spec.get("conversion") or {}
    spec["conversion"] = conversion | {"strategy": conversion.get("strategy") or "None"}


def _prepare_for_create(crd: KubeObject) -> None:
    crd["metadata"]["generation"] = 1
    stored = storage_version(crd)
    crd["status"] = {
        "acceptedNames": {"plural": "", "kind": ""},
        "conditions": [],
        "storedVersions": [stored] if stored else [],
    }


def _prepare_for_update(crd: KubeObject, old: KubeObject) -> None:
    carry_generation(crd, old)
    stored, status = storage_version(crd), crd.get("status") or {}
    known = status.get("storedVersions") or []
    if stored and stored not in known:
        crd["status"] = status | {"storedVersions": [*known, stored]}


def _prepare_for_delete(crd: KubeObject, now: datetime) -> None:
    """Its objects go before it does."""
    metadata = crd["metadata"]
    finalizers = metadata.get("finalizers") or []
    if CLEANUP not in finalizers:
        metadata["finalizers"] = [*finalizers, CLEANUP]
    set_condition(
        crd.setdefault("status", {}).setdefault("conditions", []),
        "Terminating",
        status="True",
        reason="InstanceDeletionPending",
        message="CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        now=now,
    )


def _unknown_formats(schema: Any, found: set[str]) -> None:
    if isinstance(schema, list):
        for part in schema:
            _unknown_formats(part, found)
    if not isinstance(schema, dict):
        return
    format_ = schema.get("format")
    if isinstance(format_, str) and format_ not in _KNOWN_FORMATS:
        found.add(format_)
    for part in (schema.get("properties") or {}).values():
        _unknown_formats(part, found)
    for word in ("items", "additionalProperties", "not", "allOf", "anyOf", "oneOf"):
        _unknown_formats(schema.get(word), found)


def _warnings(crd: KubeObject) -> list[str]:
    warnings: list[str] = []
    for index, version in enumerate(crd["spec"].get("versions") or ()):
        found: set[str] = set()
        _unknown_formats((version.get("schema") or {}).get("openAPIV3Schema"), found)
        path = f"spec.versions[{index}].schema.openAPIV3Schema"
        warnings += [f'{path}: unrecognized format "{format_}"' for format_ in sorted(found)]
    return warnings[:_MOST_WARNINGS]


STRATEGY = Strategy(
    default=_default,
    validate=validate_definition,
    prepare_for_create=_prepare_for_create,
    prepare_for_update=_prepare_for_update,
    warnings=_warnings,
    selectable_fields=metadata_fields,
    status_subresource=True,
    prepare_for_delete=_prepare_for_delete,
)
COLUMNS = (
    NAME,
    column(
        "Created At",
        lambda crd, now: crd["metadata"].get("creationTimestamp"),
        description="When the definition was created, in UTC.",
        type_="date",
    ),
)
