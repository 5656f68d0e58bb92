"""Manifests: what is read, and how a mistake is named."""

from __future__ import annotations

import pytest

from flotilla.api.documents import ManifestError, parse_documents

POD = b"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"


def _parse(text: bytes) -> list[dict[str, object]]:
    return [document.obj for document in parse_documents("m.yaml", text)]


def test_documents_keep_their_place() -> None:
    """Empty documents count in the numbering but give no object."""
    documents = list(parse_documents("m.yaml", b"---\n---\n" + POD + b"---\n" + POD))
    assert [document.index for document in documents] == [2, 3]
    assert documents[1].label == "m.yaml: document 3: Pod/a"


def test_lists_are_taken_apart() -> None:
    """A List's items are objects of their own."""
    text = (
        b'{"apiVersion": "v1", "kind": "List", "items": ['
        + b'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}'
        + b"]}"
    )
    assert [obj["kind"] for obj in _parse(text)] == ["Pod"]


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("2024-01-01", "2024-01-01"),
        ("12:30", "12:30"),
        ("12:30:45", "12:30:45"),
        ("0644", 420),
        ("1_000", 1000),
        ("100m", "100m"),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("-4", -4),
        ("0x1f", 31),
        ("on", True),
        ("~", None),
        ("1.2.3", "1.2.3"),
        ("0o17", 15),
    ],
)
def test_scalars_are_read_as_kubernetes_reads_them(scalar: str, value: object) -> None:
    """Dates and times of day stay text; numbers, octals and booleans are what YAML 1.1 makes of them."""
    obj = _parse(POD + f"value: {scalar}\n".encode())[0]
    assert obj["value"] == value
    assert type(obj["value"]) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a: [1", "m.yaml: document 1: not valid YAML: line 2"),
        (POD + b"---\n\tx", "m.yaml: document 2: not valid YAML: line 5"),
        (b"- a\n", "m.yaml: document 1: an object must be a mapping, this is a list"),
        (b"kind: Pod\nmetadata: {name: a}\n", "m.yaml: document 1: Pod/a: apiVersion: required"),
        (b"apiVersion: v1\nmetadata: {name: a}\n", "m.yaml: document 1: object/a: kind: required"),
        (b"apiVersion: v1\nkind: Pod\n", "m.yaml: document 1: Pod: metadata: required"),
        (b"apiVersion: v1\nkind: Pod\nmetadata: {}\n", "m.yaml: document 1: Pod: metadata.name: required"),
        (POD + b"kind: Service\n", "key 'kind' stands twice"),
        (POD + b"1: x\n", "key 1 must be text"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: bytes, message: str) -> None:
    """File, document, line or field stand in the message."""
    with pytest.raises(ManifestError) as failure:
        _parse(text)
    assert message in str(failure.value)


def test_merge_keys_and_anchors_work() -> None:
    """YAML anchors and merge keys give what they give elsewhere, without counting as keys that stand twice."""
    obj = _parse(POD + b"base: &b {x: 1, y: 2}\nmore:\n  <<: *b\n  z: 3\n")[0]
    assert obj["more"] == {"x": 1, "y": 2, "z": 3}
