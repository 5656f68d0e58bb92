"""Custom objects against their schema: what is refused, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from flotilla.api.crd.formats import FORMATS
from flotilla.api.crd.validation import MISSING, compile_schema
from flotilla.api.errors import FieldError
from flotilla.api.objects import KubeObject

_STRING = {"type": "string"}
_BY_NAME = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}


def _root(**properties: Any) -> KubeObject:
    return {"type": "object", "properties": properties}


def _faults(schema: KubeObject, value: Any, old: Any = MISSING) -> list[str]:
    errors: list[FieldError] = []
    compile_schema(schema)(value, old, (), errors)
    return [str(error) for error in errors]


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        ({"type": "integer"}, "x", 'a: Invalid value: "string": a in body must be of type integer: "string"'),
        ({"type": "integer"}, True, 'a: Invalid value: "boolean": a in body must be of type integer: "boolean"'),
        ({"type": "integer"}, 1.5, 'a: Invalid value: "number": a in body must be of type integer: "number"'),
        (_STRING, None, 'a: Invalid value: "null": a in body must be of type string: "null"'),
        ({"type": "array"}, {}, 'a: Invalid value: "object": a in body must be of type array: "object"'),
        ({"type": "integer", "maximum": 3}, 4, "a: Invalid value: 4: a in body should be less than or equal to 3"),
        (
            {"type": "integer", "maximum": 3, "exclusiveMaximum": True},
            3,
            "a: Invalid value: 3: a in body should be less than 3",
        ),
        ({"type": "integer", "minimum": 3}, 2, "a: Invalid value: 2: a in body should be greater than or equal to 3"),
        (
            {"type": "number", "minimum": 0.5, "exclusiveMinimum": True},
            0.5,
            "a: Invalid value: 0.5: a in body should be greater than 0.5",
        ),
        ({"type": "integer", "multipleOf": 2}, 3, "a: Invalid value: 3: a in body should be a multiple of 2"),
        (_STRING | {"maxLength": 2}, "abc", "a: Too long: may not be more than 2 bytes"),
        (_STRING | {"minLength": 2}, "a", 'a: Invalid value: "a": a in body should be at least 2 chars long'),
        (_STRING | {"pattern": "^a+$"}, "b", "a: Invalid value: \"b\": a in body should match '^a+$'"),
        (_STRING | {"enum": ["x", "y"]}, "z", 'a: Unsupported value: "z": supported values: "x", "y"'),
        (
            _STRING | {"format": "ipv4"},
            "1.2.3",
            'a: Invalid value: "1.2.3": a in body must be of type ipv4: "1.2.3"',
        ),
        ({"type": "array", "maxItems": 1}, [1, 2], "a: Too many: 2: must have at most 1 items"),
        ({"type": "array", "minItems": 1}, [], "a: Invalid value: 0: a in body should have at least 1 items"),
        ({"type": "object", "maxProperties": 0}, {"b": 1}, "a: Too many: 1: must have at most 0 items"),
        (
            {"type": "object", "minProperties": 1},
            {},
            'a: Invalid value: "object": a in body should have at least 1 properties',
        ),
        ({"type": "object", "required": ["b"]}, {}, "a.b: Required value"),
        ({"type": "array", "items": _STRING}, ["x", 1], 'a[1]: Invalid value: "integer": a[1] in body must be of type'),
        (
            {"type": "object", "additionalProperties": _STRING},
            {"k": 1},
            'a.k: Invalid value: "integer": a.k in body must be of type string: "integer"',
        ),
        (
            {"type": "array", "items": _STRING, "x-kubernetes-list-type": "set"},
            ["x", "x"],
            'a[1]: Duplicate value: "x"',
        ),
        (
            {"type": "array", "items": _root(name=_STRING)} | _BY_NAME,
            [{"name": "x"}, {"name": "y"}, {"name": "x"}],
            'a[2]: Duplicate value: {"name":"x"}',
        ),
        (
            {"x-kubernetes-int-or-string": True},
            [],
            'a: Invalid value: "array": a in body must be of type integer,string: "array"',
        ),
    ],
)
def test_faults_are_worded_as_kubernetes_words_them(schema: KubeObject, value: Any, message: str) -> None:
    """Each wrong value must be named by its field, with the reason in kube-openapi's words."""
    (fault,) = _faults(_root(a=schema), {"a": value})
    assert fault.startswith(message)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer"}, 1.0),
        ({"type": "number"}, 1),
        (_STRING | {"nullable": True}, None),
        (_STRING | {"format": "unheard-of"}, "x"),
        ({"x-kubernetes-int-or-string": True}, "25%"),
        ({"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}, 5),
        ({"type": "array", "items": _STRING, "x-kubernetes-list-type": "set"}, ["x", "y"]),
        ({"type": "object", "x-kubernetes-preserve-unknown-fields": True}, {"x": [None]}),
        ({"enum": [1, True, None], "nullable": True}, True),
    ],
)
def test_good_values_pass(schema: KubeObject, value: Any) -> None:
    """What the schema allows must have no fault."""
    assert _faults(_root(a=schema), {"a": value}) == []


