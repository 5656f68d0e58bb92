"""Consistent reads that ask nobody, while this server is provably the only one that can write.

A consistent read has to know how far the store has come, and asking it is most of what a small read waits for. A server
that is alone need not ask: whatever was acknowledged went through its own hands. What makes it certain that it is alone
is one key, ``SOLE_KEY``:

- *No write passes it by.* Every write of every server is a transaction on the condition that the key is absent, or is
  the writer's own. The store itself refuses the others.
- *No read does.* A server that does not hold the key asks, and its question is the reading of this key: an answer
  counts only if the key is absent. It shows its cache only while no other server's key is in it, for what was written
  under such a key may be known here before its holder knows.
- *The key is there for as long as the holder answers.* It goes in three ways only: its holder deletes it, having
  stopped answering before; its lease runs out, which the holder's clock knows earlier, counted from the sending of the
  last renewal, for nobody holds unless the store runs on the same machine and by the same clock; a successor removes it
  that has the file lock which the holder kept until its death.

At a moment at which the holder's lease certainly lives, then, nobody else has written or been shown anything since the
key was created, and what this server has told its own clients lies at or before the highest revision that an answer of
the store has named to it. A read that began before that moment and is shown the cache once it is there has missed
nothing. Being stopped at any point between changes nothing, for a read may show any state between its beginning and its
end.

Servers register under ``SERVERS_PREFIX``, for one that is not alone does not try. That is courtesy and not part of the
proof: a server that finds the key held asks the holder to let go, by touching the key, and waits until it is gone.
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Any

import msgspec

from controlplane.store.keys import SERVERS_PREFIX, SOLE_KEY
from controlplane.store.process_lock import ProcessLock
from controlplane.store.store import (
    Backend,
    CompactedError,
    Fence,
    FencedError,
    KeyExistsError,
    KeyValue,
    LeaseKeeper,
    LeaseNotFoundError,
    RevisionConflictError,
    StoreError,
    StoreUnavailableError,
)

logger = logging.getLogger(__name__)

LEASE_S = 4
LOOK_AGAIN_S = 5.0
RETRY_S = 0.2
TOUCH_S = 1.0
GIVE_WAY_S = 10.0
RESIGN_TIMEOUT_S = 1.0


class _Holder(msgspec.Struct, frozen=True):
    """The value of the key and of a registration; ``asked`` once another server wants the key gone."""

    instance: str
    lease: int
    lock: str
    asked: bool = False


class SoleStore:
    """A :class:`controlplane.store.store.Backend` for one server of a cluster, on ``store``.

    ``look_again_s`` is how often it looks whether it is alone when it is not, or has just let go of the key.
    """

    def __init__(
        self, store: Backend, lock: ProcessLock, *, lease_s: int = LEASE_S, look_again_s: float = LOOK_AGAIN_S
    ) -> None:
        self._store = store
        self._lock = lock
        self._lease_s = lease_s
        self._look_again_s = look_again_s
        self._instance = uuid.uuid4().hex
        self._held = 0
        self._answering: LeaseKeeper | None = None
        self._overtaken = False
        self._changing = asyncio.Lock()
        self.start = store.start
        self.close = store.close
        self.history_id = store.history_id
        self.list = store.list
        self.watch = store.watch
        self.compact = store.compact
        self.recover_space = store.recover_space
        self.wait_out_of_space = store.wait_out_of_space
        self.grant_lease = store.grant_lease
        self.renew_lease = store.renew_lease
        self.revoke_lease = store.revoke_lease
        self.shares_clock = store.shares_clock
        self.lease_time_s = store.lease_time_s

    @property
    def seen_revision(self) -> int:
        return self._store.seen_revision

    @property
    def overtaken(self) -> bool:
        """Whether another server's key was there, as of what was observed last."""
        return self._overtaken

    def observe(self, item: KeyValue | None) -> None:
        """The cache has come to where this is the state of ``SOLE_KEY``."""
        self._overtaken = item is not None and _holder(item).instance != self._instance

    def acknowledged(self) -> int:
        """The revision by which every write lies that any server has acknowledged up to now; 0: ask for it.

        The creation of the key lies by it too, whose answer has named its revision.
        """
        keeper = self._answering
        if keeper is None or keeper.remaining_s() <= 0:
            return 0
        return self._store.seen_revision

    async def new_history(self, known: str) -> str:
        self._answering, self._held = None, 0
        return await self._store.new_history(known)

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        """As the store's. A present state is shown only once no other server may answer without knowing it."""
        found = await self._store.get(key, revision=revision)
        if not revision and not self.acknowledged():
            await self.revision()
        return found

    async def revision(self) -> int:
        """As the store's; waits until no other server answers alone. StoreUnavailableError."""
        while True:
            page = await self._store.list(SOLE_KEY, limit=1)
            if not page.items or page.items[0].create_revision == self._held:
                return page.revision
            await self._let_pass()

    async def create(self, key: str, value: bytes, *, lease: int = 0, fence: Fence | None = None) -> int:
        return await self._write(lambda sole: self._store.create(key, value, lease=lease, fence=sole), fence)

    async def update(self, key: str, value: bytes, *, expected: int, lease: int = 0, fence: Fence | None = None) -> int:
        return await self._write(
            lambda sole: self._store.update(key, value, expected=expected, lease=lease, fence=sole), fence
        )

    async def delete(self, key: str, *, expected: int = 0, fence: Fence | None = None) -> int:
        return await self._write(lambda sole: self._store.delete(key, expected=expected, fence=sole), fence)

    def keep_lease(self, lease: int, *, ttl_s: int, asked_at_s: float) -> LeaseKeeper:
        return self._store.keep_lease(lease, ttl_s=ttl_s, asked_at_s=asked_at_s)

    async def run(self) -> None:
        """Be registered, and hold the key while no other server is, until cancelled."""
        while True:
            try:
                await self._take_part()
            except CompactedError:
                logger.debug("sole_watch_compacted")
            except StoreError as error:
                logger.warning("sole_interrupted", extra={"error": str(error)})
            await asyncio.sleep(RETRY_S * random.uniform(0.5, 1.0))

    async def _write(self, attempt: Callable[[Fence], Awaitable[int]], fence: Fence | None) -> int:
        """A write refused because of the key was not made: it may be tried again."""
        while True:
            held = self._held
            try:
                return await attempt(Fence(SOLE_KEY, held, fence))
            except FencedError as error:
                if error.key != SOLE_KEY:
                    raise
            if held == self._held:
                await self._let_pass()

    async def _let_pass(self) -> None:
        """Return once no key stands against this server. StoreUnavailableError after a time."""
        try:
            async with asyncio.timeout(GIVE_WAY_S):
                while not await self._passable():
                    pass
        except TimeoutError as error:
            message = f"another server, which alone may write, has not given way in {GIVE_WAY_S} s"
            raise StoreUnavailableError(message) from error

    async def _passable(self) -> bool:
        """Whether no key stands against this server; False once something has been done about one that does."""
        async with self._changing:
            page = await self._store.list(SOLE_KEY, limit=1)
            item = page.items[0] if page.items else None
            if item is None or item.create_revision != self._held:
                self._answering, self._held = None, 0
            elif self._held:
                return True
            if item is None:
                return True
            holder = _holder(item)
            if holder.instance == self._instance:
                await self._delete(item)
                return False
        if self._lock.outlived(holder.lock):
            await self._store.revoke_lease(holder.lease)
        elif holder.asked or await self._ask(item, holder):
            await self._wait_for_change(page.revision)
        return False

    async def _ask(self, item: KeyValue, holder: _Holder) -> bool:
        """Touch the key; False if it has changed meanwhile. It stays with its lease, which is its holder's."""
        value = msgspec.json.encode(msgspec.structs.replace(holder, asked=True))
        try:
            await self._store.update(SOLE_KEY, value, expected=item.mod_revision, lease=holder.lease)
        except (RevisionConflictError, LeaseNotFoundError):
            return False
        return True

    async def _delete(self, item: KeyValue) -> None:
        with suppress(RevisionConflictError):
            await self._store.delete(SOLE_KEY, expected=item.mod_revision)

    async def _wait_for_change(self, revision: int) -> None:
        async with aclosing(self._store.watch(start_revision=revision + 1, key=SOLE_KEY)) as stream:
            await anext(stream)

    async def _take_part(self) -> None:
        """Register, and hold the key when alone, for as long as the lease lives."""
        asked_at_s = self._store.lease_time_s()
        lease = await self._store.grant_lease(self._lease_s)
        me = _Holder(self._instance, lease, self._lock.mark)
        await self._store.create(f"{SERVERS_PREFIX}{lease:x}", msgspec.json.encode(me), lease=lease)
        keeping = self._store.keep_lease(lease, ttl_s=self._lease_s, asked_at_s=asked_at_s)
        try:
            async with keeping as keeper:
                await _first(_touch(keeper), keeper.wait_lost(), self._hold_when_alone(me, keeper))
        finally:
            self._answering = None
            await self._resign(lease)

    async def _hold_when_alone(self, me: _Holder, keeper: LeaseKeeper) -> None:
        while True:
            await self._let_pass()
            if me.lock and await self._alone() and await self._store.shares_clock():
                await self._hold(me, keeper)
            await asyncio.sleep(self._look_again_s)

    async def _alone(self) -> bool:
        page = await self._store.list(SERVERS_PREFIX)
        others = [holder for holder in map(_holder, page.items) if holder.instance != self._instance]
        for holder in others:
            if self._lock.outlived(holder.lock):
                await self._store.revoke_lease(holder.lease)
        return not others

    async def _hold(self, me: _Holder, keeper: LeaseKeeper) -> None:
        """Hold the key until it is touched. One of an earlier lease of this server's is given up first."""
        async with self._changing:
            await self._give_up(self._held)
            try:
                revision = await self._store.create(SOLE_KEY, msgspec.json.encode(me), lease=me.lease)
            except KeyExistsError:
                return
            self._held, self._answering = revision, keeper
        logger.info("sole_server", extra={"revision": revision})
        try:
            await _first(self._wait_for_change(revision), self._wait_for_foreign_clock())
        finally:
            self._answering = None
            logger.info("sole_server_no_longer")
        async with self._changing:
            await self._give_up(revision)

    async def _give_up(self, held: int) -> None:
        """Delete the key if it is the one created at ``held``, after answering has ended."""
        item = await self._store.get(SOLE_KEY) if held else None
        if item is not None and item.create_revision == held:
            await self._delete(item)
        if self._held == held:
            self._held = 0

    async def _wait_for_foreign_clock(self) -> None:
        while True:
            if not await self._store.shares_clock():
                return
            await asyncio.sleep(self._look_again_s)

    async def _resign(self, lease: int) -> None:
        """Let others write and hold at once; the lease runs out by itself where the store can't be reached."""
        try:
            async with asyncio.timeout(RESIGN_TIMEOUT_S):
                await self._store.revoke_lease(lease)
        except (StoreError, TimeoutError) as error:
            logger.debug("sole_not_resigned", extra={"error": str(error)})


def _holder(item: KeyValue) -> _Holder:
    """What a key says of its server; of what can't be read it is only known that it is another's."""
    try:
        return msgspec.json.decode(item.value, type=_Holder)
    except msgspec.DecodeError:
        return _Holder("", 0, "", asked=True)


async def _first(*parts: Coroutine[Any, Any, None]) -> None:
    """Run ``parts`` until one of them is over, with its error if it has one."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in done:
        task.result()


async def _touch(keeper: LeaseKeeper) -> None:
    while True:
        keeper.touch()
        await asyncio.sleep(TOUCH_S)
