"""Pruning and completing objects by their schema."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from flotilla.api.crd.shaping import Pruning, complete
from flotilla.api.crd.structural import read_schema
from flotilla.api.objects import KubeObject

_PRESERVE = "x-kubernetes-preserve-unknown-fields"


def _root(**properties: Any) -> KubeObject:
    return {"type": "object", "properties": properties}


def _pruned(schema: KubeObject, obj: KubeObject) -> tuple[KubeObject, list[str]]:
    kept, pruning = copy.deepcopy(obj), Pruning()
    pruning.prune_object(kept, read_schema(schema))
    return kept, pruning.unknown


def _completed(schema: KubeObject, obj: KubeObject) -> KubeObject:
    result = copy.deepcopy(obj)
    changed = complete(result, read_schema(schema))
    assert changed is (result != obj)
    return result


_STRING = {"type": "string"}
_OBJECT = {"type": "object", "properties": {"b": _STRING}}


@pytest.mark.parametrize(
    ("schema", "value", "kept", "unknown"),
    [
        (_OBJECT, {"b": "x", "c": 1}, {"b": "x"}, ["a.c"]),
        ({"type": "array", "items": _OBJECT}, [{"b": "x"}, {"c": 1}], [{"b": "x"}, {}], ["a[1].c"]),
        ({"type": "object", "additionalProperties": _OBJECT}, {"k": {"b": "x", "c": 1}}, {"k": {"b": "x"}}, ["a.k.c"]),
        ({"type": "object", "additionalProperties": True}, {"k": {"c": 1}}, {"k": {"c": 1}}, []),
        ({"type": "object", _PRESERVE: True}, {"c": {"d": None}}, {"c": {"d": None}}, []),
        (_OBJECT | {_PRESERVE: True}, {"c": {"d": 1}, "b": "x"}, {"c": {"d": 1}, "b": "x"}, []),
        (_root(b=_OBJECT) | {_PRESERVE: True}, {"b": {"c": 1}, "e": 1}, {"b": {}, "e": 1}, ["a.b.c"]),
        ({_PRESERVE: True}, [1, {"x": 2}], [1, {"x": 2}], []),
        ({"type": "object"}, {"c": 1}, {}, ["a.c"]),
    ],
)
def test_unknown_fields_go(schema: KubeObject, value: Any, kept: Any, unknown: list[str]) -> None:
    """What the schema doesn't know must be dropped and named, unless it says that unknown fields stay."""
    assert _pruned(_root(a=schema), {"a": value}) == ({"a": kept}, unknown)


def test_every_object_keeps_what_it_is() -> None:
    """Kind, version and metadata must stay whatever the schema says, at the root and in embedded objects."""
    whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"x": 1}}
    assert _pruned({"type": "object"}, whole)[0] == {name: whole[name] for name in ("apiVersion", "kind", "metadata")}
    embedded = {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"spec": {"type": "object"}}}
    inner = whole | {"metadata": {"name": "p", "odd": 1}}
    kept, unknown = _pruned(_root(a=embedded), {"a": inner})
    assert kept["a"] == whole | {"spec": {}}
    assert sorted(unknown) == ["a.metadata.odd", "a.spec.x"]


def test_defaults_are_filled_in() -> None:
    """An absent field must get a copy of its default, and what the default contains is completed too."""
    schema = _root(
        a=_root(b={"type": "integer", "default": 1}) | {"default": {}},
        c={"type": "array", "items": _root(d={"type": "string", "default": "x"})},
        m={"type": "object", "additionalProperties": _root(d={"type": "string", "default": "x"})},
    )
    assert _completed(schema, {}) == {"a": {"b": 1}}
    assert _completed(schema, {"a": {"b": 2}, "c": [{}, {"d": "y"}], "m": {"k": {}}}) == {
        "a": {"b": 2},
        "c": [{"d": "x"}, {"d": "y"}],
        "m": {"k": {"d": "x"}},
    }
    assert _completed(schema, {"a": None}) == {"a": {"b": 1}}


def test_nulls_mean_nothing_unless_nullable() -> None:
    """A null must become the default or go; only a nullable field keeps it."""
    schema = _root(
        plain=_STRING,
        defaulted=_STRING | {"default": "x"},
        nullable=_STRING | {"nullable": True},
        both=_STRING | {"nullable": True, "default": "x"},
        items={"type": "array", "items": _root(plain=_STRING)},
    )
    nulls = {"plain": None, "defaulted": None, "nullable": None, "both": None, "items": [{"plain": None}]}
    assert _completed(schema, nulls) == {"defaulted": "x", "nullable": None, "both": None, "items": [{}]}
    assert _completed(_root(raw={"type": "object", _PRESERVE: True}), {"raw": {"x": None}}) == {"raw": {"x": None}}


def test_defaults_are_copies() -> None:
    """Two objects must never share what they were completed with."""
    node = read_schema(_root(a={"type": "array", "items": _STRING, "default": ["x"]}))
    first: KubeObject = {}
    second: KubeObject = {}
    complete(first, node)
    complete(second, node)
    first["a"].append("y")
    assert second == {"a": ["x"]}
