"""Objects walked by their schema: the fields they set, how two differ, how one is merged into another.

What nobody has touched is never walked: equal parts are compared as a whole, and most writes change little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from controlplane.api.apply.field_set import MEMBER, FieldSet, is_member, leaf
from controlplane.api.schema import TypeSchema

_encoder = msgspec.json.Encoder(order="sorted")
_CONTAINERS = (dict, list)
_Groups = dict[str, list[Any]]


def item_key(schema: TypeSchema, item: Any) -> str:
    """The path element of an item in a list that is a map or a set. ValueError if the item lacks its keys."""
    if schema.list_type == "set":
        if item is None or isinstance(item, dict | list):
            raise ValueError("associative list without keys has an element that is no scalar")
        return f"v:{_encoder.encode(item).decode()}"
    if not isinstance(item, dict):
        raise ValueError("associative list with keys may not have non-map elements")
    keys: dict[str, Any] = {}
    for name, default in schema.list_keys.items():
        value = item.get(name, default)
        if value is None:
            message = f'associative list with keys has an element that omits key field "{name}"'
            raise ValueError(f"{message} (and doesn't have default value)")
        keys[name] = value
    return f"k:{_encoder.encode(keys).decode()}"


def _groups(schema: TypeSchema, items: Sequence[Any] | None) -> _Groups:
    """The items of an associative list by their path elements; stored lists may hold several of one key."""
    groups: _Groups = {}
    for item in items or ():
        groups.setdefault(item_key(schema, item), []).append(item)
    return groups


def fields_of(value: Any, schema: TypeSchema, *, path: str = "") -> FieldSet:
    """The fields that a configuration sets. ValueError, naming the place, for items without keys or of equal keys."""
    if schema.replaces(value):
        return leaf()
    if isinstance(value, list):
        return _item_fields(value, schema, path)
    result: FieldSet = {}
    for name, child in value.items():
        inner = fields_of(child, schema.field(name), path=f"{path}.{name}") if child is not None else {}
        if name not in schema.properties:
            result[f"f:{name}"] = {MEMBER: {}, **inner} if inner else {}
        elif inner or child == {} or schema.field(name).replaces(child):
            result[f"f:{name}"] = inner
    return result


def _item_fields(items: list[Any], schema: TypeSchema, path: str) -> FieldSet:
    result: FieldSet = {}
    for item in items:
        try:
            key = item_key(schema, item)
        except ValueError as error:
            raise ValueError(f"{path}: element {len(result)}: {error}") from error
        if key in result:
            raise ValueError(f"{path}: duplicate entries for key {_shown(key)}")
        inner = fields_of(item, schema.element, path=path + _shown(key))
        result[key] = {MEMBER: {}, **inner} if inner else {}
    return result


def _shown(key: str) -> str:
    kind, _, text = key.partition(":")
    if kind == "v":
        return f"[={text}]"
    keys = msgspec.json.decode(text)
    return "[" + ",".join(f"{name}={msgspec.json.encode(value).decode()}" for name, value in keys.items()) + "]"


@dataclass(slots=True)
class Difference:
    """What changed from one object to another, as sets of fields."""

    added: FieldSet = field(default_factory=dict)
    modified: FieldSet = field(default_factory=dict)
    removed: FieldSet = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.added or self.modified or self.removed)


def compare(old: Mapping[str, Any], new: Mapping[str, Any], schema: TypeSchema) -> Difference:
    """What ``new`` has that ``old`` has not, has otherwise, or lacks. ValueError for items without keys."""
    result = Difference()
    _compare_fields(old, new, schema, result)
    return result


def _compare_fields(old: Mapping[str, Any], new: Mapping[str, Any], schema: TypeSchema, result: Difference) -> None:
    for name, value in new.items():
        if name in old:
            if value != old[name]:
                _nest(result, f"f:{name}", old[name], value, schema.field(name))
        elif name in schema.always_there:
            _nest(result, f"f:{name}", type(value)(), value, schema.field(name))
        else:
            result.added[f"f:{name}"] = _whole(value, schema.field(name))
    for name in old.keys() - new.keys():
        value = old[name]
        if name in schema.always_there:
            _nest(result, f"f:{name}", value, type(value)(), schema.field(name))
        else:
            result.removed[f"f:{name}"] = _whole(value, schema.field(name))


def _nest(result: Difference, element: str, old: Any, new: Any, schema: TypeSchema) -> None:
    """Compare one child that is on both sides and enter what differs under ``element``."""
    if old == new:
        return
    if schema.replaces(new) or type(old) is not type(new):
        result.modified[element] = leaf()
        return
    child = Difference()
    if isinstance(new, list):
        _compare_items(_groups(schema, old), _groups(schema, new), schema, child)
    else:
        _compare_fields(old, new, schema, child)
    if child.added:
        result.added[element] = child.added
    if child.modified:
        result.modified[element] = child.modified
    if child.removed:
        result.removed[element] = child.removed


def _compare_items(old: _Groups, new: _Groups, schema: TypeSchema, result: Difference) -> None:
    for key, items in new.items():
        before = old.get(key)
        if before is None:
            result.added[key] = _whole_group(items, schema)
        elif len(items) == len(before) == 1:
            _nest(result, key, before[0], items[0], schema.element)
        elif items != before:
            result.modified[key] = leaf()
    for key in old.keys() - new.keys():
        result.removed[key] = _whole_group(old[key], schema)


def _whole_group(items: list[Any], schema: TypeSchema) -> FieldSet:
    return _whole(items[0], schema.element) if len(items) == 1 else leaf()


def _whole(value: Any, schema: TypeSchema) -> FieldSet:
    """A node that came or went, as a member with everything below it."""
    if not value or schema.replaces(value):
        return leaf()
    if isinstance(value, list):
        groups = _groups(schema, value)
        return {MEMBER: {}} | {key: _whole_group(items, schema) for key, items in groups.items()}
    node: FieldSet = {MEMBER: {}}
    for name, child in value.items():
        node["f:" + name] = _whole(child, schema.field(name)) if type(child) in _CONTAINERS else leaf()
    return node


def merge(live: Any, applied: Any, schema: TypeSchema) -> Any:
    """``live`` with everything that ``applied`` sets. Shares parts with both. ValueError for items without keys."""
    if schema.replaces(applied) or type(live) is not type(applied):
        return applied
    if isinstance(applied, list):
        return _merge_lists(live, applied, schema)
    merged = dict(live)
    for name, value in applied.items():
        merged[name] = merge(merged[name], value, schema.field(name)) if name in merged else value
    return merged


def _merge_lists(live: list[Any], applied: list[Any], schema: TypeSchema) -> list[Any]:
    """The items of ``applied`` in their order; those of ``live`` alone stay where they stood between the shared ones.

    The order is that of structured-merge-diff's list merge, so that clients see lists in the order they know.
    """
    left = [(item_key(schema, item), item) for item in live]
    right = [(item_key(schema, item), item) for item in applied]
    ours, theirs = _groups(schema, live), dict(right)
    shared = iter([key for key, _ in right if key in ours])
    expected = next(shared, None)
    taken: set[str] = set()
    merged: list[Any] = []
    at = 0
    for key, item in right:
        while at < len(left):
            standing = left[at][0]
            if standing == key:
                at += 1
                break
            if standing not in theirs:
                merged.append(left[at][1])
            elif standing not in taken and standing == expected:
                break
            at += 1
        before = ours.get(key, ())
        merged.append(merge(before[0], item, schema.element) if len(before) == 1 else item)
        taken.add(key)
        if key == expected:
            expected = next(shared, None)
    return merged + [item for key, item in left[at:] if key not in theirs]


def prune(value: Any, schema: TypeSchema, doomed: FieldSet, kept: FieldSet) -> Any:
    """``value`` without the fields in ``doomed``, except those in ``kept`` and what leads to them.

    A structure of which ``kept`` has nothing goes as a whole, with fields in it that nobody owns: they are defaults.
    """
    if schema.replaces(value):
        return value
    if isinstance(value, list):
        return _prune_list(value, schema, doomed, kept)
    result = dict(value)
    for element, node in doomed.items():
        name = element[2:]
        if element == MEMBER or name not in result:
            continue
        owned = kept.get(element)
        if owned is None and (is_member(node) or name in schema.properties):
            del result[name]
        else:
            result[name] = prune(result[name], schema.field(name), node, owned or {})
    return result


def _prune_list(value: list[Any], schema: TypeSchema, doomed: FieldSet, kept: FieldSet) -> list[Any]:
    result = []
    for item in value:
        key = item_key(schema, item)
        if key not in doomed:
            result.append(item)
        elif key in kept:
            result.append(prune(item, schema.element, doomed[key], kept[key]))
    return result
