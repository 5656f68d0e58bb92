"""Objects walked by their schema: the fields they set, how two differ, how one is merged into another."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from controlplane.api.apply.field_set import MEMBER, FieldSet, leaf
from controlplane.api.schema import TypeSchema

_KEY_DEFAULTS = {"protocol": "TCP"}
_encoder = msgspec.json.Encoder(order="sorted")


def item_key(schema: TypeSchema, item: Any) -> str:
    """The path element of an item in a list that is a map or a set. ValueError if the item lacks its keys."""
    if schema.list_type == "set":
        return f"v:{_encoder.encode(item).decode()}"
    if not isinstance(item, dict):
        raise ValueError("items of an associative list must be objects")
    keys: dict[str, Any] = {}
    for name in schema.list_keys:
        value = item.get(name, _KEY_DEFAULTS.get(name))
        if value is not None:
            keys[name] = value
    if not keys:
        raise ValueError(
            f"associative list with keys has an element that omits all key fields {list(schema.list_keys)}"
        )
    return f"k:{_encoder.encode(keys).decode()}"


def keyed_items(schema: TypeSchema, items: Sequence[Any] | None) -> dict[str, Any]:
    """The items of an associative list by their path elements; of duplicates the first."""
    keyed: dict[str, Any] = {}
    for item in items or ():
        keyed.setdefault(item_key(schema, item), item)
    return keyed


def fields_of(value: Any, schema: TypeSchema, *, maps: bool = False) -> FieldSet:
    """The set of fields that ``value`` sets, with ``maps`` also maps themselves. ValueError for items without keys."""
    if schema.atomic or not isinstance(value, dict | list):
        return leaf()
    if isinstance(value, list):
        return {
            key: {MEMBER: {}} | (fields_of(item, schema.element, maps=maps) if isinstance(item, dict) else {})
            for key, item in keyed_items(schema, value).items()
        }
    result: FieldSet = {MEMBER: {}} if maps and schema.is_map else {}
    for name, child in value.items():
        fields = fields_of(child, schema.field(name), maps=maps)
        if name not in schema.properties or child is None or child == {}:
            fields = fields | {MEMBER: {}}
        if fields:
            result[f"f:{name}"] = fields
    return result


@dataclass(slots=True)
class Difference:
    """What changed from one object to another, as sets of fields."""

    added: FieldSet = field(default_factory=dict)
    modified: FieldSet = field(default_factory=dict)
    removed: FieldSet = field(default_factory=dict)


def compare(old: Any, new: Any, schema: TypeSchema) -> Difference:
    """What ``new`` has that ``old`` has not, has otherwise, or lacks."""
    if schema.atomic or not _same_container(old, new):
        return Difference(modified=leaf()) if old != new else Difference()
    if isinstance(new, list):
        return _compare_children(keyed_items(schema, old), keyed_items(schema, new), schema)
    return _compare_children(old, new, schema)


def _same_container(old: Any, new: Any) -> bool:
    return (isinstance(old, dict) and isinstance(new, dict)) or (isinstance(old, list) and isinstance(new, list))


def _compare_children(old: dict[str, Any], new: dict[str, Any], schema: TypeSchema) -> Difference:
    result = Difference()
    associative = schema.list_type != "atomic"
    for name, value in new.items():
        child_schema = schema.element if associative else schema.field(name)
        element = name if associative else f"f:{name}"
        if name not in old:
            result.added[element] = _whole(value, child_schema, member=associative)
        elif value != old[name]:
            _nest(result, element, compare(old[name], value, child_schema))
    for name in old.keys() - new.keys():
        child_schema = schema.element if associative else schema.field(name)
        result.removed[name if associative else f"f:{name}"] = _whole(old[name], child_schema, member=True)
    return result


def _whole(value: Any, schema: TypeSchema, *, member: bool) -> FieldSet:
    fields = fields_of(value, schema, maps=True)
    return fields | {MEMBER: {}} if member or not fields else fields


def _nest(result: Difference, element: str, child: Difference) -> None:
    if child.added:
        result.added[element] = child.added
    if child.modified:
        result.modified[element] = child.modified
    if child.removed:
        result.removed[element] = child.removed


def merge(live: Any, applied: Any, schema: TypeSchema) -> Any:
    """``live`` with everything that ``applied`` sets. Shares parts with both. ValueError for items without keys."""
    if schema.atomic or not _same_container(live, applied):
        return applied
    if isinstance(applied, list):
        return _merge_lists(live, applied, schema)
    merged = dict(live)
    for name, value in applied.items():
        if value is None:
            merged.pop(name, None)
        elif name in merged:
            merged[name] = merge(merged[name], value, schema.field(name))
        else:
            merged[name] = value
    return merged


def _merge_lists(live: list[Any], applied: list[Any], schema: TypeSchema) -> list[Any]:
    """Items of ``applied`` keep their order; those of ``live`` alone stay before what they preceded."""
    ours, theirs = keyed_items(schema, live), keyed_items(schema, applied)
    pending = deque(theirs)
    waiting = set(theirs)
    merged: list[Any] = []
    for key, item in ours.items():
        if key not in theirs:
            merged.append(item)
        while key in waiting:
            first = pending.popleft()
            waiting.discard(first)
            merged.append(merge(ours[first], theirs[first], schema.element) if first in ours else theirs[first])
    merged.extend(theirs[key] for key in pending)
    return merged


def prune(value: Any, schema: TypeSchema, doomed: FieldSet, kept: FieldSet) -> Any:
    """``value`` without the fields in ``doomed``, except those in ``kept`` and what leads to them."""
    if schema.atomic or not isinstance(value, dict | list):
        return value
    if isinstance(value, list):
        return _prune_list(value, schema, doomed, kept)
    result = dict(value)
    for element, node in doomed.items():
        name = element[2:]
        if element == MEMBER or name not in result:
            continue
        remaining = _prune_child(result[name], schema.field(name), node, kept.get(element))
        if remaining is None:
            del result[name]
        else:
            result[name] = remaining
    return result


def _prune_list(value: list[Any], schema: TypeSchema, doomed: FieldSet, kept: FieldSet) -> list[Any]:
    result = []
    for item in value:
        key = item_key(schema, item)
        if key in doomed:
            item = _prune_child(item, schema.element, doomed[key], kept.get(key))
        if item is not None:
            result.append(item)
    return result


def _prune_child(value: Any, schema: TypeSchema, doomed: FieldSet, kept: FieldSet | None) -> Any:
    """What is left of one child: None if it goes as a whole."""
    if MEMBER in doomed and not kept:
        return None
    rest = prune(value, schema, doomed, kept or {})
    return None if rest in ({}, []) and value not in ({}, []) and not kept else rest
