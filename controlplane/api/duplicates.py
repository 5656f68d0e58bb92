"""Fields that a body gives twice: decoders keep the last one, and ``fieldValidation`` has them reported or refused.

Almost no body has any, and every body is searched: for JSON, the colons that end keys are counted against the keys that
came out, and only where these don't agree is the body decoded a second time, by a decoder that sees every pair.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import yaml

_MOST_OBJECTS = 10
_MOST_NAMES = 10


def duplicate_fields(data: bytes, value: Any) -> list[str]:
    """Faults for fields that JSON ``data``, which was decoded to ``value``, gives twice."""
    if data.count(b'":') == _key_count(value) and not _may_have_space_before_colon(data):
        return []
    return [f'duplicate field "{path}"' for path in _duplicate_paths(data)]


def _may_have_space_before_colon(data: bytes) -> bool:
    return b" :" in data or b"\n:" in data or b"\t:" in data or b"\r:" in data


def _key_count(value: Any) -> int:
    count = 0
    pending = [value]
    while pending:
        current = pending.pop()
        if type(current) is dict:
            count += len(current)
            pending.extend(child for child in current.values() if type(child) in (dict, list))
        elif type(current) is list:
            pending.extend(child for child in current if type(child) in (dict, list))
    return count


class _Duplicated(msgspec.Struct):
    owner: dict[str, Any]
    names: list[str]


def _duplicate_paths(data: bytes) -> list[str]:
    found: list[_Duplicated] = []

    def pairs_to_object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs) and len(found) < _MOST_OBJECTS:
            counts = Counter(name for name, _ in pairs)
            found.append(_Duplicated(made, [name for name, count in counts.items() if count > 1]))
        return made

    try:
        root = json.loads(data, object_pairs_hook=pairs_to_object)
    except (ValueError, RecursionError):
        return []
    return [f"{_path_to(root, one.owner)}{name}" for one in found for name in one.names[:_MOST_NAMES]]


def _path_to(root: Any, target: dict[str, Any]) -> str:
    """The path that leads to ``target`` within ``root``, ending in a dot unless it is the root."""
    if root is target:
        return ""
    pending = [_children(root, "")]
    while pending:
        child = next(pending[-1], None)
        if child is None:
            pending.pop()
        elif child[0] is target:
            return f"{child[1]}."
        else:
            pending.append(_children(*child))
    return ""


def _children(value: Any, path: str) -> Iterator[tuple[Any, str]]:
    if isinstance(value, dict):
        for name, child in value.items():
            yield child, f"{path}.{name}" if path else name
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield child, f"{path}[{index}]"


def duplicate_yaml_fields(data: bytes) -> list[str]:
    """Faults for keys that YAML ``data``, known to be valid, gives twice in one mapping."""
    faults: list[str] = []
    opened: list[_Opened] = []
    for event in yaml.parse(data, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.NodeEvent):
            if opened and opened[-1].takes_key() and isinstance(event, yaml.ScalarEvent):
                if event.value in opened[-1].keys and len(faults) < _MOST_NAMES:
                    faults.append(f'{_line(event)}key "{event.value}" already set in map')
                opened[-1].keys.add(event.value)
            if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                opened.append(_Opened(isinstance(event, yaml.MappingStartEvent)))
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            opened.pop()
    return faults


class _Opened:
    """A mapping or a sequence that has begun; nodes in a mapping are keys and values in turn."""

    __slots__ = ("_key_next", "_mapping", "keys")

    def __init__(self, mapping: bool) -> None:
        self.keys: set[str] = set()
        self._mapping = mapping
        self._key_next = False

    def takes_key(self) -> bool:
        """Whether the node that comes now is a key."""
        self._key_next = self._mapping and not self._key_next
        return self._key_next


def _line(event: yaml.Event) -> str:
    return f"line {event.start_mark.line + 1}: " if event.start_mark is not None else ""
