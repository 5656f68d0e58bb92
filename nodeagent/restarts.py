"""When an ended container runs again.

The first restart is immediate: most crashes are single. Then the delay doubles from 1 s to 60 s, counted from the end
of the run, and a run of ten minutes makes the next crash a first one again (Kubernetes: from 10 s to 300 s).
Failed preparations repeat with the same doubling, without an immediate first retry. Failed pulls have the kubelet's
delays, from 10 s to 300 s: registries count who asks them, and lock out who asks too often.
"""

from __future__ import annotations

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 60.0
FIRST_PULL_DELAY_S = 10.0
LONGEST_PULL_DELAY_S = 300.0
RESET_AFTER_S = 600.0


def failures_after(failures: int, *, ran_s: float) -> int:
    """The number of ends in a row, this one included, given the number before and how long the container ran."""
    return 1 if ran_s >= RESET_AFTER_S else failures + 1


def restart_delay_s(failures: int) -> float:
    """The delay before the restart that follows the given number of ends in a row (1 or more)."""
    if failures <= 1:
        return 0.0
    return _doubled(failures - 2, LONGEST_DELAY_S)


def retry_delay_s(failures: int) -> float:
    """The delay before trying a preparation again that has failed the given number of times (1 or more)."""
    return _doubled(failures - 1, LONGEST_DELAY_S)


def pull_delay_s(failures: int) -> float:
    """The delay before pulling again after the given number of failed pulls (1 or more)."""
    return min(LONGEST_PULL_DELAY_S, FIRST_PULL_DELAY_S * _doubled(failures - 1, LONGEST_PULL_DELAY_S))


def _doubled(times: int, longest_s: float) -> float:
    # 2 ** 16 s is past every limit; the bound keeps the power small however long something has failed.
    return min(longest_s, FIRST_DELAY_S * float(2 ** min(max(times, 0), 16)))
