"""Long work on the event loop, cut into slices, of which only one has a turn in each round of the loop.

Several large lists at once would otherwise each hold the loop for a slice in every round, and a GET, which takes a few
rounds, would wait for the sum of them all. Work that is done within a slice never waits.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from weakref import WeakKeyDictionary

SLICE_S = 0.002


class _Turns:
    """Those who wait for a turn, on one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._scheduled = False

    async def wait(self) -> None:
        future = self._loop.create_future()
        self._waiting.append(future)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._give)
        await future

    def _give(self) -> None:
        """Wake the next one, whose slice is in the next round, and come again then."""
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                self._loop.call_soon(self._give)
                return
        self._scheduled = False


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns] = WeakKeyDictionary()


def _turns_of(loop: asyncio.AbstractEventLoop) -> _Turns:
    found = _turns.get(loop)
    if found is None:
        found = _turns[loop] = _Turns(loop)
    return found


class Breather:
    """Waits for another turn once a piece of work has held the loop for :data:`SLICE_S`."""

    def __init__(self) -> None:
        self._until_s = time.monotonic() + SLICE_S

    async def breathe(self) -> None:
        """Go on or wait; to be called often."""
        if time.monotonic() > self._until_s:
            await _turns_of(asyncio.get_running_loop()).wait()
            self._until_s = time.monotonic() + SLICE_S
