"""What was written and is not shown yet."""

from __future__ import annotations

from controlplane.api.recent_writes import MOST, RecentWrites


def test_a_write_is_remembered_until_the_cache_shows_it() -> None:
    """It is the newest state before that, and of no use afterwards."""
    recent = RecentWrites()
    recent.note("a", b"1", 5, shown=3)
    found = recent.newest("a", shown=4)
    assert found is not None and (found.value, found.mod_revision) == (b"1", 5)
    assert recent.newest("a", shown=5) is None
    recent.note("b", b"1", 6, shown=6)
    assert recent.newest("b", shown=0) is None


def test_a_later_write_takes_the_place_of_an_earlier_one() -> None:
    """Whichever comes back first from the cache."""
    recent = RecentWrites()
    recent.note("a", b"1", 5, shown=3)
    recent.note("b", b"2", 6, shown=3)
    recent.note("a", b"3", 7, shown=5)
    found = recent.newest("a", shown=6)
    assert found is not None and found.value == b"3"


def test_what_somebody_else_has_changed_is_forgotten() -> None:
    """A refusal by the store says that the state is not the newest."""
    recent = RecentWrites()
    recent.note("a", b"1", 5, shown=3)
    recent.forget("a")
    assert recent.newest("a", shown=3) is None


def test_memory_is_bounded_while_the_cache_stands_still() -> None:
    """The oldest go."""
    recent = RecentWrites()
    for number in range(MOST + 10):
        recent.note(str(number), b"", number + 1, shown=0)
    assert recent.newest("9", shown=0) is None
    assert recent.newest("10", shown=0) is not None
