"""Text output: aligned columns, YAML and JSON. Plain when piped, coloured on a terminal, never cut to its width.

Columns are padded as kubectl pads them (three spaces between), because people's scripts cut on them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import typer

from flotilla.api.objects import KubeObject, parse_time

GAP = "   "

_GOOD = frozenset({"Running", "Ready", "Active", "Completed", "Succeeded", "Bound", "Normal", "True"})
_WAITING = frozenset({"Pending", "ContainerCreating", "PodInitializing", "Terminating", "Unknown", "Warning"})
_STATE_COLUMNS = frozenset({"STATUS", "TYPE", "REASON"})
_BAD_WORDS = ("Error", "BackOff", "OOMKilled", "NotReady", "Failed", "Evicted", "Invalid")


class TableWriter:
    """Writes rows below one header; widths only grow, so that rows of a watch stay under their columns."""

    def __init__(self, columns: Sequence[str], *, headers: bool = True) -> None:
        self._columns = [column.upper() for column in columns]
        self._widths = [len(column) if headers else 0 for column in self._columns]
        self._headers_due = headers

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        texts = [[_cell(value) for value in row] for row in rows]
        for row in texts:
            self._widths = [max(width, len(text)) for width, text in zip(self._widths, row, strict=True)]
        if self._headers_due and texts:
            self._headers_due = False
            print(self._line(self._columns, _bold if sys.stdout.isatty() else _plain))
        paint = _paint if sys.stdout.isatty() else _plain
        for row in texts:
            print(self._line(row, paint))
        sys.stdout.flush()

    def _line(self, texts: Sequence[str], paint: Any) -> str:
        cells = []
        for column, text, width in zip(self._columns, texts, self._widths, strict=True):
            padding = " " * (width - len(text))
            cells.append(paint(column, text) + padding)
        return GAP.join(cells).rstrip()


def _cell(value: Any) -> str:
    return "<none>" if value is None else str(value)


def _plain(_column: str, text: str) -> str:
    return text


def _bold(_column: str, text: str) -> str:
    return typer.style(text, bold=True)


def _paint(column: str, text: str) -> str:
    if column not in _STATE_COLUMNS:
        return text
    colour = state_colour(text)
    return typer.style(text, fg=colour) if colour else text


def state_colour(state: str) -> str | None:
    """The colour of a state word: green is well, yellow waits, red has failed."""
    if any(word in state for word in _BAD_WORDS):
        return "red"
    first = state.split(",")[0].split(":")[0]
    if first in _GOOD:
        return "green"
    return "yellow" if first in _WAITING or state.startswith("Init:") else None


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=4, ensure_ascii=False, sort_keys=True))


def print_yaml(value: Any) -> None:
    print(to_yaml(value), end="")


def to_yaml(value: Any) -> str:
    """``value`` as YAML in block style, keys in alphabetical order as kubectl prints them."""
    import yaml

    text: str = yaml.dump(value, Dumper=_dumper(), sort_keys=True, default_flow_style=False, allow_unicode=True)
    return text


@cache
def _dumper() -> Any:
    """A dumper that writes strings of several lines as blocks."""
    import yaml

    base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    dumper = type("BlockDumper", (base,), {})

    def represent(self: Any, text: str) -> Any:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)

    dumper.add_representer(str, represent)  # type: ignore[attr-defined]
    return dumper


def without_managed_fields(obj: KubeObject) -> KubeObject:
    """``obj`` without the bookkeeping of server-side apply, which hides what people look for."""
    metadata = {key: value for key, value in obj.get("metadata", {}).items() if key != "managedFields"}
    return {**obj, "metadata": metadata} if "metadata" in obj else obj


def age(timestamp: str | None, *, now: datetime | None = None) -> str:
    """How long ago an RFC 3339 time was, in Kubernetes' short form (``5s``, ``3m10s``, ``2d4h``)."""
    if not timestamp:
        return "<unknown>"
    return short_duration(((now or datetime.now(UTC)) - parse_time(timestamp)).total_seconds())


def short_duration(seconds: float) -> str:
    """``k8s.io/apimachinery``'s HumanDuration: two units at most, the smaller one only while it matters."""
    whole = max(0, int(seconds))
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    return _two(days // 365, "y", days % 365, "d")


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"
