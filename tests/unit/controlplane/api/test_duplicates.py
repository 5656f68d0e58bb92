"""Fields given twice, in JSON and in YAML."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.api.duplicates import duplicate_fields, duplicate_yaml_fields
from flotilla.api.objects import decode, encode


def duplicates_of(data: bytes) -> list[str]:
    return duplicate_fields(data, decode(data))


@pytest.mark.parametrize(
    ("data", "paths"),
    [
        (b'{"a":[{"b":1},{"c":{"d":1,"d":2}}],"e":1,"e":2}', ["a[1].c.d", "e"]),
        (b'{"a" :1,"a":2}', ["a"]),
        (b'{"a"\n:1,"b":{"a":2,"a":3}}', ["b.a"]),
        (b'{"a":"x\\":y","a":1}', ["a"]),
        (b'{"a":1,"\\u0061":2}', ["a"]),
        (b'{"a":"\\":","b":"\\" :"}', []),
        (b"[1,{}]", []),
    ],
)
def test_duplicates_are_named_by_their_path(data: bytes, paths: list[str]) -> None:
    """The path goes through objects and arrays; spaces, escapes and colons in strings hide nothing."""
    assert duplicates_of(data) == [f'duplicate field "{path}"' for path in paths]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('a":\\ ', max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('a":\\ ', max_size=2), inner, max_size=3),
    max_leaves=10,
)


@given(json_values)
def test_what_was_encoded_has_no_duplicates(value: Any) -> None:
    """No value makes an encoder write a field twice, and none is reported."""
    assert duplicates_of(encode(value)) == []


@given(st.dictionaries(st.text('a":\\ ', max_size=2), st.integers(), min_size=1, max_size=3))
def test_every_duplicate_is_found(fields: dict[str, int]) -> None:
    """An object whose text is repeated gives each of its fields twice."""
    inner = encode(fields)[1:-1]
    assert len(duplicates_of(b"{" + inner + b"," + inner + b"}")) == len(fields)


def test_yaml_keys_given_twice_are_named_by_their_line() -> None:
    """In the mapping that they stand in, not in others; flow and block style alike."""
    assert duplicate_yaml_fields(b"a: 1\nb:\n  a: 2\n  c: [{x: 1}, {x: 2}]\n") == []
    assert duplicate_yaml_fields(b"a: 1\nb:\n  c: 2\n  c: 3\nd: {e: 1, e: 2}\n") == [
        'line 4: key "c" already set in map',
        'line 5: key "e" already set in map',
    ]
