"""Pruning and completing by drawn schemas: idempotent, and nothing that is known is lost."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from flotilla.api.crd.rows import priority
from flotilla.api.crd.schemas import CompiledSchema
from flotilla.api.crd.shaping import Pruning, complete
from flotilla.api.crd.structural import Node, read_schema
from flotilla.api.crd.structural_rules import structural_faults
from flotilla.api.objects import encode

_NAMES = st.sampled_from(["a", "b", "c", "d"])
_SCALARS = st.one_of(st.integers(-5, 5), st.booleans(), st.text(max_size=3), st.none())
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_NAMES, inner, max_size=4)),
    max_leaves=12,
)
_OBJECTS = st.dictionaries(_NAMES, _VALUES, max_size=4)


@st.composite
def _leaf(draw: st.DrawFn) -> dict[str, Any]:
    type_, default = draw(st.sampled_from([("string", "x"), ("integer", 1), ("boolean", True)]))
    schema: dict[str, Any] = {"type": type_, "nullable": draw(st.booleans())}
    if draw(st.booleans()):
        schema["default"] = default
    return schema


def _branch(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    properties = st.dictionaries(_NAMES, inner, max_size=3)
    return st.one_of(
        properties.map(lambda found: {"type": "object", "properties": found}),
        properties.map(
            lambda found: {"type": "object", "properties": found, "x-kubernetes-preserve-unknown-fields": True}
        ),
        properties.map(lambda found: {"type": "object", "properties": found, "default": {}}),
        inner.map(lambda found: {"type": "object", "additionalProperties": found}),
        inner.map(lambda found: {"type": "array", "items": found}),
    )


_SCHEMAS = st.dictionaries(_NAMES, st.recursive(_leaf(), _branch, max_leaves=8), max_size=4).map(
    lambda found: {"type": "object", "properties": found}
)


def _shape(obj: dict[str, Any], node: Node) -> tuple[list[str], bool]:
    pruning = Pruning()
    pruning.prune_object(obj, node)
    return pruning.unknown, complete(obj, node)


@settings(max_examples=300, deadline=None)
@given(_SCHEMAS, _OBJECTS)
def test_shaping_twice_changes_nothing(schema: dict[str, Any], obj: dict[str, Any]) -> None:
    """What was pruned and completed once must come out of both unchanged."""
    node = read_schema(schema)
    _shape(obj, node)
    again = copy.deepcopy(obj)
    assert _shape(again, node) == ([], False)
    assert encode(again) == encode(obj)


@settings(max_examples=300, deadline=None)
@given(_SCHEMAS, _OBJECTS)
def test_completing_tells_whether_it_changed_anything(schema: dict[str, Any], obj: dict[str, Any]) -> None:
    """The cache keeps the stored bytes where nothing changed, so the answer must be right."""
    node = read_schema(schema)
    Pruning().prune_object(obj, node)
    before = encode(obj)
    assert complete(obj, node) is (encode(obj) != before)


@settings(max_examples=200, deadline=None)
@given(_SCHEMAS)
def test_drawn_schemas_are_structural_and_their_defaults_valid(schema: dict[str, Any]) -> None:
    """A schema that keeps the rules must be accepted, and a completed empty object must be valid."""
    assert structural_faults(schema, "s") == []
    compiled = CompiledSchema(schema)
    assert compiled.faults() == []
    obj: dict[str, Any] = {}
    complete(obj, compiled.node)
    errors: list[Any] = []
    compiled.check(obj, obj, (), errors)
    assert errors == []


@given(st.lists(st.sampled_from(["v1", "v2", "v10", "v1beta1", "v1beta2", "v2alpha1", "foo1", "foo10"]), unique=True))
def test_versions_have_one_order(versions: list[str]) -> None:
    """The preferred version must not depend on the order in which versions are written."""
    order = ["v10", "v2", "v1", "v1beta2", "v1beta1", "v2alpha1", "foo1", "foo10"]
    assert sorted(versions, key=priority) == [version for version in order if version in versions]
