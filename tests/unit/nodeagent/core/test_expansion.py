"""References to variables."""

from __future__ import annotations

import pytest

from nodeagent.expansion import expand, unset_variables


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


def test_unset_variables_are_named() -> None:
    """What a text refers to and has no value, an empty one included, is named once, in order."""
    text = "$(POD)/$(NODE)/$(EMPTY)/$(POD)/$$(ESCAPED)/$(SET)"
    assert unset_variables(text, {"SET": "1", "EMPTY": ""}) == ["EMPTY", "NODE", "POD"]
