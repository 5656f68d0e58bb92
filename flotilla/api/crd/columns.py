"""The table columns that a definition asks for. Source: ``pkg/registry/customresource/tableconvertor``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from flotilla.api.crd.json_path import JsonPath, parse_path
from flotilla.api.durations import time_since
from flotilla.api.kinds.columns import AGE, NAME
from flotilla.api.kinds.resource import Column
from flotilla.api.objects import KubeObject, encode

TYPES = ("boolean", "date", "integer", "number", "string")
FORMATS = ("int32", "int64", "float", "double", "byte", "date", "date-time", "password")
_AGE = Column(AGE.name, "date", AGE.description, 0, "", AGE.value)

Cell = Callable[[Any, datetime], Any]


def printer_columns(wanted: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    """The name and the columns of ``additionalPrinterColumns``; the age where there are none."""
    return (NAME, *map(_column, wanted)) if wanted else (NAME, _AGE)


def _column(wanted: Mapping[str, Any]) -> Column:
    path = parse_path(wanted["jsonPath"])
    type_ = wanted["type"]
    return Column(
        wanted["name"],
        type_,
        wanted.get("description") or f"Custom resource definition column (in JSONPath format): {wanted['jsonPath']}",
        wanted.get("priority") or 0,
        wanted.get("format") or "",
        _value(path, type_),
    )


def _value(path: JsonPath, type_: str) -> Callable[[KubeObject, datetime], Any]:
    def value(obj: KubeObject, now: datetime) -> Any:
        found = path.find(obj)
        if not found:
            return None
        return " ".join(map(_text, found)) if type_ == "string" else _CELLS[type_](found[0], now)

    return value


def _text(value: Any) -> str:
    """A value as Go prints it into a column."""
    if isinstance(value, str):
        return value
    return "<nil>" if value is None else encode(value).decode()


def _integer(value: Any, now: datetime) -> Any:
    return int(value) if type(value) in (int, float) else None


def _number(value: Any, now: datetime) -> Any:
    return float(value) if type(value) in (int, float) else None


def _boolean(value: Any, now: datetime) -> Any:
    return value if isinstance(value, bool) else None


def _date(value: Any, now: datetime) -> Any:
    if not isinstance(value, str):
        return None
    try:
        return time_since(value, now)
    except ValueError:
        return "<invalid>"


_CELLS: dict[str, Cell] = {"boolean": _boolean, "date": _date, "integer": _integer, "number": _number}
