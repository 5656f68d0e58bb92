"""References to variables."""

from __future__ import annotations

import pytest

from nodeagent.expansion import expand


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)-$(B)", "1-$(B)"),
        ("$(A)$(A)", "11"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A ${A} $", "$A ${A} $"),
        ("$A ${A} $(", "$A ${A} $("),
        ("$(A", "$(A"),
        ("$()", "$()"),
        ("$($(A))", "$($(A))"),
        ("", ""),
    ],
)
def test_variables_are_expanded(text: str, expected: str) -> None:
    """Known names are replaced, unknown ones stay with whatever is in them, two dollars are one."""
    assert expand(text, {"A": "1"}) == expected
