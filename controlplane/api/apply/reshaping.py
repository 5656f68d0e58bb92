"""Sets of fields that were recorded by an older schema, in the form of the present one.

What was merged part by part and is one value now is owned as a whole by whoever owned a part of it; what was one value
and is merged now is owned with all its parts by whoever owned it. Source: ``sigs.k8s.io/structured-merge-diff``
(``typed/reconcile_schema.go``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlplane.api.apply.field_set import MEMBER, FieldSet, as_member, leaf
from controlplane.api.apply.typed import fields_of, item_key
from controlplane.api.schema import TypeSchema


def reshaped(fields: FieldSet, value: Any, schema: TypeSchema) -> FieldSet:
    """``fields`` of ``value`` by ``schema``; the very set if that changes nothing."""
    result = fields
    children = _children(value, schema)
    for key, node in fields.items():
        if key == MEMBER or key.startswith("v:"):
            continue
        inner = schema.field(key[2:]) if key.startswith("f:") else schema.element
        changed = _reshaped_node(node, children.get(key), inner)
        if changed is not node:
            if result is fields:
                result = dict(fields)
            result[key] = changed
    return result


def _children(value: Any, schema: TypeSchema) -> Mapping[str, Any]:
    """The parts of a value by their path elements; none of a list whose items lack keys."""
    if isinstance(value, dict):
        return {f"f:{name}": child for name, child in value.items()}
    try:
        return {item_key(schema, item): item for item in value} if isinstance(value, list) else {}
    except ValueError:
        return {}


def _reshaped_node(node: FieldSet, value: Any, schema: TypeSchema) -> FieldSet:
    if not node:
        return as_member(_parts(value, schema))
    if schema.atomic:
        return leaf()
    return reshaped(node, value, schema)


def _parts(value: Any, schema: TypeSchema) -> FieldSet:
    """What a value is made of; nothing for one that is replaced as a whole or whose items lack keys."""
    try:
        return fields_of(value, schema)
    except ValueError:
        return leaf()
