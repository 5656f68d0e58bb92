"""What a leader notes of an autoscaler for the one after it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from controlplane.autoscaler.recent_changes import MOST_NOTED, RECENT_CHANGES, recalled, with_note
from controlplane.autoscaler.stabilization import DEFAULT_DOWN, DEFAULT_UP, Behavior, Change, History
from flotilla.api.objects import KubeObject, annotations_of

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
DEFAULTS = Behavior(DEFAULT_UP, DEFAULT_DOWN)


def _noted(*changes: tuple[float, int]) -> KubeObject:
    history = History((), tuple(Change(1000.0 - ago_s, delta) for ago_s, delta in changes))
    scaler: KubeObject = {"metadata": {"name": "web", "annotations": {"mine": "1"}}}
    return with_note(scaler, history, DEFAULTS, now=NOW, now_s=1000.0)


def test_what_is_noted_is_recalled_on_another_clock() -> None:
    """Changes within the policies' periods come back with their ages; others are not noted; annotations stay."""
    scaler = _noted((20.0, 7), (9.5, 4), (2.25, -1))
    assert annotations_of(scaler) == {
        "mine": "1",
        RECENT_CHANGES: "2026-01-01T11:59:50.500000Z+4 2026-01-01T11:59:57.750000Z-1",
    }
    history = recalled(scaler, 5, now=NOW + timedelta(seconds=3), now_s=50.0)
    assert history.changes == (Change(37.5, 4), Change(44.75, -1))
    assert [each.replicas for each in history.recommendations] == [5]


def test_the_note_goes_with_the_last_period() -> None:
    """Where nothing was changed lately there is no annotation, nor an empty place for one."""
    assert annotations_of(_noted((20.0, 7))) == {"mine": "1"}
    bare = with_note({"metadata": {"name": "web"}}, History(), DEFAULTS, now=NOW, now_s=0.0)
    assert bare == {"metadata": {"name": "web"}}


def test_very_many_changes_are_noted_as_fewer() -> None:
    """The note stays short, its sum is right, and what is put together counts for longer, never for less."""
    history = recalled(_noted(*((14.0 - number / 100, 1) for number in range(200))), 300, now=NOW, now_s=1000.0)
    assert len(history.changes) == MOST_NOTED
    assert sum(change.delta for change in history.changes) == 200


def test_notes_that_make_no_sense_say_nothing() -> None:
    """What users write there is not trusted: unreadable parts are left out, a time to come is now."""
    note = "tomorrow+3 2026-13-01T00:00:00Z+3 2026-01-01T11:59:59Z+x 2026-02-01T00:00:00Z+2"
    history = recalled({"metadata": {"annotations": {RECENT_CHANGES: note}}}, 5, now=NOW, now_s=50.0)
    assert history.changes == (Change(50.0, 2),)


def test_a_change_without_its_note_is_taken_for_one_of_now() -> None:
    """A leader that ended between scaling and noting it has not bought its successor another step."""
    scaler = {"metadata": {"name": "web"}, "status": {"desiredReplicas": 4}}
    assert recalled(scaler, 8, now=NOW, now_s=50.0).changes == (Change(50.0, 4),)
    assert recalled(scaler, 4, now=NOW, now_s=50.0).changes == ()
