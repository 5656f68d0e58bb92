"""Events go away by themselves: each is written under a store lease that ends it an hour later.

A lease for each event would cost the store more than the events do, so all events of five minutes share one.
"""

from __future__ import annotations

import asyncio
import time

from controlplane.store.store import Store

EVENT_TTL_S = 3600
_SHARED_FOR_S = 300


class EventLeases:
    """Hands out the lease to write an event under; it outlives the event's hour by at most five minutes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lease = 0
        self._until_s = 0.0
        self._granting = asyncio.Lock()

    async def current(self) -> int:
        """A lease with at least an hour left."""
        async with self._granting:
            if time.monotonic() >= self._until_s:
                self._lease = await self._store.grant_lease(EVENT_TTL_S + _SHARED_FOR_S)
                self._until_s = time.monotonic() + _SHARED_FOR_S
            return self._lease

    def forget(self) -> None:
        """Grant a new lease next time: the store no longer knows the present one."""
        self._until_s = 0.0
