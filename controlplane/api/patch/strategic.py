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
from flotilla.api.objects import encode

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
        return {name: _plain(value) for name, value in patch.items() if name != _DIRECTIVE}
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
            gone = {encode(item) for item in _list_of(directive, value)}
            merged[name] = [item for item in merged.get(name) or [] if encode(item) not in gone]
        if prefix + "/" == _ORDER and name not in patch and name in merged:
            merged[name] = _ordered(merged[name], _list_of(directive, value), _key_of(schema.field(name)))


def _list_of(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise bad_request(f"{name} must be a list")
    return value


_KeyOf = Callable[[Any], bytes]


def _key_of(schema: TypeSchema) -> _KeyOf:
    """What tells the items of a list apart, as bytes, which can be looked up whatever the items are."""
    name = schema.merge_key

    def key(item: Any) -> bytes:
        if not name:
            return encode(item)
        if not isinstance(item, dict) or name not in item:
            raise ApiError(422, "Invalid", f"map: {item} does not contain declared merge key: {name}")
        return encode(item[name])

    return key


def _merge_list(current: list[Any], patch: list[Any], schema: TypeSchema, order: Any) -> list[Any]:
    if schema.merge_key:
        merged = _merge_items(current, patch, schema)
    else:
        had = {encode(item) for item in current}
        merged = [*current, *({encode(item): item for item in patch if encode(item) not in had}.values())]
    if order is None:
        return merged
    return _ordered(merged, _list_of(_ORDER, order), _key_of(schema))


def _merge_items(current: list[Any], patch: list[Any], schema: TypeSchema) -> list[Any]:
    key_of = _key_of(schema)
    items = [item for item in patch if not _is_list_directive(item)]
    if len(items) < len(patch):
        if any(item[_DIRECTIVE] == "replace" for item in patch if _is_list_directive(item)):
            return [_plain(item) for item in items]
        raise bad_request("a $patch directive without a merge key can only be replace")
    merged: dict[bytes, list[Any]] = {}
    for item in current:
        merged.setdefault(key_of(item), []).append(item)
    for item in items:
        key = key_of(item)
        if item.get(_DIRECTIVE) == "delete":
            merged.pop(key, None)
        elif key in merged:
            first, *others = merged[key]
            merged[key] = [_merge_object(first, item, schema.element), *others]
        else:
            merged[key] = [_plain(item)]
    return [item for same in merged.values() for item in same]


def _is_list_directive(item: Any) -> bool:
    return isinstance(item, dict) and item.keys() == {_DIRECTIVE}


def _ordered(merged: Sequence[Any], order: Sequence[Any], key_of: _KeyOf) -> list[Any]:
    """``merged`` with the listed items in the order demanded, in the places that listed items have."""
    wanted = {key_of(entry): position for position, entry in enumerate(order)}
    keyed = [(key_of(item), item) for item in merged]
    listed = iter(sorted((pair for pair in keyed if pair[0] in wanted), key=lambda pair: wanted[pair[0]]))
    return [next(listed)[1] if key in wanted else item for key, item in keyed]


def _plain(value: Any) -> Any:
    """``value`` as it is stored where nothing is there to merge with: without directives, nulls and deleted items."""
    if isinstance(value, dict):
        return {name: _plain(child) for name, child in value.items() if not name.startswith("$") and child is not None}
    if isinstance(value, list):
        kept = [item for item in value if not (isinstance(item, dict) and item.get(_DIRECTIVE) == "delete")]
        return [_plain(item) for item in kept if not _is_list_directive(item)]
    return value
