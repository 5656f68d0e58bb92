"""A reconciler must not decide on a state that lacks its own last writes.

One watch feeds the cache of every kind, so "the cache has reached the revision of my write" is decidable, and waiting
for that replaces counted expectations and their time-outs. After a write whose outcome is unknown the cache catches up
with the store itself.
"""

from __future__ import annotations

from typing import Generic

from controlplane.reconcile.queue import K
from controlplane.store.cache import Cache
from flotilla.api.objects import KubeObject, resource_version_of

CATCH_UP_S = 10.0
_UNSURE = -1


class OwnWrites(Generic[K]):
    """Per key, the newest revision that its reconciler has written and not yet seen in the cache."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._revisions: dict[K, int] = {}

    def wrote(self, key: K, stored: KubeObject | None) -> None:
        """A write for the key returned this object (None: there was nothing to write to)."""
        revision = resource_version_of(stored) if stored is not None else 0
        known = self._revisions.get(key, 0)
        if known != _UNSURE and revision > max(known, self._cache.revision):
            self._revisions[key] = revision

    def unsure(self, key: K) -> None:
        """A write for the key failed in a way that leaves open whether it took effect."""
        self._revisions[key] = _UNSURE

    async def catch_up(self, key: K) -> None:
        """Wait until the cache shows what was written for the key. TimeoutError, StoreError (transient)."""
        revision = self._revisions.get(key)
        if revision is None:
            return
        if revision == _UNSURE:
            await self._cache.barrier()
        elif revision > self._cache.revision:
            await self._wait_for(key, revision)
        self._revisions.pop(key, None)

    async def _wait_for(self, key: K, revision: int) -> None:
        try:
            await self._cache.wait_for(revision, timeout_s=CATCH_UP_S)
        except TimeoutError:
            # A restored store may never reach the revision again; what it has now is all that can be asked for.
            self.unsure(key)
            raise
