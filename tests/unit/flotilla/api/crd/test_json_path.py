"""JSONPath in kubectl's dialect, and the columns that are made of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from flotilla.api.crd.columns import printer_columns
from flotilla.api.crd.json_path import InvalidPathError, parse_path, simple_fields

_OBJ: dict[str, Any] = {
    "spec": {
        "size": 3,
        "a.b": "dotted",
        "items": [{"type": "Ready", "status": "True"}, {"type": "Old", "status": "False"}],
        "on": True,
        "map": {"x": 1, "y": 2},
    },
    "metadata": {"name": "w", "creationTimestamp": "2026-01-01T00:00:00Z"},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.size", [3]),
        ("{.spec.size}", [3]),
        (r".spec.a\.b", ["dotted"]),
        (".spec['a.b']", ["dotted"]),
        ('.spec.items[?(@.type=="Ready")].status', ["True"]),
        ('.spec.items[?(@.type!="Ready")].status', ["False"]),
        (".spec.items[?(@.status)].type", ["Ready", "Old"]),
        (".spec.items[0].type", ["Ready"]),
        (".spec.items[-1].type", ["Old"]),
        (".spec.items[0:1].type", ["Ready"]),
        (".spec.items[*].type", ["Ready", "Old"]),
        (".spec.map.*", [1, 2]),
        ("..status", ["True", "False"]),
        (".spec['size','on']", [3, True]),
        (".spec.none.deeper", []),
        (".spec.items[7]", []),
    ],
)
def test_paths_are_followed(path: str, found: list[Any]) -> None:
    """A path must lead to what kubectl would print, and a missing place to nothing."""
    assert parse_path(path).find(_OBJ) == found


@pytest.mark.parametrize("path", [".spec[", ".spec[a]", "spec size", ".spec..", ".spec[?(@.a==)]"])
def test_broken_paths_are_refused(path: str) -> None:
    """A text that is no path must be told from one."""
    with pytest.raises(InvalidPathError):
        parse_path(path)


def test_simple_paths_are_names() -> None:
    """Scale and selectable paths must consist of names alone."""
    assert simple_fields(".spec.a.b") == ("spec", "a", "b")
    assert simple_fields(".spec['a.b']") == ("spec", "a.b")
    for path in ("spec", ".spec[0]", ".spec.*", "."):
        with pytest.raises(InvalidPathError):
            simple_fields(path)


def test_columns_have_their_types() -> None:
    """A cell must be of its column's type, and empty where the object has something else."""
    now = datetime(2026, 1, 1, 0, 5, tzinfo=UTC)
    wanted: list[dict[str, Any]] = [
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "Number", "type": "number", "jsonPath": ".spec.size"},
        {"name": "On", "type": "boolean", "jsonPath": ".spec.on"},
        {"name": "Text", "type": "string", "jsonPath": ".spec.map", "priority": 1},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {"name": "Wrong", "type": "integer", "jsonPath": ".spec.on"},
        {"name": "Date", "type": "date", "jsonPath": ".metadata.name"},
        {"name": "None", "type": "string", "jsonPath": ".spec.none"},
    ]
    columns = printer_columns(wanted)
    assert [column.value(_OBJ, now) for column in columns] == [
        "w",
        3,
        3.0,
        True,
        '{"x":1,"y":2}',
        "5m",
        None,
        "<invalid>",
        None,
    ]
    assert [column.priority for column in columns][4] == 1


def test_a_kind_without_columns_shows_its_age() -> None:
    """Name and age must be shown where a definition names no columns."""
    assert [column.name for column in printer_columns([])] == ["Name", "Age"]
