"""Events go away by themselves: each is written under a store lease that ends it an hour later.

A lease for each event would cost the store more than the events do, so all events of five minutes share one. While
there are many, new ones live ten minutes only: a cluster whose pods come and go every second would otherwise keep a
hundred thousand of them, in the store and in every server's memory (1.3 KB each).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from controlplane.store.store import Store

MANY_EVENTS = 10_000
TTL_S = 3600
SHORT_TTL_S = 600
_SHARED_FOR_S = 300


class EventLeases:
    """Hands out the lease to write an event under; it outlives the event's time by at most five minutes.

    ``count`` tells how many events there are.
    """

    def __init__(self, store: Store, *, count: Callable[[], int]) -> None:
        self._store = store
        self._count = count
        self._lease = 0
        self._ttl_s = 0
        self._until_s = 0.0
        self._granting = asyncio.Lock()

    async def current(self) -> int:
        """A lease with at least an hour left, ten minutes while there are many events."""
        async with self._granting:
            ttl_s = SHORT_TTL_S if self._count() >= MANY_EVENTS else TTL_S
            if ttl_s < self._ttl_s or time.monotonic() >= self._until_s:
                self._lease = await self._store.grant_lease(ttl_s + _SHARED_FOR_S)
                self._ttl_s, self._until_s = ttl_s, time.monotonic() + _SHARED_FOR_S
            return self._lease

    def forget(self) -> None:
        """Grant a new lease next time: the store no longer knows the present one."""
        self._until_s = 0.0
