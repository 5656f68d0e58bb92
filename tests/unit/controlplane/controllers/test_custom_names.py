"""How names of custom kinds are given."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.controllers.custom_resources import Taken, accept_names

_WANTED = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList", "shortNames": ["wd"]}


def _taken(**names: Any) -> Taken:
    taken = Taken()
    taken.add(names)
    return taken


def test_free_names_are_given() -> None:
    """A definition that nobody disputes must get all its names."""
    acceptance = accept_names(_WANTED | {"categories": ["all"]}, {}, Taken())
    assert acceptance.accepted
    assert acceptance.names == _WANTED | {"categories": ["all"]}


@pytest.mark.parametrize(
    ("names", "reason", "missing"),
    [
        ({"plural": "widgets"}, "PluralConflict", "plural"),
        ({"shortNames": ["widget"]}, "SingularConflict", "singular"),
        ({"singular": "wd"}, "ShortNamesConflict", "shortNames"),
        ({"listKind": "Widget"}, "KindConflict", "kind"),
        ({"kind": "WidgetList"}, "ListKindConflict", "listKind"),
    ],
)
def test_a_taken_name_is_withheld(names: dict[str, Any], reason: str, missing: str) -> None:
    """Only the name in dispute must be withheld, and the reason must say which it is."""
    acceptance = accept_names(_WANTED, {}, _taken(**names))
    assert (acceptance.accepted, acceptance.reason) == (False, reason)
    assert not acceptance.names.get(missing)
    others = _WANTED.keys() - {missing}
    assert {word: acceptance.names[word] for word in others} == {word: _WANTED[word] for word in others}


def test_own_names_are_kept() -> None:
    """A name that was given must stay given, though others want it now; one that is no longer wanted is freed."""
    acceptance = accept_names(_WANTED, _WANTED | {"singular": "old"}, _taken(plural="widgets", kind="Widget"))
    assert acceptance.accepted
    assert acceptance.names["singular"] == "widget"
    assert "shortNames" not in accept_names(_WANTED | {"shortNames": []}, _WANTED, Taken()).names
