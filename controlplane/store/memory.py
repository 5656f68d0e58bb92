"""A store in memory, for tests and simulations.

It keeps every version of every key down to the compacted revision and counts revisions as etcd does: an empty store
is at revision 1, each write adds one, a refused write none, and the keys of an ended lease go together in one
revision. The contract suite holds it to that. Every call passes through the event loop once before it acts, so that
concurrent callers interleave here as they do over a network. ``available``, ``full`` and :meth:`interrupt` put it into
the modes that a real store can be in.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass, field
from operator import itemgetter
from types import TracebackType
from typing import Self

from controlplane.store.history import read_or_make_history_id, replace_history_id
from controlplane.store.keys import prefix_end
from controlplane.store.store import (
    Change,
    Changes,
    ChangeType,
    CompactedError,
    Fence,
    FencedError,
    FutureRevisionError,
    KeyExistsError,
    KeyValue,
    LeaseKeeper,
    LeaseNotFoundError,
    OutOfSpaceError,
    Page,
    RevisionConflictError,
    StoreUnavailableError,
)

Version = tuple[int, KeyValue | None]
_revision_of_version: Callable[[Version], int] = itemgetter(0)


@dataclass(slots=True)
class _Lease:
    ttl_s: float
    expires_at: float
    keys: set[str] = field(default_factory=set)


class MemoryStore:
    """See :class:`controlplane.store.store.Store`. ``clock`` gives seconds and ends leases; the loop's by default."""

    def __init__(self, *, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock
        self._revision = 1
        self._compacted = 0
        self._versions: dict[str, list[Version]] = {}
        self._keys: list[str] = []
        self._log: dict[int, list[Change]] = {}
        self._leases: dict[int, _Lease] = {}
        self._last_lease = 0
        self._waiters: set[asyncio.Future[None]] = set()
        self._space_waiters: set[asyncio.Future[None]] = set()
        self._interruptions = 0
        self._available = True
        self.full = False

    @property
    def available(self) -> bool:
        """Whether the store answers; set it to False for the mode in which every call and watch fails."""
        return self._available

    @available.setter
    def available(self, value: bool) -> None:
        self._available = value
        if not value:
            self.interrupt()

    def interrupt(self) -> None:
        """Break all watches that run now, as a lost connection does."""
        self._interruptions += 1
        self._wake()

    async def start(self) -> None:
        await self._enter()

    async def close(self) -> None:
        self.interrupt()

    @property
    def seen_revision(self) -> int:
        return self._revision

    async def shares_clock(self) -> bool:
        return True

    async def history_id(self) -> str:
        return await read_or_make_history_id(self)

    async def new_history(self, known: str) -> str:
        return await replace_history_id(self, known)

    async def revision(self) -> int:
        await self._enter()
        return self._revision

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        await self._enter()
        return self._at(key, self._readable(revision))

    async def list(self, prefix: str, *, revision: int = 0, limit: int = 0, start_key: str = "") -> Page:
        await self._enter()
        at = self._readable(revision)
        first = bisect_left(self._keys, max(start_key, prefix))
        end = bisect_left(self._keys, prefix_end(prefix)) if prefix else len(self._keys)
        states = (self._at(key, at) for key in self._keys[first:end])
        found = [state for state in states if state is not None]
        items = found[:limit] if limit else found
        return Page(items=items, revision=at, more=len(items) < len(found), count=len(found))

    async def create(self, key: str, value: bytes, *, lease: int = 0, fence: Fence | None = None) -> int:
        await self._enter_write(lease)
        self._check_fence(fence)
        if self._current(key) is not None:
            raise KeyExistsError(key)
        return self._put(key, value, lease)

    async def update(self, key: str, value: bytes, *, expected: int, lease: int = 0, fence: Fence | None = None) -> int:
        if expected <= 0:
            raise ValueError(f"update of {key} without the revision that it is based on")
        await self._enter_write(lease)
        self._check_fence(fence)
        current = self._current(key)
        if current is None or current.mod_revision != expected:
            raise RevisionConflictError(key, current)
        return self._put(key, value, lease)

    async def delete(self, key: str, *, expected: int = 0, fence: Fence | None = None) -> int:
        await self._enter()
        self._check_fence(fence)
        current = self._current(key)
        if current is None or (expected and current.mod_revision != expected):
            raise RevisionConflictError(key, current)
        return self._remove([key])

    async def watch(self, *, start_revision: int, key: str = "") -> AsyncGenerator[Changes, None]:
        interruptions = self._interruptions
        await self._enter()
        revision = max(1, start_revision)
        while True:
            if self._interruptions != interruptions:
                raise StoreUnavailableError("the watch was interrupted")
            if revision <= self._compacted:
                raise CompactedError(self._compacted)
            if revision > self._revision:
                await self._next_wake(self._waiters)
                continue
            changes = self._log.get(revision, [])
            revision += 1
            shown = [change for change in changes if change.key == key] if key else changes
            if shown:
                yield shown

    async def compact(self, revision: int) -> None:
        await self._enter()
        if revision > self._revision:
            raise FutureRevisionError(f"revision {revision} is after {self._revision}")
        if revision <= self._compacted:
            return
        self._compacted = revision
        self._log = {at: changes for at, changes in self._log.items() if at > revision}
        for key in list(self._keys):
            self._forget(key, revision)
        self._wake()

    async def recover_space(self) -> None:
        await self._enter()
        self.full = False

    async def wait_out_of_space(self) -> None:
        await self._next_wake(self._space_waiters)

    async def grant_lease(self, ttl_s: int) -> int:
        await self._enter_write(0)
        self._last_lease += 1
        self._leases[self._last_lease] = _Lease(ttl_s=ttl_s, expires_at=self._now() + ttl_s)
        self._expire_later(ttl_s)
        return self._last_lease

    async def renew_lease(self, lease: int) -> bool:
        await self._enter()
        held = self._leases.get(lease)
        if held is None:
            return False
        held.expires_at = self._now() + held.ttl_s
        self._expire_later(held.ttl_s)
        return True

    async def revoke_lease(self, lease: int) -> None:
        await self._enter()
        self._end_lease(lease)

    def lease_time_s(self) -> float:
        return self._now()

    def keep_lease(self, lease: int, *, ttl_s: int, asked_at_s: float) -> LeaseKeeper:
        return _Keeper(self, lease, ttl_s=ttl_s, asked_at_s=asked_at_s, clock=self._now)

    def expire(self) -> None:
        """End the leases whose time is up. Happens on every call; a test with a clock of its own may ask for it."""
        now = self._now()
        for lease in [lease for lease, held in self._leases.items() if held.expires_at <= now]:
            self._end_lease(lease)

    def _now(self) -> float:
        return self._clock() if self._clock is not None else asyncio.get_running_loop().time()

    async def _enter(self) -> None:
        await asyncio.sleep(0)
        if not self._available:
            raise StoreUnavailableError("the store is not available")
        self.expire()

    async def _enter_write(self, lease: int) -> None:
        await self._enter()
        if self.full:
            self._wake_all(self._space_waiters)
            raise OutOfSpaceError("the store is full")
        if lease and lease not in self._leases:
            raise LeaseNotFoundError(f"lease {lease} has ended")

    def _readable(self, revision: int) -> int:
        if revision > self._revision:
            raise FutureRevisionError(f"revision {revision} is after {self._revision}")
        if revision and revision < self._compacted:
            raise CompactedError(self._compacted)
        return revision or self._revision

    def _check_fence(self, fence: Fence | None) -> None:
        for each in fence.chain() if fence is not None else ():
            current = self._current(each.key)
            if (current.create_revision if current is not None else 0) != each.create_revision:
                raise FencedError(each.key, each.create_revision)

    def _current(self, key: str) -> KeyValue | None:
        versions = self._versions.get(key)
        return versions[-1][1] if versions else None

    def _at(self, key: str, revision: int) -> KeyValue | None:
        versions = self._versions.get(key, [])
        index = bisect_right(versions, revision, key=_revision_of_version)
        return versions[index - 1][1] if index else None

    def _put(self, key: str, value: bytes, lease: int) -> int:
        previous = self._current(key)
        self._revision += 1
        created = previous.create_revision if previous else self._revision
        self._append(key, KeyValue(key, value, created, self._revision))
        for held in self._leases.values():
            held.keys.discard(key)
        if lease:
            self._leases[lease].keys.add(key)
        return self._publish([Change(ChangeType.PUT, key, value, created, self._revision, previous)])

    def _remove(self, keys: Iterable[str]) -> int:
        self._revision += 1
        changes = []
        for key in keys:
            previous = self._current(key)
            self._append(key, None)
            changes.append(Change(ChangeType.DELETE, key, b"", 0, self._revision, previous))
            for held in self._leases.values():
                held.keys.discard(key)
        return self._publish(changes)

    def _append(self, key: str, state: KeyValue | None) -> None:
        if key not in self._versions:
            self._versions[key] = []
            insort(self._keys, key)
        self._versions[key].append((self._revision, state))

    def _publish(self, changes: Changes) -> int:
        self._log[self._revision] = changes
        self._wake()
        return self._revision

    def _forget(self, key: str, revision: int) -> None:
        versions = self._versions[key]
        index = bisect_right(versions, revision, key=_revision_of_version)
        keep_from = index - 1 if index and versions[index - 1][1] is not None else index
        versions[:keep_from] = []
        if not versions:
            del self._versions[key]
            del self._keys[bisect_left(self._keys, key)]

    def _end_lease(self, lease: int) -> None:
        held = self._leases.pop(lease, None)
        if held is not None and held.keys:
            self._remove(sorted(held.keys))

    def _expire_later(self, ttl_s: float) -> None:
        if self._clock is None:
            asyncio.get_running_loop().call_later(ttl_s + 0.001, self.expire)

    def _wake(self) -> None:
        self._wake_all(self._waiters)

    @staticmethod
    def _wake_all(waiters: set[asyncio.Future[None]]) -> None:
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        waiters.clear()

    @staticmethod
    async def _next_wake(waiters: set[asyncio.Future[None]]) -> None:
        waiter = asyncio.get_running_loop().create_future()
        waiters.add(waiter)
        try:
            await waiter
        finally:
            waiters.discard(waiter)


class _Keeper:
    """Renews from a task; the in-memory store has no network that a stalled loop could starve."""

    def __init__(
        self, store: MemoryStore, lease: int, *, ttl_s: int, asked_at_s: float, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._lease = lease
        self._ttl_s = ttl_s
        self._clock = clock
        self._expires_at = asked_at_s + ttl_s
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._renew())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def remaining_s(self) -> float:
        return self._expires_at - self._clock()

    def touch(self) -> None:
        pass

    async def wait_lost(self) -> None:
        while (remaining := self.remaining_s()) > 0:
            assert self._task is not None
            await asyncio.wait([self._task], timeout=remaining)
            if self._task.done():
                return

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._ttl_s / 4)
            sent = self._clock()
            try:
                if not await self._store.renew_lease(self._lease):
                    self._expires_at = sent
                    return
            except StoreUnavailableError:
                continue
            self._expires_at = sent + self._ttl_s