def test_compositions_say_what_does_not_hold() -> None:
    """A failed composition must be named, with the faults of the alternative that comes closest."""
    parts = [{"required": ["a"]}, {"required": ["b", "c"]}]
    schema = _root(a=_STRING, b=_STRING, c=_STRING)
    both = {"a": "x", "b": "x", "c": "x"}
    whole = '<nil>: Invalid value: "": "" must validate'
    assert _faults(schema | {"anyOf": parts}, {}) == [f"{whole} at least one schema (anyOf)", "a: Required value"]
    assert _faults(schema | {"anyOf": parts}, both) == []
    one = f"{whole} one and only one schema (oneOf). Found"
    assert _faults(schema | {"oneOf": parts}, {}) == [f"{one} none valid", "a: Required value"]
    assert _faults(schema | {"oneOf": parts}, both) == [f"{one} 2 valid alternatives"]
    assert _faults(schema | {"oneOf": parts}, {"a": "x"}) == []
    assert _faults(schema | {"allOf": parts}, {"a": "x"})[0] == f"{whole} all the schemas (allOf)"
    assert _faults(schema | {"not": parts[0]}, {"a": "x"}) == [
        '<nil>: Invalid value: "": "" must not validate the schema (not)'
    ]


def test_unchanged_values_are_not_judged_again() -> None:
    """An object that a stricter schema would refuse must stay editable where nothing that is wrong is touched."""
    item = _root(name=_STRING, size={"type": "integer", "maximum": 1})
    schema = _root(a={"type": "integer", "maximum": 1}, b=_STRING, items={"type": "array", "items": item} | _BY_NAME)
    old = {"a": 5, "b": "x", "items": [{"name": "x", "size": 5}, {"name": "y", "size": 1}]}
    assert _faults(schema, old) != []
    assert _faults(schema, old | {"b": "y"}, old) == []
    moved = [{"name": "y", "size": 1}, {"name": "x", "size": 5}]
    assert _faults(schema, old | {"items": moved}, old) == []
    assert len(_faults(schema, old | {"a": 6}, old)) == 1
    grown = [{"name": "x", "size": 6}, {"name": "y", "size": 1}]
    assert len(_faults(schema, old | {"items": grown}, old)) == 1


def test_true_is_not_one() -> None:
    """A boolean in the place of a number must be seen as a change, and as wrong."""
    assert len(_faults(_root(a={"type": "integer"}), {"a": True}, {"a": 1})) == 1


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("ipv4", "10.0.0.1", "10.0.0.256"),
        ("ipv6", "fe80::1", "10.0.0.1"),
        ("cidr", "10.0.0.0/8", "10.0.0.0"),
        ("uri", "https://example.com/x", "example"),
        ("email", "a@example.com", "a"),
        ("hostname", "a.example.com", "-a"),
        ("mac", "00:1b:44:11:3a:b7", "00:1b:44"),
        ("uuid", "123e4567-e89b-42d3-a456-426614174000", "123"),
        ("uuid4", "123e4567-e89b-42d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000"),
        ("date", "2026-02-28", "2026-02-30"),
        ("date-time", "2026-02-28T10:00:00Z", "2026-02-28 10:00:00"),
        ("duration", "1h30m", "1 parsec"),
        ("byte", "aGVsbG8=", "hello!"),
        ("isbn", "978-0-306-40615-7", "978-0-306-40615-8"),
        ("isbn10", "0-306-40615-2", "0-306-40615-3"),
        ("creditcard", "4111 1111 1111 1111", "4111 1111 1111 1112"),
        ("hexcolor", "#fff", "#ffff"),
        ("rgbcolor", "rgb(1, 2, 255)", "rgb(1, 2, 256)"),
        ("ssn", "111-22-3333", "111"),
        ("bsonobjectid", "507f1f77bcf86cd799439011", "507f"),
        ("k8s-short-name", "web", "Web"),
        ("k8s-long-name", "web.example.com", "web..com"),
    ],
)
def test_formats(name: str, good: str, bad: str) -> None:
    """A format must take what it stands for and nothing else."""
    assert FORMATS[name](good)
    assert not FORMATS[name](bad)
