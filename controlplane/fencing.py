"""Writes that only the current leader can make.

The leader's reconcilers decide on what they saw while they led. A store wrapped here attaches the leader's fence to
each write, so that a write of a deposed leader is refused by etcd itself and not by a check that could be out of date.
Users' writes go to the plain store.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from controlplane.election import Election
from controlplane.store.store import Change, Fence, FencedError, KeyValue, Page, Store


class FencedStore:
    """A :class:`Store` whose writes carry the fence of ``election``; FencedError when this server does not lead."""

    def __init__(self, store: Store, election: Election) -> None:
        self._store = store
        self._election = election

    def _fence(self) -> Fence:
        fence = self._election.fence
        if fence is None:
            raise FencedError("this server does not hold the leadership")
        return fence

    async def start(self) -> None:
        await self._store.start()

    async def close(self) -> None:
        await self._store.close()

    async def history_id(self) -> str:
        return await self._store.history_id()

    async def revision(self) -> int:
        return await self._store.revision()

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        return await self._store.get(key, revision=revision)

    async def list(self, prefix: str, *, revision: int = 0, limit: int = 0, start_key: str = "") -> Page:
        return await self._store.list(prefix, revision=revision, limit=limit, start_key=start_key)

    async def create(self, key: str, value: bytes, *, lease: int = 0, fence: Fence | None = None) -> int:
        return await self._store.create(key, value, lease=lease, fence=fence or self._fence())

    async def update(self, key: str, value: bytes, *, expected: int, lease: int = 0, fence: Fence | None = None) -> int:
        return await self._store.update(key, value, expected=expected, lease=lease, fence=fence or self._fence())

    async def delete(self, key: str, *, expected: int = 0, fence: Fence | None = None) -> int:
        return await self._store.delete(key, expected=expected, fence=fence or self._fence())

    def watch(self, *, start_revision: int) -> AsyncIterator[list[Change]]:
        return self._store.watch(start_revision=start_revision)

    async def compact(self, revision: int) -> None:
        await self._store.compact(revision)

    async def recover_space(self) -> None:
        await self._store.recover_space()

    async def grant_lease(self, ttl_s: int) -> int:
        return await self._store.grant_lease(ttl_s)

    async def renew_lease(self, lease: int) -> bool:
        return await self._store.renew_lease(lease)

    async def revoke_lease(self, lease: int) -> None:
        await self._store.revoke_lease(lease)
