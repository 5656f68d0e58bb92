"""The text of a metrics page, in Prometheus' format or OpenMetrics': the series that are asked for, the names of all.

A page may have thousands of lines, and parsing one costs some 25 µs. So lines are told apart by how they begin, and
only those of series that are asked for are given to the parser (prometheus-client's). A line of OpenMetrics differs
from one of the older format by the exemplar that may follow it, and by the unit of its time, which is not used.
Sources: Prometheus' text format 0.0.4, OpenMetrics 1.0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

SERIES_LIMIT = 500
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*", re.ASCII)
_TYPE = re.compile(r"#\s*TYPE\s+([a-zA-Z_:][a-zA-Z0-9_:]*)\s+(\w+)", re.ASCII)
_BEFORE_EXEMPLAR = re.compile(r'([^{\s]+(?:\{(?:[^"}]|"(?:\\.|[^"\\])*")*\})?[^#]*?)\s+#\s')
_CUMULATIVE_PARTS = {
    "counter": ("_total",),
    "histogram": ("_count", "_sum", "_bucket"),
    "summary": ("_count", "_sum"),
}


@dataclass(frozen=True, slots=True)
class Value:
    """One series and its value; ``cumulative`` values only grow."""

    name: str
    labels: Mapping[str, str]
    cumulative: bool
    value: float


@dataclass(frozen=True, slots=True)
class Page:
    """``offered``: each series' name, and whether it is cumulative. ``cut``: more than 500 series were asked for."""

    values: tuple[Value, ...]
    offered: Mapping[str, bool]
    cut: bool = False


class UnreadablePageError(ValueError):
    """A page that is in neither format; the message says what is wrong."""


def read_page(text: str, *, wanted: Set[str]) -> Page:
    """The series on a page whose names are ``wanted``. UnreadablePageError."""
    types: dict[str, str] = {}
    names: dict[str, None] = {}
    kept: list[str] = []
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("#"):
            if match := _TYPE.match(line):
                types[match[1]] = match[2].lower()
        elif match := _NAME.match(line):
            names[match[0]] = None
            if match[0] in wanted:
                exemplar = _BEFORE_EXEMPLAR.match(line)
                kept.append(exemplar[1] if exemplar else line)
        elif line:
            raise UnreadablePageError(f"a line begins with no metric's name: {line[:80]!r}")
    offered = {name: _is_cumulative(name, types) for name in names}
    values = [Value(name, labels, offered[name], value) for name, labels, value in _parsed(kept[:SERIES_LIMIT])]
    return Page(tuple(values), offered, cut=len(kept) > SERIES_LIMIT)


def _parsed(lines: list[str]) -> list[tuple[str, Mapping[str, str], float]]:
    try:
        families = text_string_to_metric_families("\n".join([*lines, ""]))
        return [(sample.name, sample.labels, float(sample.value)) for family in families for sample in family.samples]
    except (ValueError, IndexError, KeyError) as error:
        raise UnreadablePageError(f"a series can't be read: {error}") from error


def _is_cumulative(name: str, types: Mapping[str, str]) -> bool:
    """By its type, written before it under its own name or its family's; by its ending where no type is written."""
    if name in types:
        return types[name] == "counter"
    for kind, parts in _CUMULATIVE_PARTS.items():
        if any(name.endswith(part) and types.get(name.removesuffix(part)) == kind for part in parts):
            return True
    return name.endswith("_total")
