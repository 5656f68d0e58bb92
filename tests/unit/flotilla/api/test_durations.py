"""Ages read as kubectl prints them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from flotilla.api.durations import human_duration, time_since

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-2, "<invalid>"),
        (-1.5, "0s"),
        (0, "0s"),
        (119.9, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (10 * _MINUTE + 5, "10m"),
        (179 * _MINUTE, "179m"),
        (3 * _HOUR, "3h"),
        (7 * _HOUR + 59 * _MINUTE, "7h59m"),
        (8 * _HOUR + _MINUTE, "8h"),
        (47 * _HOUR, "47h"),
        (2 * _DAY, "2d"),
        (2 * _DAY + 3 * _HOUR, "2d3h"),
        (8 * _DAY + _HOUR, "8d"),
        (729 * _DAY, "729d"),
        (730 * _DAY, "2y"),
        (731 * _DAY, "2y1d"),
        (8 * 365 * _DAY + _DAY, "8y"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    """The larger the span, the coarser it is told."""
    assert human_duration(seconds) == text


def test_since() -> None:
    """Time since a moment is told from RFC 3339 text; without one it is unknown."""
    now = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
    assert time_since("2026-01-01T00:00:55.500000Z", now) == "4s"
    assert time_since(None, now) == "<unknown>"
