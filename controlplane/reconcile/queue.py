"""A work queue of keys that never gives one key to two workers.

A key that is added while it waits is in the queue once; one that is added while a worker has it comes again when that
worker is done. Delays and back-off are the event loop's timers, one a key at most, so a queue without work costs
nothing. Time is the loop's, which makes the queue testable in virtual time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

BACKOFF_BASE_S = 0.005
BACKOFF_MAXIMUM_S = 30.0
_LARGEST_EXPONENT = 30


class WorkQueue(Generic[K]):
    """Not thread-safe: everything happens on one event loop."""

    def __init__(self, *, backoff_base_s: float = BACKOFF_BASE_S, backoff_maximum_s: float = BACKOFF_MAXIMUM_S) -> None:
        self._backoff_base_s = backoff_base_s
        self._backoff_maximum_s = backoff_maximum_s
        self._ready: deque[K] = deque()
        self._dirty: set[K] = set()
        self._processing: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        """Keys that wait for a worker now; delayed ones and those being worked on are not counted."""
        return len(self._ready)

    @property
    def idle(self) -> bool:
        """Whether no key waits or is being worked on; delayed ones may be there."""
        return not self._dirty and not self._processing

    def add(self, key: K) -> None:
        """The key shall be worked on as soon as a worker is free. Cancels a delay it may have."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._processing:
            self._ready.append(key)
            self._wake_one()

    def add_after(self, key: K, delay_s: float) -> None:
        """Add the key when ``delay_s`` have passed; the earliest of several delays counts."""
        if delay_s <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + delay_s
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= due:
                return
            timer.cancel()
        self._timers[key] = loop.call_at(due, self.add, key)

    def retry(self, key: K, *, at_once_first: bool = False, maximum_s: float = float("inf")) -> float:
        """Add the key after its back-off, which doubles with every retry until :meth:`forget`; the delay in seconds.

        With ``at_once_first`` the first retry in a row has no delay; ``maximum_s`` is for what may pass any moment.
        """
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        if failures == 0 and at_once_first:
            delay_s = 0.0
        else:
            exponent = min(failures, _LARGEST_EXPONENT)
            delay_s = min(self._backoff_base_s * 2.0**exponent, self._backoff_maximum_s, maximum_s)
        self.add_after(key, delay_s)
        return delay_s

    def forget(self, key: K) -> None:
        """The key succeeded: its next failure starts from the shortest back-off again."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """The next key, in order of arrival; it is the caller's until :meth:`done`."""
        while not self._ready:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                # A wake-up that reached this worker together with its cancellation belongs to another one.
                if waiter.done() and not waiter.cancelled():
                    self._wake_one()
                raise
        key = self._ready.popleft()
        self._dirty.discard(key)
        self._processing.add(key)
        return key

    def done(self, key: K) -> None:
        """The worker is through with the key; if it was added meanwhile, it is ready again."""
        self._processing.discard(key)
        if key in self._dirty:
            self._ready.append(key)
            self._wake_one()

    def close(self) -> None:
        """Cancel all delays."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
