"""Conditions change only when they must, and keep the time of their last transition."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flotilla.api.conditions import get_condition, is_true, set_condition

_FIRST, _LATER = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)


def _set(conditions: list[dict[str, Any]], status: str, now: datetime, **more: Any) -> bool:
    settings = {"reason": "R", "message": "m"} | more
    return set_condition(conditions, "Ready", status=status, now=now, **settings)


def test_a_new_condition_is_added() -> None:
    """The first write must be complete."""
    conditions: list[dict[str, Any]] = []
    assert _set(conditions, "True", _FIRST)
    assert conditions == [
        {"type": "Ready", "lastTransitionTime": "2026-01-01T00:00:00Z", "status": "True", "reason": "R", "message": "m"}
    ]


def test_the_same_again_is_no_change() -> None:
    """Repeating a condition must not touch it."""
    conditions: list[dict[str, Any]] = []
    _set(conditions, "True", _FIRST)
    assert not _set(conditions, "True", _LATER)
    assert conditions[0]["lastTransitionTime"] == "2026-01-01T00:00:00Z"


def test_only_the_status_moves_the_transition_time() -> None:
    """Another reason keeps the time, another status moves it; lastUpdateTime moves with both."""
    conditions: list[dict[str, Any]] = []
    _set(conditions, "True", _FIRST, last_update=True)
    assert _set(conditions, "True", _LATER, reason="Other", last_update=True)
    assert conditions[0]["lastTransitionTime"] == "2026-01-01T00:00:00Z"
    assert conditions[0]["lastUpdateTime"] == "2026-01-02T00:00:00Z"
    assert _set(conditions, "False", _LATER)
    assert conditions[0]["lastTransitionTime"] == "2026-01-02T00:00:00Z"


def test_lookup() -> None:
    """A condition is found by type; one that is absent or unknown is not true."""
    obj = {"status": {"conditions": [{"type": "Ready", "status": "Unknown"}, {"type": "Available", "status": "True"}]}}
    assert get_condition(obj, "Ready") == {"type": "Ready", "status": "Unknown"}
    assert get_condition({}, "Ready") is None
    assert (is_true(obj, "Ready"), is_true(obj, "Available"), is_true(obj, "Progressing")) == (False, True, False)
