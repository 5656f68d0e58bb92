"""Selectors parse what kubectl takes and match as Kubernetes does."""

from __future__ import annotations

from typing import Any

import pytest

from flotilla.api.selectors import (
    EVERYTHING,
    NOTHING,
    label_selector_of,
    label_selector_of_map,
    parse_field_selector,
    parse_label_selector,
)


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ("", {}, True),
        ("a=b", {"a": "b"}, True),
        ("a==b", {"a": "c"}, False),
        ("a=", {"a": ""}, True),
        ("a=", {}, False),
        ("a!=b", {}, True),
        ("a!=b", {"a": "b"}, False),
        ("a in (b, c)", {"a": "c"}, True),
        ("a in (b,c),d", {"a": "c"}, False),
        ("a notin (b,c)", {}, True),
        ("a notin (b,c)", {"a": "b"}, False),
        ("a", {"a": "x"}, True),
        ("!a", {"a": "x"}, False),
        (" ! a ", {}, True),
        ("a>1", {"a": "2"}, True),
        ("a<1", {"a": "2"}, False),
        ("a>1", {"a": "x"}, False),
        ("example.com/in in (in,notin)", {"example.com/in": "in"}, True),
        ("in", {"in": ""}, True),
        ("a in (,b)", {"a": ""}, True),
    ],
)
def test_matching(text: str, labels: dict[str, str], expected: bool) -> None:
    """A selector's text must decide as documented, absent keys included."""
    assert parse_label_selector(text).matches(labels) is expected


@pytest.mark.parametrize(
    "text",
    ["a,", ",a", "a b", "a in b", "a in (b", "a in (b c)", "=b", "a=b=c", "a!b", "(a)", "a>x", "a b=c", "-a=b", "a=b!"],
)
def test_what_is_no_label_selector(text: str) -> None:
    """Anything else must be refused with a message."""
    with pytest.raises(ValueError, match=r".+"):
        parse_label_selector(text)


@pytest.mark.parametrize("text", ["a=b", "a!=b", "a in (b,c)", "a notin (b,c)", "!a", "a", "a>1", "a<1", "a=b,c=d"])
def test_canonical_text(text: str) -> None:
    """A selector must print in the form that it can be read from."""
    assert str(parse_label_selector(text)) == text


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        ({"matchLabels": {"b": "c", "a": "x"}}, "a=x,b=c"),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["y", "x"]}]}, "a in (x,y)"),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, "!a"),
        ({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "Exists"}]}, "a=b,c"),
    ],
)
def test_structured_selectors(selector: dict[str, Any], text: str) -> None:
    """Labels and expressions of a LabelSelector must all become requirements."""
    assert str(label_selector_of(selector)) == text


@pytest.mark.parametrize(
    "expression",
    [
        {"key": "a", "operator": "Is"},
        {"key": "a", "operator": "In"},
        {"key": "a", "operator": "Exists", "values": ["b"]},
    ],
)
def test_malformed_expressions(expression: dict[str, Any]) -> None:
    """An expression that can't be meant must be refused."""
    with pytest.raises(ValueError, match=r"operator"):
        label_selector_of({"matchExpressions": [expression]})


def test_empty_and_absent_selectors() -> None:
    """An empty LabelSelector matches everything, an absent one nothing; an empty map matches nothing."""
    assert label_selector_of({}) == EVERYTHING
    assert EVERYTHING.empty
    assert EVERYTHING.matches({})
    assert label_selector_of(None) == NOTHING == label_selector_of_map({})
    assert not NOTHING.matches({"a": "b"})
    assert label_selector_of_map({"a": "b"}).matches({"a": "b", "c": "d"})


@pytest.mark.parametrize(
    ("text", "fields", "expected"),
    [
        ("", {}, True),
        ("a.b=c", {"a.b": "c"}, True),
        ("a.b==c,d!=e", {"a.b": "c", "d": "e"}, False),
        ("a=", {}, True),
        (r"a=b\,c\=d\\", {"a": "b,c=d\\"}, True),
    ],
)
def test_field_selectors(text: str, fields: dict[str, str], expected: bool) -> None:
    """All terms must hold; a field that isn't there is empty; escapes are undone."""
    selector = parse_field_selector(text)
    assert selector.matches(fields) is expected
    assert parse_field_selector(str(selector)) == selector


@pytest.mark.parametrize("text", ["a", "=b", "a=b=c", r"a=b\x", "!a=b"])
def test_what_is_no_field_selector(text: str) -> None:
    """Anything else must be refused."""
    with pytest.raises(ValueError, match="invalid field selector"):
        parse_field_selector(text)


def test_the_value_that_a_field_must_have() -> None:
    """An equality can be looked up in an index, an inequality not."""
    selector = parse_field_selector("spec.nodeName=n,status.phase!=Failed")
    assert selector.required_value("spec.nodeName") == "n"
    assert selector.required_value("status.phase") is None
    assert selector.fields == {"spec.nodeName", "status.phase"}
