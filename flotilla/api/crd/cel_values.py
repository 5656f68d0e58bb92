"""Objects as CEL rules see them: typed by their schema, under names that CEL can spell.

Fields that the schema doesn't describe are not visible to rules, nor is ``metadata`` but for the names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, time
from functools import lru_cache
from typing import Any

from google.protobuf import duration_pb2, timestamp_pb2

from flotilla.api.crd.formats import parse_bytes, parse_date, parse_date_time, parse_duration
from flotilla.api.crd.structural import Node

_RESERVED = frozenset(
    {
        "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import",
        "let", "loop", "package", "namespace", "return", "var", "void", "while",
    }
)  # fmt: skip
_SPELLABLE = re.compile(r"[a-zA-Z_./-][a-zA-Z0-9_./-]*")
_SPECIAL = re.compile(r"__|[./-]")
_SPELLINGS = {"__": "__underscores__", ".": "__dot__", "/": "__slash__", "-": "__dash__"}
_NAMES = ("name", "generateName")


@lru_cache(maxsize=4096)
def spelled(name: str) -> str:
    """The identifier by which rules reach a field, ``""`` where they can't."""
    if name in _RESERVED:
        return f"__{name}__"
    if not _SPELLABLE.fullmatch(name):
        return ""
    return _SPECIAL.sub(lambda match: _SPELLINGS[match[0]], name)


def _timestamp(moment: datetime) -> timestamp_pb2.Timestamp:
    message = timestamp_pb2.Timestamp()
    message.FromDatetime(moment)
    return message


def _date(text: str) -> timestamp_pb2.Timestamp:
    return _timestamp(datetime.combine(parse_date(text), time(), UTC))


def _duration(text: str) -> duration_pb2.Duration:
    message = duration_pb2.Duration()
    message.FromTimedelta(parse_duration(text))
    return message


_STRINGS: dict[str, Callable[[str], Any]] = {
    "byte": parse_bytes,
    "date": _date,
    "date-time": lambda text: _timestamp(parse_date_time(text)),
    "datetime": lambda text: _timestamp(parse_date_time(text)),
    "duration": _duration,
}


def cel_value(value: Any, node: Node, *, whole: bool = False) -> Any:
    """``value`` for rules; ``whole`` for a complete object, which has a kind and a name whatever the schema says."""
    if isinstance(value, dict):
        return _object(value, node, whole=whole or node.embedded)
    if isinstance(value, list):
        return [cel_value(item, node.items) for item in value] if node.items is not None else []
    if node.type == "number" and isinstance(value, int):
        return float(value)
    if node.type == "integer" and isinstance(value, float):
        return int(value)
    if node.type == "string" and isinstance(value, str):
        convert = _STRINGS.get(node.checks.get("format", ""))
        return convert(value) if convert is not None else value
    return value


def _object(value: dict[str, Any], node: Node, *, whole: bool) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    if isinstance(node.additional, Node):
        return {name: cel_value(child, node.additional) for name, child in value.items()}
    for name, child in value.items():
        part = node.properties.get(name)
        identifier = spelled(name)
        if part is not None and identifier and not (whole and name == "metadata"):
            seen[identifier] = cel_value(child, part)
    if whole:
        seen |= {name: value[name] for name in ("apiVersion", "kind") if name in value}
        metadata = value.get("metadata") or {}
        seen["metadata"] = {name: metadata[name] for name in _NAMES if name in metadata}
    return seen
