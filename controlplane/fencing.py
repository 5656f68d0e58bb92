"""Writes that only the current leader can make.

The leader's reconcilers decide on what they saw while they led. A store wrapped here attaches the leader's fence to
each write, so that a write of a deposed leader is refused by etcd itself and not by a check that could be out of date.
Users' writes go to the plain store.
"""

from __future__ import annotations

from controlplane.election import Election
from controlplane.store.keys import LEADER_KEY
from controlplane.store.store import Fence, FencedError, Store


class FencedStore:
    """A :class:`Store` whose writes carry the fence of ``election``; FencedError before this server ever led."""

    def __init__(self, store: Store, election: Election) -> None:
        self._store = store
        self._election = election
        self.start = store.start
        self.close = store.close
        self.history_id = store.history_id
        self.revision = store.revision
        self.get = store.get
        self.list = store.list
        self.watch = store.watch
        self.compact = store.compact
        self.recover_space = store.recover_space
        self.grant_lease = store.grant_lease
        self.renew_lease = store.renew_lease
        self.revoke_lease = store.revoke_lease

    async def create(self, key: str, value: bytes, *, lease: int = 0, fence: Fence | None = None) -> int:
        return await self._store.create(key, value, lease=lease, fence=fence or self._fence())

    async def update(self, key: str, value: bytes, *, expected: int, lease: int = 0, fence: Fence | None = None) -> int:
        return await self._store.update(key, value, expected=expected, lease=lease, fence=fence or self._fence())

    async def delete(self, key: str, *, expected: int = 0, fence: Fence | None = None) -> int:
        return await self._store.delete(key, expected=expected, fence=fence or self._fence())

    def _fence(self) -> Fence:
        fence = self._election.fence
        if fence is None:
            raise FencedError(LEADER_KEY, 0)
        return fence
