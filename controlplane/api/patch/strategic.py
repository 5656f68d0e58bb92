"""Strategic merge patch: a merge patch that pairs the items of lists by the key that the schema names.

Directives: ``$patch: replace|delete|merge`` in an object or an item, ``$retainKeys``, ``$setElementOrder/<list>`` and
``$deleteFromPrimitiveList/<list>``. A merged list has the patch's items in the patch's order (or in that of
``$setElementOrder``), and between them the others where the order of the stored list allows it. Source: the strategic
merge patch page of the Kubernetes API conventions and ``k8s.io/apimachinery/pkg/util/strategicpatch``.
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

_KeyOf = Callable[[Any], bytes]


def apply_strategic_patch(document: dict[str, Any], patch: Any, schema: TypeSchema) -> dict[str, Any]:
    """The patched document. BadRequest for a malformed patch. Shares with its arguments what it did not rebuild."""
    if not isinstance(patch, dict):
        raise bad_request("a strategic merge patch must be an object")
    return _merge_object(document, patch, schema)


def _merge_object(document: dict[str, Any], patch: dict[str, Any], schema: TypeSchema) -> dict[str, Any]:
    directive = patch.get(_DIRECTIVE)
    if directive == "replace":
        return _plain_object(patch)
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f"Unknown patch type found: {directive}")
    merged = _retained(document, patch)
    for name, value in patch.items():
        if not name.startswith("$"):
            _merge_field(merged, name, value, schema.field(name))
    _apply_list_directives(document, merged, patch, schema)
    return merged


def _merge_field(merged: dict[str, Any], name: str, value: Any, schema: TypeSchema) -> None:
    current = merged.get(name)
    if isinstance(value, dict) and isinstance(current, dict) and "replace" not in schema.patch_strategies:
        merged[name] = _merge_object(current, value, schema)
    elif value is None or _is_deletion(value):
        merged.pop(name, None)
    elif isinstance(value, list) and isinstance(current, list) and "merge" in schema.patch_strategies:
        merged[name] = _merge_list(current, value, schema)
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


def _apply_list_directives(
    document: dict[str, Any], merged: dict[str, Any], patch: dict[str, Any], schema: TypeSchema
) -> None:
    """Take scalars out of lists, then bring lists into the order that the patch demands."""
    for directive, value in patch.items():
        if directive.startswith(_DELETE_PRIMITIVES):
            name = directive.removeprefix(_DELETE_PRIMITIVES)
            gone = {encode(item) for item in _list_of(directive, value)}
            if isinstance(merged.get(name), list):
                merged[name] = [item for item in merged[name] if encode(item) not in gone]
    for directive, value in patch.items():
        if directive.startswith(_ORDER):
            name = directive.removeprefix(_ORDER)
            key_of = _key_of(schema.field(name))
            order = _list_of(directive, value)
            _check_order(name, patch.get(name), order, key_of)
            if isinstance(merged.get(name), list):
                merged[name] = _ordered(merged[name], order, key_of, stored=document.get(name) or [])


def _check_order(name: str, items: Any, order: Sequence[Any], key_of: _KeyOf) -> None:
    """BadRequest unless the patch's own items stand in the order that it demands."""
    if not isinstance(items, list):
        return
    wanted = iter([key_of(entry) for entry in order])
    for item in items:
        if not (isinstance(item, dict) and _DIRECTIVE in item) and key_of(item) not in wanted:
            raise bad_request(f"The order in patch list {name} doesn't match the {_ORDER}{name} list")


def _list_of(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise bad_request(f"{name} must be a list")
    return value


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


def _merge_list(current: list[Any], patch: list[Any], schema: TypeSchema) -> list[Any]:
    key_of = _key_of(schema)
    if schema.merge_key:
        items = [item for item in patch if not (isinstance(item, dict) and _DIRECTIVE in item)]
        kept = _kept(current, patch, schema, key_of)
        merged = _merge_items(kept, items, schema, key_of)
    else:
        items, kept = patch, current
        merged = list({encode(item): item for item in (*current, *patch)}.values())
    return _ordered(merged, items, key_of, stored=kept)


def _kept(current: list[Any], patch: list[Any], schema: TypeSchema, key_of: _KeyOf) -> list[Any]:
    """The stored items that the directives among the patch's items leave."""
    gone: set[bytes] = set()
    for item in patch:
        directive = item.get(_DIRECTIVE) if isinstance(item, dict) else None
        if directive == "replace":
            return []
        if directive == "delete":
            if schema.merge_key not in item:
                raise bad_request("delete patch type with no merge key defined")
            gone.add(key_of(item))
        elif directive == "merge":
            raise bad_request("merging lists cannot yet be specified in the patch")
        elif directive is not None:
            raise bad_request(f"Unknown patch type found: {directive}")
    return [item for item in current if key_of(item) not in gone] if gone else current


def _merge_items(current: list[Any], items: list[Any], schema: TypeSchema, key_of: _KeyOf) -> list[Any]:
    """Each item merged into the first one of its key; others of that key stay, because the key may not be the whole."""
    merged = list(current)
    places: dict[bytes, int] = {}
    for place, item in enumerate(current):
        places.setdefault(key_of(item), place)
    for item in items:
        place = places.setdefault(key_of(item), len(merged))
        if place < len(merged):
            merged[place] = _merge_object(merged[place], item, schema.element)
        else:
            merged.append(_plain(item))
    return merged


def _ordered(merged: Sequence[Any], order: Sequence[Any], key_of: _KeyOf, *, stored: Sequence[Any]) -> list[Any]:
    """The items of ``order`` in that order, each of the others before the first of these that it stood before."""
    wanted: dict[bytes, int] = {}
    for entry in order:
        wanted.setdefault(key_of(entry), len(wanted))
    keyed = [(key_of(item), item) for item in merged]
    listed = sorted((pair for pair in keyed if pair[0] in wanted), key=lambda pair: wanted[pair[0]])
    others = [pair for pair in keyed if pair[0] not in wanted]
    places: dict[bytes, int] = {}
    for item in stored:
        places.setdefault(key_of(item), len(places))
    result: list[Any] = []
    at = 0
    for key, item in listed:
        while at < len(others) and places.get(others[at][0], len(places)) < places.get(key, -1):
            result.append(others[at][1])
            at += 1
        result.append(item)
    return result + [item for _, item in others[at:]]


def _is_deletion(value: Any) -> bool:
    return isinstance(value, dict) and value.get(_DIRECTIVE) == "delete"


def _plain_object(value: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _plain(child)
        for name, child in value.items()
        if not name.startswith("$") and child is not None and not _is_deletion(child)
    }


def _plain(value: Any) -> Any:
    """``value`` as it is stored where nothing is there to merge with: without directives, nulls and deleted items."""
    if isinstance(value, dict):
        return _plain_object(value)
    if isinstance(value, list):
        return [_plain(item) for item in value if not _is_deletion(item) and not _is_directive_alone(item)]
    return value


def _is_directive_alone(item: Any) -> bool:
    return isinstance(item, dict) and item.keys() == {_DIRECTIVE}
