"""When ended containers run again."""

from __future__ import annotations

import pytest

from nodeagent.restarts import failures_after, pull_delay_s, restart_delay_s, retry_delay_s


def test_the_first_restart_is_immediate_then_delays_double_to_a_minute() -> None:
    """0, 1, 2, 4 ... 60 seconds."""
    delays = [restart_delay_s(failures) for failures in range(1, 11)]
    assert delays == [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_ten_minutes_of_running_forgive_everything() -> None:
    """The end after a long run counts as a first one."""
    assert failures_after(7, ran_s=599) == 8
    assert failures_after(7, ran_s=600) == 1


@pytest.mark.parametrize(("failures", "delay"), [(1, 1), (2, 2), (7, 60), (10_000, 60)])
def test_preparations_never_retry_at_once(failures: int, delay: float) -> None:
    """What failed a moment ago is not tried again in the same breath, however long it has failed."""
    assert retry_delay_s(failures) == delay


def test_pulls_are_patient() -> None:
    """Pulls are repeated after 10, 20, 40 ... 300 seconds, as the kubelet does."""
    assert [pull_delay_s(failures) for failures in (1, 2, 3, 5, 6, 100)] == [10, 20, 40, 160, 300, 300]
