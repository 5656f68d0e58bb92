"""Unix time that runs evenly: the moment this process began, and what the monotonic clock has counted since.

Windows, rates and ages are told by it, so that setting the machine's clock, forwards or back, moves none of them. What
is shown to users is told by the wall clock.
"""

from __future__ import annotations

import time

_OFFSET_S = time.time() - time.monotonic()


def steady_unix_s() -> float:
    """Now, in Unix seconds as the wall clock counted them when the process began."""
    return _OFFSET_S + time.monotonic()


def shown_unix_s(steady_s: float) -> float:
    """A moment of the steady clock as the wall clock calls it today, to the hundredth of a second."""
    return steady_s + round(time.time() - steady_unix_s(), 2)
