"""Compiled expressions as trees, read from what the library writes of them.

The library evaluates expressions and tells nothing about them, but it serializes them as ``cel.expr.CheckedExpr``, and
takes such a message back. Of every expression the bytes are kept, so that a part of one can be evaluated by itself.
Source: ``cel/expr/{checked,syntax}.proto`` of github.com/google/cel-spec.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

_URL, _WRAPPED = 1, 2
_REFERENCES, _TYPES, _EXPRESSION = 2, 3, 4
_ID = 2
_NEW_IDS = 1 << 20
_TYPE_KINDS = {1: "dyn", 2: "null", 6: "list", 7: "map", 14: "abstract"}
_PRIMITIVES = {1: "bool", 2: "int", 3: "uint", 4: "double", 5: "string", 6: "bytes"}
_WELL_KNOWN = {1: "dyn", 2: "timestamp", 3: "duration"}


class Kind(Enum):
    """What an expression is."""

    CONSTANT = 3
    NAME = 4
    SELECT = 5
    CALL = 6
    LIST = 7
    MAP = 8
    LOOP = 9


@dataclass(frozen=True, slots=True)
class Loop:
    """A comprehension: what ``all``, ``map`` and their like are written as."""

    variable: str
    range: Expression
    total: str
    start: Expression
    condition: Expression
    step: Expression
    result: Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """One node. ``name`` is the name, the selected field or the called function, ``parts`` what it is made of.

    The first part of a method's call is what it is called on. ``value`` is that of a constant, and for the selection of
    a field whether it is only asked for (``has``).
    """

    id: int
    kind: Kind
    raw: bytes
    name: str = ""
    parts: tuple[Expression, ...] = ()
    value: Any = None
    method: bool = False
    loop: Loop | None = None

    @property
    def loops(self) -> bool:
        """Whether there is a loop at this node or below."""
        return self.loop is not None or any(part.loops for part in self.parts)


@dataclass(frozen=True, slots=True)
class Checked:
    """A compiled expression with the types and the overloads that were found for its nodes, by their ids."""

    root: Expression
    types: Mapping[int, str]
    overloads: Mapping[int, tuple[str, ...]]
    message: bytes

    def with_root(self, raw: bytes) -> bytes:
        """The message for another expression that is made of parts of this one."""
        outer = dict(_fields(self.message))
        checked = b"".join(
            _written(number, raw if number == _EXPRESSION else value)
            for number, value in _fields(outer[_WRAPPED])
            if isinstance(value, bytes)
        )
        return _written(_URL, outer[_URL]) + _written(_WRAPPED, checked)


def named(expression: Expression, name: str) -> bytes:
    """The bytes of a name in the place of an expression: under an id of its own, of which nothing is known yet."""
    return _numbered(_NEW_IDS + expression.id) + _written(Kind.NAME.value, _written(1, name.encode()))


def folding(expression: Expression, loop: Loop, *, items: str, start: str) -> bytes:
    """The bytes of a loop over the value named ``items`` that goes on from ``start`` and gives the total itself."""
    body = (
        (1, loop.variable.encode()),
        (2, named(loop.range, items)),
        (3, loop.total.encode()),
        (4, named(loop.start, start)),
        (5, loop.condition.raw),
        (6, loop.step.raw),
        (7, named(loop.result, loop.total)),
    )
    written = b"".join(_written(number, value) for number, value in body)
    return _numbered(expression.id) + _written(Kind.LOOP.value, written)


def calling(expression: Expression, parts: Sequence[bytes]) -> bytes:
    """The bytes of a call with other parts."""
    numbers = [1 if expression.method and not index else 3 for index in range(len(parts))]
    written = [_written(2, expression.name.encode()), *map(_written, numbers, parts)]
    return _numbered(expression.id) + _written(Kind.CALL.value, b"".join(written))


def _numbered(id_: int) -> bytes:
    return _encoded(_ID << 3) + _encoded(id_)


def read_checked(message: bytes) -> Checked:
    """The tree of a serialized expression."""
    types: dict[int, str] = {}
    overloads: dict[int, tuple[str, ...]] = {}
    root = b""
    for number, value in _fields(dict(_fields(message))[_WRAPPED]):
        if number == _EXPRESSION:
            root = value
        elif number in (_REFERENCES, _TYPES):
            entry = dict(_fields(value))
            if number == _TYPES:
                types[entry[1]] = _type(entry[2])
            else:
                overloads[entry[1]] = tuple(text.decode() for key, text in _fields(entry[2]) if key == 3)
    return Checked(_expression(root), types, overloads, message)


def _expression(raw: bytes) -> Expression:
    found = dict(_fields(raw))
    id_ = found.pop(_ID, 0)
    ((number, value),) = found.items()
    kind = Kind(number)
    fields = list(_fields(value))
    match kind:
        case Kind.CONSTANT:
            return Expression(id=id_, kind=kind, raw=raw, value=_constant(*fields[0]))
        case Kind.NAME:
            return Expression(id=id_, kind=kind, raw=raw, name=dict(fields)[1].decode())
        case Kind.SELECT:
            part = dict(fields)
            asked, name = bool(part.get(3)), part[2].decode()
            return Expression(id=id_, kind=kind, raw=raw, name=name, parts=(_expression(part[1]),), value=asked)
        case Kind.CALL:
            name = next(part.decode() for key, part in fields if key == 2)
            parts = [_expression(part) for key, part in sorted(fields, key=lambda each: each[0]) if key in (1, 3)]
            method = any(key == 1 for key, _ in fields)
            return Expression(id=id_, kind=kind, raw=raw, name=name, parts=tuple(parts), method=method)
        case Kind.LIST:
            parts = [_expression(part) for key, part in fields if key == 1]
            return Expression(id=id_, kind=kind, raw=raw, parts=tuple(parts))
        case Kind.MAP:
            entries = [dict(_fields(part)) for key, part in fields if key == 2]
            parts = [_expression(entry[key]) for entry in entries for key in (3, 4) if key in entry]
            return Expression(id=id_, kind=kind, raw=raw, parts=tuple(parts))
    return Expression(id=id_, kind=kind, raw=raw, loop=_loop(dict(fields)))


def _loop(part: Mapping[int, Any]) -> Loop:
    return Loop(
        variable=part[1].decode(),
        range=_expression(part[2]),
        total=part[3].decode(),
        start=_expression(part[4]),
        condition=_expression(part[5]),
        step=_expression(part[6]),
        result=_expression(part[7]),
    )


def _constant(number: int, value: Any) -> Any:
    match number:
        case 1:
            return None
        case 2:
            return bool(value)
        case 3:
            return value - (1 << 64) if value >= 1 << 63 else value
        case 5:
            return struct.unpack("<d", value)[0]
        case 6:
            return value.decode()
    return value


def _type(raw: bytes) -> str:
    """The name of a type, without what it is of."""
    number, value = next(_fields(raw), (1, 0))
    names = {3: _PRIMITIVES, 5: _WELL_KNOWN}.get(number)
    return names.get(value, "dyn") if names is not None else _TYPE_KINDS.get(number, "dyn")


def _fields(data: Any) -> Iterator[tuple[int, Any]]:
    """The fields of a message in protobuf's encoding: numbers, or bytes for everything else."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        match key & 7:
            case 0:
                value, position = _varint(data, position)
                yield key >> 3, value
            case 2:
                length, position = _varint(data, position)
                yield key >> 3, data[position : position + length]
                position += length
            case wire:
                length = 8 if wire == 1 else 4
                yield key >> 3, data[position : position + length]
                position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _written(number: int, value: bytes) -> bytes:
    return _encoded(number << 3 | 2) + _encoded(len(value)) + value


def _encoded(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
