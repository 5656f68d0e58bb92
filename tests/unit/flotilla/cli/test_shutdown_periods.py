"""Shutdown grace periods as options give them."""

from __future__ import annotations

import pytest

from flotilla.cli.failures import CommandError
from flotilla.cli.shutdown_periods import parse_periods


def test_two_periods_or_a_list() -> None:
    """Both forms of the kubelet's settings come to times by priority; nothing set is nothing."""
    assert parse_periods(total="0s", critical="0s", by_priority="") == ()
    assert parse_periods(total="30s", critical="10s", by_priority="") == ((0, 20.0), (2_000_000_000, 10.0))
    assert parse_periods(total="0s", critical="0s", by_priority="1000=1m,0=20s") == ((0, 20.0), (1000, 60.0))


@pytest.mark.parametrize(
    ("total", "critical", "by_priority", "message"),
    [
        ("10s", "30s", "", "--shutdown-grace-period-critical-pods: 30s is more than"),
        ("10s", "0s", "0=10s", "leave out --shutdown-grace-period"),
        ("0s", "0s", "high=10s", "is not PRIORITY=DURATION"),
        ("0s", "0s", "0=1s,0=2s", "priority 0 is given twice"),
        ("soon", "0s", "", "'soon' is not a duration"),
    ],
)
def test_contradictions_are_refused(total: str, critical: str, by_priority: str, message: str) -> None:
    """The message names the option."""
    with pytest.raises(CommandError, match=message):
        parse_periods(total=total, critical=critical, by_priority=by_priority)
