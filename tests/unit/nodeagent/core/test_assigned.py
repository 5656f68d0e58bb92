"""Which messages change what the node holds."""

from __future__ import annotations

import pytest

from flotilla.api.objects import encode
from nodeagent.assigned import Assignments, Held, Moment, ObjectKey, OutdatedError

A, B = ObjectKey("pods", "n", "a"), ObjectKey("pods", "n", "b")


def held(version: int) -> Held:
    return Held(version, encode({"metadata": {"name": "x", "uid": str(version)}}))


def test_a_set_replaces_everything() -> None:
    """What a complete set does not contain is gone."""
    assignments = Assignments()
    assert assignments.replace({A: held(1), B: held(2)}, Moment("h", 5), confirmed=True) == {A, B}
    assert assignments.replace({B: held(2)}, Moment("h", 6), confirmed=True) == {A}
    assert set(assignments.objects) == {B}
    assert assignments.applied == Moment("h", 6)


def test_older_sets_and_increments_are_refused() -> None:
    """A server that lags takes nothing back."""
    assignments = Assignments()
    assignments.replace({A: held(4)}, Moment("h", 5), confirmed=True)
    with pytest.raises(OutdatedError):
        assignments.replace({}, Moment("h", 4), confirmed=True)
    with pytest.raises(OutdatedError):
        assignments.change({}, [A], Moment("h", 4))
    assert set(assignments.objects) == {A}


def test_increments_add_and_remove() -> None:
    """Only keys that really change are told."""
    assignments = Assignments()
    assignments.replace({A: held(1)}, Moment("h", 5), confirmed=True)
    assert assignments.change({A: held(1), B: held(6)}, [], Moment("h", 6)) == {B}
    assert assignments.change({}, [A, ObjectKey("pods", "n", "never")], Moment("h", 7)) == {A}


def test_an_older_state_of_one_object_is_passed_over() -> None:
    """Of two servers the one that knows the newer state of an object wins."""
    assignments = Assignments()
    assignments.replace({A: held(9)}, Moment("h", 9), confirmed=True)
    assert assignments.change({A: held(8)}, [], Moment("h", 9)) == set()
    assert assignments.objects[A].resource_version == 9


def test_a_new_history_removes_nothing_until_it_is_confirmed() -> None:
    """After a restored backup pods stay, and the node goes on reporting the history it had agreed on."""
    assignments = Assignments()
    assignments.replace({A: held(50)}, Moment("old", 50), confirmed=True)
    assert assignments.replace({B: held(3)}, Moment("new", 3), confirmed=False) == {B}
    assert set(assignments.objects) == {A, B}
    assert (assignments.applied, assignments.settled) == (Moment("old", 50), False)
    assert assignments.change({}, [B], Moment("new", 4)) == {B}
    assert assignments.replace({}, Moment("new", 5), confirmed=True) == {A}
    assert (assignments.applied, assignments.settled) == (Moment("new", 5), True)


def test_a_new_history_may_have_lower_versions() -> None:
    """Versions of different histories are not compared."""
    assignments = Assignments()
    assignments.replace({A: held(50)}, Moment("old", 50), confirmed=True)
    assert assignments.replace({A: held(2)}, Moment("new", 3), confirmed=True) == {A}


def test_objects_are_decoded_once() -> None:
    """Readers share one decoded object until it changes."""
    assignments = Assignments()
    assignments.replace({A: held(1)}, Moment("h", 1), confirmed=True)
    first = assignments.get(*A)
    assert first is assignments.get(*A) and first is not None
    assignments.change({A: held(2)}, [], Moment("h", 2))
    second = assignments.get(*A)
    assert second is not None and second["metadata"]["uid"] == "2"
