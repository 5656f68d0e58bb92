"""How far the cache has come, and those who wait for it to come further.

A consistent read asks the store for its present revision, unless that need not be asked
(:mod:`controlplane.store.sole`), and waits until the cache has applied it. One question is on its way at a time: all
who asked before it was sent share its answer, so that the store sees a few thousand questions a second however many
reads there are. Each caller waits on one future from the question to the end.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from itertools import count

from controlplane.store.store import StoreError, StoreUnavailableError


class _Waiters:
    """Callers that wait for the same revision, under one timer."""

    __slots__ = ("_futures", "_timer", "ended")

    def __init__(self, timeout_s: float, error: Callable[[], Exception]) -> None:
        self._futures: list[asyncio.Future[None]] = []
        self.ended = False
        self._timer = asyncio.get_running_loop().call_later(timeout_s, lambda: self.fail(error()))

    def join(self) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._futures.append(future)
        return future

    def succeed(self) -> None:
        self.end()
        for future in self._futures:
            if not future.done():
                future.set_result(None)

    def fail(self, error: Exception) -> None:
        self.end()
        for future in self._futures:
            if not future.done():
                future.set_exception(error)

    def end(self) -> None:
        """Nobody waits any more."""
        self.ended = True
        self._timer.cancel()


class Progress:
    """The revision reached, and waiting for one."""

    def __init__(self) -> None:
        self.revision = 0
        self._waiting: list[tuple[int, int, _Waiters]] = []
        self._order = count()

    def reach(self, revision: int) -> None:
        """The cache has applied everything up to ``revision``."""
        self.revision = revision
        while self._waiting and self._waiting[0][0] <= revision:
            heapq.heappop(self._waiting)[2].succeed()

    async def wait_for(self, revision: int, *, timeout_s: float) -> None:
        """Return once ``revision`` is reached; TimeoutError when it is not in time."""
        if self.revision >= revision:
            return
        waiters = _Waiters(timeout_s, lambda: TimeoutError(f"revision {revision} was not reached in {timeout_s} s"))
        self.let_wait(revision, waiters)
        try:
            await waiters.join()
        except (TimeoutError, asyncio.CancelledError):
            # The revision may be one that never comes: a client can ask for any.
            waiters.end()
            self._waiting = [each for each in self._waiting if not each[2].ended]
            heapq.heapify(self._waiting)
            raise

    def let_wait(self, revision: int, waiters: _Waiters) -> None:
        """Have ``waiters`` succeed once ``revision`` is reached, which may be now."""
        if self.revision >= revision:
            waiters.succeed()
        else:
            heapq.heappush(self._waiting, (revision, next(self._order), waiters))


class Barrier:
    """Waits until ``progress`` includes every write that the store had acknowledged when the caller asked."""

    def __init__(self, ask: Callable[[], Awaitable[int]], progress: Progress, *, timeout_s: float) -> None:
        self._ask = ask
        self._progress = progress
        self._timeout_s = timeout_s
        self._gathering: _Waiters | None = None
        self._asked = asyncio.Event()

    async def wait(self) -> None:
        """StoreUnavailableError when the store did not answer or the cache did not catch up in time."""
        if self._gathering is None or self._gathering.ended:
            self._gathering = _Waiters(self._timeout_s, self._timed_out)
            self._asked.set()
        await self._gathering.join()

    async def wait_for(self, revision: int) -> None:
        """Return once the cache includes ``revision``. StoreUnavailableError when it did not catch up in time."""
        try:
            await self._progress.wait_for(revision, timeout_s=self._timeout_s)
        except TimeoutError as error:
            raise self._timed_out() from error

    async def run(self) -> None:
        """Put the questions, one after the other, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            waiters, self._gathering = self._gathering, None
            if waiters is None or waiters.ended:
                continue
            try:
                revision = await self._ask()
            except StoreError as error:
                waiters.fail(error)
            else:
                self._progress.let_wait(revision, waiters)

    def _timed_out(self) -> Exception:
        return StoreUnavailableError(f"the cache did not catch up with the store in {self._timeout_s} s")
