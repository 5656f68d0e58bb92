"""Strategic merge patch: a merge patch that pairs the items of lists by the key that the schema names.

Directives: ``$patch: replace|delete|merge`` in an object or an item, ``$retainKeys``, ``$setElementOrder/<list>`` and
``$deleteFromPrimitiveList/<list>``. Source: the strategic merge patch page of the Kubernetes API conventions and
``k8s.io/apimachinery/pkg/util/strategicpatch``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from controlplane.api.schema import TypeSchema
from flotilla.api.errors import ApiError, bad_request

_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_ORDER = "$setElementOrder/"
_DELETE_PRIMITIVES = "$deleteFromPrimitiveList/"


def apply_strategic_patch(document: dict[str, Any], patch: Any, schema: TypeSchema) -> dict[str, Any]:
    """The patched document. BadRequest for a malformed patch. Shares with its arguments what it did not rebuild."""
    if not isinstance(patch, dict):
        raise bad_request("a strategic merge patch must be an object")
    return _merge_object(document, patch, schema)


def _merge_object(document: dict[str, Any], patch: dict[str, Any], schema: TypeSchema) -> dict[str, Any]:
    directive = patch.get(_DIRECTIVE)
    if directive == "replace":
        return _plain({name: value for name, value in patch.items() if name != _DIRECTIVE})
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f"Unknown patch type found: {directive}")
    merged = _retained(document, patch)
    for name, value in patch.items():
        if not name.startswith("$"):
            _merge_field(merged, name, value, patch, schema.field(name))
    _reorder_untouched(merged, patch, schema)
    return merged


def _merge_field(merged: dict[str, Any], name: str, value: Any, patch: dict[str, Any], schema: TypeSchema) -> None:
    if value is None:
        merged.pop(name, None)
    elif isinstance(value, dict):
        current = merged.get(name)
        if isinstance(current, dict) and "replace" not in schema.patch_strategies:
            merged[name] = _merge_object(current, value, schema)
        elif value.get(_DIRECTIVE) == "delete":
            merged.pop(name, None)
        else:
            merged[name] = _plain(value)
    elif isinstance(value, list) and "merge" in schema.patch_strategies:
        order = patch.get(_ORDER + name)
        merged[name] = _merge_list(merged.get(name) or [], value, schema, order)
    else:
        merged[name] = _plain(value)


def _retained(document: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    keys = patch.get(_RETAIN)
    if keys is None:
        return dict(document)
    if not isinstance(keys, list):
        raise bad_request(f"{_RETAIN} must be a list of fields")
    unknown = [name for name in patch if not name.startswith("$") and patch[name] is not None and name not in keys]
    if unknown:
        raise bad_request(f"{_RETAIN} directive must contain the fields that the patch sets: {unknown} is missing")
    return {name: value for name, value in document.items() if name in keys}


def _reorder_untouched(merged: dict[str, Any], patch: dict[str, Any], schema: TypeSchema) -> None:
    """Lists of which a patch names only an order or deletions, without items."""
    for directive, value in patch.items():
        prefix, _, name = directive.partition("/")
        if prefix + "/" == _DELETE_PRIMITIVES:
            merged[name] = [item for item in merged.get(name) or [] if item not in _list_of(directive, value)]
        if prefix + "/" == _ORDER and name not in patch and name in merged:
            merged[name] = _ordered(merged[name], [], _list_of(directive, value), _key_of(schema.field(name)))


def _list_of(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise bad_request(f"{name} must be a list")
    return value


_KeyOf = Callable[[Any], Any]


def _key_of(schema: TypeSchema) -> _KeyOf:
    name = schema.merge_key

    def key(item: Any) -> Any:
        if not name:
            return item
        if not isinstance(item, dict) or name not in item:
            raise ApiError(422, "Invalid", f"map: {item} does not contain declared merge key: {name}")
        return item[name]

    return key


def _merge_list(current: list[Any], patch: list[Any], schema: TypeSchema, order: Any) -> list[Any]:
    if schema.merge_key:
        merged = _merge_items(current, patch, schema)
    else:
        merged = [*current, *(item for index, item in enumerate(patch) if item not in current + patch[:index])]
    if order is None:
        return merged
    return _ordered(merged, patch, _list_of(_ORDER, order), _key_of(schema))


def _merge_items(current: list[Any], patch: list[Any], schema: TypeSchema) -> list[Any]:
    key_of = _key_of(schema)
    items = [item for item in patch if not _is_list_directive(item)]
    if len(items) < len(patch):
        if any(item[_DIRECTIVE] == "replace" for item in patch if _is_list_directive(item)):
            return [_plain(item) for item in items]
        raise bad_request("a $patch directive without a merge key can only be replace")
    merged = list(current)
    for item in items:
        key = key_of(item)
        found = next((index for index, other in enumerate(merged) if key_of(other) == key), None)
        if item.get(_DIRECTIVE) == "delete":
            merged = [other for other in merged if key_of(other) != key]
        elif found is None:
            merged.append(_plain(item))
        else:
            merged[found] = _merge_object(merged[found], item, schema.element)
    return merged


def _is_list_directive(item: Any) -> bool:
    return isinstance(item, dict) and item.keys() == {_DIRECTIVE}


def _ordered(merged: Sequence[Any], patch: Sequence[Any], order: Sequence[Any], key_of: _KeyOf) -> list[Any]:
    """``merged`` in the order that the patch demands; items that only the server has keep what they come after."""
    wanted = [key_of(entry) for entry in order]
    listed = sorted((item for item in merged if key_of(item) in wanted), key=lambda item: wanted.index(key_of(item)))
    result: list[Any] = []
    pending = list(listed)
    for item in merged:
        if key_of(item) in wanted:
            if pending:
                result.append(pending.pop(0))
        else:
            result.append(item)
    return result + pending


def _plain(value: Any) -> Any:
    """``value`` as it is stored where nothing is there to merge with: without directives, nulls and deleted items."""
    if isinstance(value, dict):
        return {name: _plain(child) for name, child in value.items() if not name.startswith("$") and child is not None}
    if isinstance(value, list):
        kept = [item for item in value if not (isinstance(item, dict) and item.get(_DIRECTIVE) == "delete")]
        return [_plain(item) for item in kept if not _is_list_directive(item)]
    return value
