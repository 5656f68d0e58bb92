"""What makes a schema structural: each rule by a schema that breaks it."""

from __future__ import annotations

from typing import Any

import pytest

from flotilla.api.crd.structural_rules import DEEPEST, structural_faults
from flotilla.api.objects import KubeObject

_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_EITHER = [{"type": "integer"}, {"type": "string"}]


def _root(**properties: Any) -> KubeObject:
    return {"type": "object", "properties": properties}


def _faults(schema: KubeObject) -> list[str]:
    return [f"{error.field.removeprefix('s')}: {error.message}" for error in structural_faults(schema, "s")]


@pytest.mark.parametrize(
    "schema",
    [
        _root(a={"type": "string"}),
        _root(a={_PRESERVE: True}),
        _root(a={"x-kubernetes-int-or-string": True}),
        _root(a={"x-kubernetes-int-or-string": True, "anyOf": _EITHER}),
        _root(a={"x-kubernetes-int-or-string": True, "allOf": [{"anyOf": _EITHER}, {"pattern": "^a"}]}),
        _root(a={"type": "object", "additionalProperties": {"type": "string"}}),
        _root(a={"type": "object", "x-kubernetes-embedded-resource": True, _PRESERVE: True}),
        _root(metadata={"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}}),
        {"type": "object", "properties": {"a": {"type": "string"}}, "anyOf": [{"required": ["a"]}]},
        {"type": "object", "properties": {"a": {"type": "string"}}, "not": {"properties": {"a": {"enum": ["x"]}}}},
    ],
)
def test_structural_schemas_pass(schema: KubeObject) -> None:
    """A schema that keeps the rules must have no faults."""
    assert _faults(schema) == []


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        ({}, ".type: Required value: must not be empty at the root"),
        ({"type": "string"}, '.type: Invalid value: "string": must be object at the root'),
        (
            {"type": "object", "additionalProperties": {"type": "string"}},
            ".additionalProperties: Forbidden: must not be used at the root",
        ),
        (_root(a={}), ".properties[a].type: Required value: must not be empty for specified object fields"),
        (
            _root(a={"type": "array", "items": {}}),
            ".properties[a].items.type: Required value: must not be empty for specified array items",
        ),
        (_root(a={"type": "array"}), ".properties[a].items: Required value: must be specified"),
        (_root(a={"type": "text"}), '.properties[a].type: Unsupported value: "text": supported values: "array", "b'),
        (_root(a={"type": "string", "$ref": "x"}), ".properties[a].$ref: Forbidden: $ref is not supported"),
        (
            _root(a={"type": "string", "pattern": "(?=x)"}),
            '.properties[a].pattern: Invalid value: "(?=x)": must be a valid regular expression, but isn\'t: inv',
        ),
        (
            _root(a={"type": "array", "items": {"type": "string"}, "uniqueItems": True}),
            ".properties[a].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity",
        ),
        (
            _root(
                a={
                    "type": "object",
                    "properties": {"b": {"type": "string"}},
                    "additionalProperties": {"type": "string"},
                }
            ),
            ".properties[a].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        ),
        (
            _root(a={_PRESERVE: False, "type": "object"}),
            f".properties[a].{_PRESERVE}: Invalid value: false: must be true",
        ),
        (
            _root(a={"x-kubernetes-int-or-string": True, "type": "string"}),
            '.properties[a].type: Invalid value: "string": must be empty if x-kubernetes-int-or-string is true',
        ),
        (
            _root(a={"x-kubernetes-embedded-resource": True, "type": "object"}),
            ".properties[a].properties: Required value: must not be empty if x-kubernetes-embedded-resource is true",
        ),
        (
            _root(metadata={"type": "object", "properties": {"labels": {"type": "object"}}}),
            ".properties[metadata]: Forbidden: must not specify anything other than name and generateName, but",
        ),
        (
            {"type": "object", "anyOf": [{"properties": {"a": {"minimum": 1}}}]},
            ".properties[a]: Required value: because it is defined in s.anyOf[0].properties[a]",
        ),
        (
            {"type": "object", "properties": {"a": {"type": "string"}}, "oneOf": [{"type": "object"}]},
            ".oneOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            {"type": "object", "properties": {"a": {"type": "string"}}, "allOf": [{"description": "x"}]},
            ".allOf[0].description: Forbidden: must be empty to be structural",
        ),
        (
            {"type": "object", "not": {"properties": {"metadata": {}}}},
            ".not.properties[metadata]: Forbidden: must not be specified in a nested context",
        ),
    ],
)
def test_faults_name_the_field(schema: KubeObject, fault: str) -> None:
    """Each broken rule must be reported once, at the field that breaks it."""
    found = [each for each in _faults(schema) if each.startswith(fault)]
    assert len(found) == 1, _faults(schema)


@pytest.mark.parametrize(
    ("lists", "fault"),
    [
        ({"x-kubernetes-list-map-keys": ["n"]}, 'x-kubernetes-list-type: Required value: must be "map" if'),
        ({"x-kubernetes-list-type": "bag"}, 'x-kubernetes-list-type: Unsupported value: "bag"'),
        ({"x-kubernetes-list-type": "map"}, "x-kubernetes-list-map-keys: Required value: must not be empty if"),
        (
            {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["x"]},
            'x-kubernetes-list-map-keys[0]: Invalid value: "x": entries must all be names of item properties',
        ),
        (
            {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"]},
            "items.properties[n].default: Required value: this property is in x-kubernetes-list-map-keys, so it must",
        ),
        (
            {"x-kubernetes-list-type": "set"},
            'items.x-kubernetes-map-type: Invalid value: null: must be "atomic" as item of a list with',
        ),
        (
            {"x-kubernetes-list-type": "atomic", "x-kubernetes-list-map-keys": ["n"]},
            "x-kubernetes-list-map-keys: Forbidden: must be empty if x-kubernetes-list-type is not map",
        ),
    ],
)
def test_list_types_are_checked(lists: KubeObject, fault: str) -> None:
    """What tells the items of a list apart must be there, and be scalar."""
    items = {"type": "object", "properties": {"n": {"type": "string"}}}
    found = _faults(_root(a={"type": "array", "items": items} | lists))
    assert any(each.startswith(f".properties[a].{fault}") for each in found), found


def test_deep_schemas_are_refused() -> None:
    """A schema that no recursion could follow must be refused before one tries."""
    schema: KubeObject = {"type": "object"}
    for _ in range(DEEPEST * 5):
        schema = _root(a=schema)
    assert [fault.partition(":")[2][:40] for fault in _faults(schema)] == [
        " Forbidden: must not be nested more than"[:40]
    ]
