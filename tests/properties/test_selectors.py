"""Laws of label and field selectors."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from flotilla.api.selectors import (
    FieldSelector,
    LabelSelector,
    Requirement,
    label_selector_of,
    parse_field_selector,
    parse_label_selector,
)

KEYS = st.sampled_from(["a", "b", "example.com/c", "in", "notin"])
VALUES = st.sampled_from(["x", "y", "1", "2", ""])
LABELS = st.dictionaries(KEYS, VALUES)
SETS = st.frozensets(VALUES, min_size=1)
BOUNDS = st.sampled_from(["1", "2"]).map(lambda bound: frozenset({bound}))
REQUIREMENTS = st.one_of(
    st.builds(Requirement, KEYS, st.sampled_from(["in", "notin"]), SETS),
    st.builds(Requirement, KEYS, st.sampled_from(["exists", "!"])),
    st.builds(
        Requirement, KEYS, st.sampled_from(["gt", "lt"]), st.sampled_from(["1", "2"]).map(lambda v: frozenset({v}))
    ),
)
SELECTORS = st.lists(REQUIREMENTS, max_size=4).map(lambda found: LabelSelector(tuple(found)))
FIELD_VALUES = st.text(alphabet="ab,=\\!. ", max_size=8)
TERMS = st.tuples(st.sampled_from(["metadata.name", "spec.nodeName"]), st.booleans(), FIELD_VALUES)


@given(SELECTORS, LABELS)
def test_a_printed_selector_matches_alike(selector: LabelSelector, labels: dict[str, str]) -> None:
    """Printing and reading a selector must not change what it matches."""
    assert parse_label_selector(str(selector)).matches(labels) == selector.matches(labels)


@given(REQUIREMENTS, LABELS)
def test_opposites_never_agree(requirement: Requirement, labels: dict[str, str]) -> None:
    """In and notin, exists and not exists must always be each other's negation."""
    opposites = {"in": "notin", "notin": "in", "exists": "!", "!": "exists"}
    if requirement.operator in opposites:
        opposite = Requirement(requirement.key, opposites[requirement.operator], requirement.values)
        assert requirement.matches(labels) != opposite.matches(labels)


@given(LABELS, LABELS)
def test_match_labels_is_being_a_subset(wanted: dict[str, str], labels: dict[str, str]) -> None:
    """matchLabels must match exactly the label sets that contain it."""
    assert label_selector_of({"matchLabels": wanted}).matches(labels) == (wanted.items() <= labels.items())


@st.composite
def terms(draw: st.DrawFn) -> tuple[str, Callable[[dict[str, str]], bool]]:
    """One term of a selector as a user writes it, with blanks, and what it means, said in Python."""
    key, values = draw(KEYS), sorted(draw(SETS))
    one, bound = draw(VALUES), draw(st.integers(0, 3))
    gap = draw(st.sampled_from(["", " "]))
    listed = f"({gap}{(',' + gap).join(values)}{gap})"
    kinds: list[tuple[str, Callable[[dict[str, str]], bool]]] = [
        (f"{key}{gap}={gap}{one}", lambda labels: key in labels and labels[key] == one),
        (f"{key}{gap}=={gap}{one}", lambda labels: key in labels and labels[key] == one),
        (f"{key}{gap}!={gap}{one}", lambda labels: key not in labels or labels[key] != one),
        (f"{key} in {listed}", lambda labels: key in labels and labels[key] in values),
        (f"{key} notin {listed}", lambda labels: key not in labels or labels[key] not in values),
        (f"{gap}{key}{gap}", lambda labels: key in labels),
        (f"!{gap}{key}", lambda labels: key not in labels),
        (f"{key}{gap}>{gap}{bound}", lambda labels: labels.get(key, "").isdigit() and int(labels[key]) > bound),
        (f"{key}{gap}<{gap}{bound}", lambda labels: labels.get(key, "").isdigit() and int(labels[key]) < bound),
    ]
    return draw(st.sampled_from(kinds))


@given(st.lists(terms(), max_size=4), LABELS)
def test_text_means_what_it_says(
    written: list[tuple[str, Callable[[dict[str, str]], bool]]], labels: dict[str, str]
) -> None:
    """A selector's text matches the labels for which each of its terms, evaluated directly, holds."""
    text = ",".join(term for term, _ in written)
    assert parse_label_selector(text).matches(labels) == all(holds(labels) for _, holds in written)


@given(SELECTORS, SELECTORS, LABELS)
def test_requirements_are_a_conjunction(one: LabelSelector, other: LabelSelector, labels: dict[str, str]) -> None:
    """Two selectors put together must match what both match."""
    both = LabelSelector(one.requirements + other.requirements)
    assert both.matches(labels) == (one.matches(labels) and other.matches(labels))


@given(st.lists(TERMS, max_size=3))
def test_a_printed_field_selector_reads_back(terms: list[tuple[str, bool, str]]) -> None:
    """Values must survive the escapes, whatever they hold."""
    selector = FieldSelector(tuple(terms))
    assert parse_field_selector(str(selector)) == selector


@given(st.text(max_size=40))
def test_any_text_parses_or_is_refused(text: str) -> None:
    """No text may raise anything but ValueError."""
    for parse in (parse_label_selector, parse_field_selector):
        try:
            parse(text)
        except ValueError as error:
            assert str(error)
