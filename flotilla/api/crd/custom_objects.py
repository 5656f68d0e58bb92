"""The strategy of a version of a custom kind: its rules come from its schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flotilla.api.crd.json_path import simple_fields
from flotilla.api.crd.rules import RuleRun
from flotilla.api.crd.schemas import CompiledSchema
from flotilla.api.crd.shaping import complete
from flotilla.api.crd.structural import Node
from flotilla.api.crd.validation import MISSING
from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import required
from flotilla.api.kinds.metadata import metadata_fields, no_warnings, validate_metadata
from flotilla.api.kinds.resource import Strategy
from flotilla.api.objects import KubeObject
from flotilla.api.schema_check import Path, path_text

_BLOCKING = frozenset(
    {"FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"}
)
_NOT_CHECKED = FieldError(
    "<nil>",
    "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing "
    "errors to complete validation",
)


def strategy_of(schema: CompiledSchema, *, status: bool, selectable: Sequence[str]) -> Strategy:
    """The strategy of one version; ``status`` tells whether it has the subresource."""
    spec_parts = ("apiVersion", "kind", "metadata", "status") if status else ("apiVersion", "kind", "metadata")

    def desired(obj: KubeObject) -> KubeObject:
        return {name: value for name, value in obj.items() if name not in spec_parts}

    def prepare_for_create(obj: KubeObject) -> None:
        if status:
            obj.pop("status", None)
        obj["metadata"]["generation"] = 1

    def prepare_for_update(obj: KubeObject, old: KubeObject) -> None:
        if status and "status" in old:
            obj["status"] = old["status"]
        elif status:
            obj.pop("status", None)
        changed = desired(obj) != desired(old)
        obj["metadata"]["generation"] = old["metadata"].get("generation", 1) + changed

    def default(obj: KubeObject) -> None:
        complete(obj, schema.node)

    def validate(obj: KubeObject, old: KubeObject | None) -> list[FieldError]:
        return _faults(schema, obj, old)

    return Strategy(
        default=default,
        validate=validate,
        prepare_for_create=prepare_for_create,
        prepare_for_update=prepare_for_update,
        warnings=no_warnings,
        selectable_fields=_selectable(selectable),
        status_subresource=status,
    )


def _faults(schema: CompiledSchema, obj: KubeObject, old: KubeObject | None) -> list[FieldError]:
    before: Any = MISSING if old is None else old
    errors = validate_metadata(obj)
    schema.check(obj, before, (), errors)
    _check_embedded(obj, schema.node, (), errors)
    rules = schema.rules
    if rules is None:
        return errors
    if any(error.reason in _BLOCKING for error in errors):
        return [*errors, _NOT_CHECKED]
    return errors + RuleRun().judge(obj, before, rules)


def _check_embedded(value: Any, node: Node, path: Path, errors: list[FieldError]) -> None:
    """Whole objects inside of others have a kind and valid metadata."""
    if not node.embeds:
        return
    if isinstance(value, list):
        if node.items is not None:
            for index, item in enumerate(value):
                _check_embedded(item, node.items, (path, index), errors)
        return
    if not isinstance(value, dict):
        return
    if node.embedded:
        errors.extend(
            required(path_text((path, name)), "must not be empty")
            for name in ("apiVersion", "kind")
            if not value.get(name)
        )
        if isinstance(value.get("metadata"), dict) and value["metadata"].get("name"):
            prefix = path_text(path)
            errors.extend(
                FieldError(f"{prefix}.{error.field}", error.message, error.reason)
                for error in validate_metadata({"metadata": value["metadata"]})
            )
    for name, child in value.items():
        part = node.child(name)
        if part is not None and isinstance(child, dict | list):
            _check_embedded(child, part, (path, name), errors)


def _selectable(paths: Sequence[str]) -> Callable[[Mapping[str, Any]], dict[str, str]]:
    steps = [(path.removeprefix("."), simple_fields(path)) for path in paths]

    def fields(obj: Mapping[str, Any]) -> dict[str, str]:
        return metadata_fields(obj) | {name: _text(obj, names) for name, names in steps}

    return fields


def _text(obj: Mapping[str, Any], names: Sequence[str]) -> str:
    value: Any = obj
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else ""
