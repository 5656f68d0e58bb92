"""Sets of fields, in the stored form of ``FieldsV1``.

A set is a tree of dicts whose keys are path elements (``f:name``, ``k:{"name":"web"}``, ``v:"value"``). A node is a
member if it is empty or has the key ``.``; the root is never one, and empty it is the empty set. The algebra works on
this form as it is stored, and gives back the very objects that it did not have to change: most writes leave most of
what others own alone, and every write of every object goes through here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

FieldSet = dict[str, Any]
MEMBER = "."
_ELEMENTS = ("f:", "k:", "v:", "i:")


def leaf() -> FieldSet:
    """A node that is a member and has no children."""
    return {}


def checked(stored: Any) -> FieldSet:
    """The set that a client's ``fieldsV1`` denotes. ValueError if it is not of that form."""
    if not isinstance(stored, dict):
        raise ValueError("fieldsV1 must be an object")
    for key, child in stored.items():
        if key != MEMBER and not key.startswith(_ELEMENTS):
            raise ValueError(f"fieldsV1 has an unknown path element {key!r}")
        checked(child)
    return stored


def is_member(node: Mapping[str, Any]) -> bool:
    """Whether the path to ``node``, which is not the root, is in the set."""
    return not node or MEMBER in node


def as_member(node: FieldSet) -> FieldSet:
    """``node`` as a member with the children that it has."""
    return node if is_member(node) else {MEMBER: {}, **node}


def union(left: FieldSet, right: FieldSet) -> FieldSet:
    """Members of either."""
    if not left or not right or left is right:
        return left or right
    result = dict(left)
    for key, child in right.items():
        held = result.get(key)
        result[key] = child if held is None else _joined(held, child)
    return result


def _joined(left: FieldSet, right: FieldSet) -> FieldSet:
    if not left:
        return as_member(right)
    return union(left, right) if right else as_member(left)


def difference(left: FieldSet, right: FieldSet) -> FieldSet:
    """Members of ``left`` that are not members of ``right``; ``left`` itself if that is all of them."""
    result = left
    for key in left.keys() & right.keys():
        if key == MEMBER:
            continue
        rest = _less(left[key], right[key])
        if rest is left[key]:
            continue
        if result is left:
            result = dict(left)
        if rest is None:
            del result[key]
        else:
            result[key] = rest
    return result


def _less(left: FieldSet, right: FieldSet) -> FieldSet | None:
    """The node without the members of ``right``; None if nothing is left of it."""
    rest = difference(left, right)
    if not is_member(left) or not is_member(right):
        return rest if rest or rest is left else None
    children = {key: child for key, child in rest.items() if key != MEMBER}
    return children or None


def intersection(left: FieldSet, right: FieldSet) -> FieldSet:
    """Members of both."""
    result: FieldSet = {}
    for key, child in left.items():
        other = right.get(key)
        if other is None or key == MEMBER:
            continue
        common = intersection(child, other)
        if is_member(child) and is_member(other):
            result[key] = {MEMBER: {}, **common} if common else {}
        elif common:
            result[key] = common
    return result


def paths(fields: FieldSet, prefix: str = "") -> Iterator[str]:
    """Every member as a path in the form that conflicts are reported in: ``.spec.containers[name="web"].image``."""
    for key in sorted(fields, key=_rank):
        if key == MEMBER:
            continue
        child, path = fields[key], prefix + _printed(key)
        if is_member(child):
            yield path
        yield from paths(child, path)


def _rank(element: str) -> tuple[int, str]:
    kind = element[:2]
    return (_ELEMENTS.index(kind) if kind in _ELEMENTS else -1, element)


def _printed(element: str) -> str:
    kind, _, text = element.partition(":")
    if kind == "f":
        return f".{text}"
    if kind == "k":
        keys = msgspec.json.decode(text)
        return "[" + ",".join(f"{name}={msgspec.json.encode(value).decode()}" for name, value in keys.items()) + "]"
    return f"[={text}]" if kind == "v" else f"[{text}]"
