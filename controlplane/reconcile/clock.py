"""The wall clock as a parameter: timestamps in objects come from one callable, so that tests run in virtual time.

Durations inside a process come from the event loop's own monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)
