"""``metadata`` of custom and embedded objects: the one part of them that is not of their own schema."""

from __future__ import annotations

from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.schema_check import check, drop_nulls
from flotilla.api.schema_source import OBJECT_META, Schema, definition, reference_of


def admit_metadata(metadata: dict[str, Any], path: str) -> tuple[list[str], list[FieldError]]:
    """Drop what ObjectMeta doesn't know, and nulls, in place: the paths dropped, and faults of wrong types."""
    report = check(OBJECT_META, metadata)
    if report.unknown:
        _prune(metadata, definition(OBJECT_META))
    drop_nulls(metadata)
    unknown = [f"{path}.{name}" for name in report.unknown]
    errors = [
        FieldError(f"{path}.{error.field}" if error.field else path, error.message, error.reason)
        for error in report.errors
    ]
    return unknown, errors


def _prune(value: Any, schema: Schema) -> None:
    reference = reference_of(schema)
    if reference:
        schema = definition(reference)
    if isinstance(value, list):
        for item in value:
            _prune(item, schema.get("items") or {})
        return
    properties = schema.get("properties")
    if not isinstance(value, dict) or properties is None:
        return
    for name in [name for name in value if name not in properties]:
        del value[name]
    for name, child in value.items():
        _prune(child, properties[name])
