"""The form of netlink messages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nodeagent.network.netlink import attribute, attributes, nested


@given(st.lists(st.tuples(st.integers(1, 100), st.binary(max_size=20)), max_size=10))
def test_attributes_round_trip(values: list[tuple[int, bytes]]) -> None:
    """What is packed is read back, whatever the lengths."""
    packed = b"".join(attribute(kind, value) for kind, value in values)
    assert list(attributes(packed)) == values
    ((kind, inner),) = attributes(nested(7, packed))
    assert kind == 7
    assert list(attributes(inner)) == values


@given(st.binary(max_size=64))
def test_garbage_ends(data: bytes) -> None:
    """Reading attributes of arbitrary bytes ends without an error."""
    list(attributes(data))
