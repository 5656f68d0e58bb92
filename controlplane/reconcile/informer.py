"""Feeds a controller from the cache: everything once, then every change.

Start = subscribe, list what the cache shows at that very moment, then follow. When the cache lost history, or the
subscriber was too slow, the same starts over; every few minutes it does so anyway, as a safety net against a change
that somebody forgot to map to a key.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from controlplane.reconcile import metrics
from controlplane.store.cache import Cache, CacheEvent, RedefinedError, ResetError, SlowSubscriberError, Subscription
from flotilla.api.registry import Resource

logger = logging.getLogger(__name__)

RESYNC_S = 600.0
_SLICE = 200

Kinds: TypeAlias = Sequence[Resource] | Callable[[], Sequence[Resource]]
"""What to follow: these resources, or those that the function names at the time, and all that appear later."""


def _nothing() -> None:
    pass


class Informer:
    """``observe`` gets each event in order, synchronously; ``reset`` is called before a list starts over,
    ``listed`` when it is complete.

    Listed objects come as ADDED events, also those that were seen before.
    """

    def __init__(
        self,
        name: str,
        cache: Cache,
        *,
        resources: Kinds,
        observe: Callable[[CacheEvent], None],
        reset: Callable[[], None] = _nothing,
        listed: Callable[[], None] = _nothing,
        resync_s: float = RESYNC_S,
    ) -> None:
        self._name = name
        self._cache = cache
        self._resources = resources
        self._observe = observe
        self._reset = reset
        self._listed = listed
        self._resync_s = resync_s

    async def run(self) -> None:
        """List and follow until cancelled."""
        await self._cache.wait_synced()
        while True:
            metrics.RELISTS.labels(self._name).inc()
            resources = self._resources() if callable(self._resources) else self._resources
            subscription = self._cache.subscribe(resources, later_kinds=callable(self._resources))
            try:
                await self._list(resources)
                await self._follow_for_a_while(subscription)
            except (RedefinedError, ResetError, SlowSubscriberError) as error:
                logger.info("informer_relists", extra={"informer": self._name, "why": str(error)})
            finally:
                subscription.close()

    async def _list(self, resources: Sequence[Resource]) -> None:
        self._reset()
        # Taken in one go, before the first await: exactly the state that the subscription starts from.
        entries = [entry for resource in resources for entry in self._cache.list(resource)]
        await self._feed(CacheEvent("ADDED", entry, None, entry.revision) for entry in entries)
        self._listed()

    async def _feed(self, events: Iterable[CacheEvent]) -> None:
        for position, event in enumerate(events):
            self._guarded(event)
            if position % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)

    async def _follow_for_a_while(self, subscription: Subscription) -> None:
        try:
            async with asyncio.timeout(self._resync_s) as period:
                while True:
                    await self._feed(await subscription.batch())
        except TimeoutError:
            if not period.expired():
                raise

    def _guarded(self, event: CacheEvent) -> None:
        try:
            self._observe(event)
        except Exception:
            # One object that breaks a mapping must not stop the controller for all others.
            logger.exception("event_mapping_failed", extra={"informer": self._name, "key": event.entry.key})
