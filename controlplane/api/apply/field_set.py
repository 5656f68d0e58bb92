"""Sets of fields, in the shape of ``FieldsV1``.

A set is a tree of dicts whose keys are path elements (``f:name``, ``k:{"name":"web"}``, ``v:"value"``); a node that is
itself a member has the key ``.``. The stored form writes a member without children as ``{}``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

FieldSet = dict[str, Any]
MEMBER = "."


def leaf() -> FieldSet:
    """A node that is a member and has no children."""
    return {MEMBER: {}}


def unpack(stored: Mapping[str, Any]) -> FieldSet:
    """The set that a stored ``fieldsV1`` denotes. ValueError if it is not of that form."""
    return {key: {} if key == MEMBER else _unpack_node(child) for key, child in stored.items()}


def _unpack_node(stored: Any) -> FieldSet:
    if not isinstance(stored, Mapping):
        raise ValueError("fieldsV1 must consist of objects")
    return unpack(stored) if stored else leaf()


def pack(fields: FieldSet) -> FieldSet:
    """The stored form."""
    return {key: {} if key == MEMBER or child.keys() == {MEMBER} else pack(child) for key, child in fields.items()}


def union(left: FieldSet, right: FieldSet) -> FieldSet:
    """Members of either."""
    if not left or not right:
        return left or right
    result = dict(left)
    for key, child in right.items():
        result[key] = union(result[key], child) if key in result else child
    return result


def difference(left: FieldSet, right: FieldSet) -> FieldSet:
    """Members of ``left`` that are not members of ``right``."""
    result: FieldSet = {}
    for key, child in left.items():
        if key not in right:
            result[key] = child
        elif key != MEMBER and (rest := difference(child, right[key])):
            result[key] = rest
    return result


def intersection(left: FieldSet, right: FieldSet) -> FieldSet:
    """Members of both."""
    result: FieldSet = {}
    for key, child in left.items():
        if key not in right:
            continue
        if key == MEMBER:
            result[key] = {}
        elif rest := intersection(child, right[key]):
            result[key] = rest
    return result


def paths(fields: FieldSet, prefix: str = "") -> Iterator[str]:
    """Every member as a path in the form that conflicts are reported in: ``.spec.containers[name="web"].image``."""
    for key, child in fields.items():
        if key == MEMBER:
            yield prefix
        else:
            yield from paths(child, prefix + _printed(key))


def _printed(element: str) -> str:
    kind, _, text = element.partition(":")
    if kind == "f":
        return f".{text}"
    if kind == "k":
        keys = msgspec.json.decode(text)
        return "[" + ",".join(f"{name}={msgspec.json.encode(value).decode()}" for name, value in keys.items()) + "]"
    return f"[={text}]" if kind == "v" else f"[{text}]"
