"""A clock that stands still while this process does.

A server that was stopped, swapped out or busy for ten seconds has heard no agent for ten seconds, and that is not the
agents' fault. The clock advances with the monotonic one, but by at most two ticks beyond the last tick that the event
loop got round to. Time that the loop did not run is therefore never counted, whichever timer fires first afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

TICK_S = 0.5
LONGEST_GAP_S = 2 * TICK_S


class AliveClock:
    """Seconds during which this process's event loop ran. Needs :meth:`run` as a task."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._ticked = monotonic()
        self._alive_s = 0.0

    def now(self) -> float:
        """Seconds since the clock was made, stalls left out. Never goes back."""
        return self._alive_s + min(self._monotonic() - self._ticked, LONGEST_GAP_S)

    def tick(self) -> None:
        """The loop runs now."""
        self._alive_s = self.now()
        self._ticked = self._monotonic()

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            self.tick()
