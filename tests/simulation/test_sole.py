"""Servers that come, go, are cut off and killed, in virtual time: no read misses what was known before it."""

from __future__ import annotations

import asyncio
import itertools
import random
from bisect import bisect_left
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pytest

from controlplane.store import memory
from controlplane.store.cache import Cache
from controlplane.store.keys import SOLE_KEY, object_key
from controlplane.store.memory import MemoryStore
from controlplane.store.process_lock import ProcessLock
from controlplane.store.sole import SoleStore
from controlplane.store.store import (
    Changes,
    Fence,
    KeyExistsError,
    KeyValue,
    LeaseKeeper,
    Page,
    RevisionConflictError,
    StoreUnavailableError,
)
from flotilla.api.objects import encode
from flotilla.api.resources import CONFIG_MAPS

if TYPE_CHECKING:
    from tests.simulation.conftest import Virtual, VirtualLoop

MESSAGE_S = 0.01
EVENT_S = 0.002
TOGETHER = 0.3  # of the events come with the one before
LONG = 40
CALL_TIMEOUT_S = 1.0
CLIENTS = 4
KEYS = [object_key(CONFIG_MAPS, "x", name) for name in "abc"]

Answer = TypeVar("Answer")


class Link:
    """One server's way to the store: messages take a while, some very long; while it is down none passes."""

    def __init__(self, store: MemoryStore, chance: random.Random, *, long_share: float) -> None:
        self._store = store
        self._long_share = long_share
        self._chance = chance
        self.up = asyncio.Event()
        self.up.set()
        self.dead = False
        self.seen_revision = 0
        self.shares_clock = store.shares_clock
        self.lease_time_s = store.lease_time_s
        self.recover_space = store.recover_space
        self.wait_out_of_space = store.wait_out_of_space
        self.new_history = store.new_history

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def _pass(self, most_s: float = MESSAGE_S) -> None:
        await asyncio.sleep(
            self._chance.uniform(0.0, most_s * (LONG if self._chance.random() < self._long_share else 1))
        )
        await self.up.wait()
        if self.dead:
            raise StoreUnavailableError("the server was killed")

    async def _call(self, call: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """The outcome of a call whose answer does not come in time is not known: it may still be made."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await self._pass()
                try:
                    return await call()
                finally:
                    seen = self._store.seen_revision
                    await self._pass()
                    self.seen_revision = max(self.seen_revision, seen)
        except TimeoutError as error:
            raise StoreUnavailableError("no answer in time") from error

    async def history_id(self) -> str:
        return await self._call(self._store.history_id)

    async def revision(self) -> int:
        return await self._call(self._store.revision)

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        return await self._call(lambda: self._store.get(key, revision=revision))

    async def list(self, prefix: str, *, revision: int = 0, limit: int = 0, start_key: str = "") -> Page:
        return await self._call(lambda: self._store.list(prefix, revision=revision, limit=limit, start_key=start_key))

    async def create(self, key: str, value: bytes, *, lease: int = 0, fence: Fence | None = None) -> int:
        return await self._call(lambda: self._store.create(key, value, lease=lease, fence=fence))

    async def update(self, key: str, value: bytes, *, expected: int, lease: int = 0, fence: Fence | None = None) -> int:
        return await self._call(lambda: self._store.update(key, value, expected=expected, lease=lease, fence=fence))

    async def delete(self, key: str, *, expected: int = 0, fence: Fence | None = None) -> int:
        return await self._call(lambda: self._store.delete(key, expected=expected, fence=fence))

    async def compact(self, revision: int) -> None:
        await self._call(lambda: self._store.compact(revision))

    async def grant_lease(self, ttl_s: int) -> int:
        return await self._call(lambda: self._store.grant_lease(ttl_s))

    async def renew_lease(self, lease: int) -> bool:
        return await self._call(lambda: self._store.renew_lease(lease))

    async def revoke_lease(self, lease: int) -> None:
        await self._call(lambda: self._store.revoke_lease(lease))

    async def watch(self, *, start_revision: int, key: str = "") -> AsyncGenerator[Changes, None]:
        await self._pass()
        async with aclosing(self._store.watch(start_revision=start_revision, key=key)) as stream:
            async for changes in stream:
                if self._chance.random() > TOGETHER:
                    await self._pass(EVENT_S)
                yield changes

    def keep_lease(self, lease: int, *, ttl_s: int, asked_at_s: float) -> LeaseKeeper:
        clock = asyncio.get_running_loop().time
        return memory._Keeper(self, lease, ttl_s=ttl_s, asked_at_s=asked_at_s, clock=clock)  # type: ignore[arg-type]


class GatedLink(Link):
    """Events wait for a gate and come in one go once it is open, even while the link is down."""

    def __init__(self, store: MemoryStore, chance: random.Random, *, long_share: float) -> None:
        super().__init__(store, chance, long_share=long_share)
        self.events = asyncio.Event()
        self.events.set()

    async def watch(self, *, start_revision: int, key: str = "") -> AsyncGenerator[Changes, None]:
        async with aclosing(self._store.watch(start_revision=start_revision, key=key)) as stream:
            async for changes in stream:
                await self.events.wait()
                yield changes


@dataclass(slots=True)
class History:
    """What clients were told: when they asked, when they were told, both in the order of all, and which revision.

    ``glimpses`` are of single objects, read from the store directly: when and the revision of what was seen.
    """

    ticks: itertools.count[int] = field(default_factory=itertools.count)
    writes: list[tuple[int, int, int]] = field(default_factory=list)
    reads: list[tuple[int, int, int]] = field(default_factory=list)
    glimpses: list[tuple[int, int]] = field(default_factory=list)
    unasked: int = 0

    def check(self) -> None:
        """Each read shows everything that anybody had been told of before it was asked for."""
        told = sorted(self.glimpses + [(end, revision) for _, end, revision in (*self.writes, *self.reads)])
        floors = list(itertools.accumulate((revision for _, revision in told), max))
        ends = [end for end, _ in told]
        for begin, _, revision in self.reads:
            known = bisect_left(ends, begin)
            assert not known or revision >= floors[known - 1]


class RudeStore(SoleStore):
    """Takes the key whenever it can, whoever else is there."""

    async def _alone(self) -> bool:
        return True


class Server:
    """A server with clients that read and write through it."""

    def __init__(
        self,
        store: MemoryStore,
        history: History,
        lock: Path,
        chance: random.Random,
        *,
        rude: bool = False,
        long_share: float = 0.0,
    ) -> None:
        self._history = history
        self._chance = chance
        self.link = Link(store, chance, long_share=long_share)
        self._lock = ProcessLock(lock)
        self.sole = RudeStore(self.link, self._lock, look_again_s=0.3) if rude else SoleStore(self.link, self._lock)
        self.cache = Cache(self.sole, [CONFIG_MAPS], sole=self.sole)
        parts = (self.cache.run(), self.sole.run(), *(self._serve() for _ in range(CLIENTS)))
        self._tasks = [asyncio.create_task(part) for part in parts]

    async def stop(self, *, kill: bool) -> None:
        """End it: in order, or so that nothing more leaves it."""
        self.link.dead = kill
        self.link.up.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        for task in self._tasks:
            assert task.cancelled() or task.exception() is None, task.exception()
        self._lock.close()

    async def _serve(self) -> None:
        await self.cache.wait_synced()
        while True:
            await asyncio.sleep(self._chance.uniform(0.0, 0.1))
            with suppress(StoreUnavailableError, KeyExistsError, RevisionConflictError):
                await self._chance.choices((self._write, self._read, self._glimpse), (3, 6, 1))[0]()

    async def _read(self) -> None:
        begin = next(self._history.ticks)
        self._history.unasked += bool(self.sole.acknowledged())
        await self.cache.barrier()
        self._history.reads.append((begin, next(self._history.ticks), self.cache.revision))

    async def _glimpse(self) -> None:
        found = await self.sole.get(self._chance.choice(KEYS))
        if found is not None:
            self._history.glimpses.append((next(self._history.ticks), found.mod_revision))

    async def _write(self) -> None:
        begin = next(self._history.ticks)
        key = self._chance.choice(KEYS)
        held = self.cache.get(CONFIG_MAPS, "x", key.rpartition("/")[2])
        value = encode({"metadata": {"name": key.rpartition("/")[2], "namespace": "x", "uid": "u"}, "n": begin})
        if held is None:
            revision = await self.sole.create(key, value)
        elif self._chance.random() < 0.3:
            revision = await self.sole.delete(key, expected=held.revision)
        else:
            revision = await self.sole.update(key, value, expected=held.revision)
        self._history.writes.append((begin, next(self._history.ticks), revision))


async def upset(servers: list[Server | None], make: Callable[[int], Server], chance: random.Random) -> None:
    """Start, stop, kill, replace and cut off servers for a minute."""
    for _ in range(16):
        await asyncio.sleep(chance.uniform(0.0, 8.0))
        number = chance.randrange(len(servers))
        server = servers[number]
        if server is None:
            servers[number] = make(number)
        elif chance.random() < 0.5:
            (server.link.up.clear if server.link.up.is_set() else server.link.up.set)()
        else:
            await server.stop(kill=chance.random() < 0.7)
            servers[number] = make(number) if chance.random() < 0.5 else None


@pytest.mark.parametrize("seed", range(12))
def test_no_read_misses_what_was_known(virtual: Virtual, tmp_path: Path, seed: int) -> None:
    """Whatever happens to servers and their ways to the store, and whether they ask or answer alone.

    In every other world the servers snatch the key from one another without end.
    """
    history = History()

    async def scenario() -> None:
        chance = random.Random(seed)
        store = MemoryStore()

        def make(number: int) -> Server:
            lock = tmp_path / f"{number}.lock"
            return Server(store, history, lock, chance, rude=seed % 4 > 1, long_share=0.1)

        servers: list[Server | None] = [make(0), None, None][: 2 + seed % 2]
        await asyncio.sleep(5.0)
        assert history.unasked > 0
        await upset(servers, make, chance)
        for server in servers:
            if server is not None:
                await server.stop(kill=False)

    virtual(scenario())
    assert len(history.writes) > 50
    history.check()


@pytest.mark.parametrize("alone", [True, False])
def test_nothing_of_another_holder_is_shown(virtual: Virtual, tmp_path: Path, alone: bool) -> None:
    """Neither by a read that began before another server came to hold the key, alone or not, nor by one of the store.

    The clients of that one may not know of it yet. All events come in one go.
    """

    async def scenario() -> None:
        store = MemoryStore()
        link = GatedLink(store, random.Random(0), long_share=0.0)
        lock = ProcessLock(tmp_path / "lock")
        sole = SoleStore(link, lock, lease_s=1)
        cache = Cache(sole, [CONFIG_MAPS], sole=sole)

        async def read() -> int:
            await cache.barrier()
            return cache.revision

        parts = [asyncio.create_task(cache.run()), *([asyncio.create_task(sole.run())] if alone else [])]
        await cache.wait_synced()
        await asyncio.sleep(1.0)
        assert bool(sole.acknowledged()) == alone
        link.events.clear()
        await store.create("/another", b"")
        await sole.create(KEYS[0], b"{}")
        reading = asyncio.create_task(read())
        await asyncio.sleep(MESSAGE_S * 3)
        link.up.clear()
        await asyncio.sleep(1.5)
        held = await store.create(SOLE_KEY, b'{"instance":"other","lease":0,"lock":""}')
        secret = await store.create(KEYS[1], b"{}")
        link.events.set()
        await cache.wait_for(secret, timeout_s=1.0)
        await asyncio.sleep(0)
        assert not reading.done() or reading.result() < held
        link.up.set()
        seeing = asyncio.create_task(sole.get(KEYS[1]))
        await asyncio.sleep(MESSAGE_S * 3)
        assert not seeing.done()
        await store.delete(SOLE_KEY)
        await asyncio.gather(reading, seeing)
        for part in parts:
            part.cancel()
        await asyncio.wait(parts)
        lock.close()

    virtual(scenario())


def test_a_stopped_server_is_not_alone_when_it_goes_on(virtual: Virtual, tmp_path: Path) -> None:
    """Nor for a moment: it need not have noticed anything for its lease to be over."""

    async def scenario() -> None:
        server = Server(MemoryStore(), History(), tmp_path / "lock", random.Random(0))
        await asyncio.sleep(2.0)
        assert server.sole.acknowledged()
        cast("VirtualLoop", asyncio.get_running_loop()).stand(4.0)
        assert not server.sole.acknowledged()
        await server.stop(kill=True)

    virtual(scenario())


def test_a_killed_server_is_succeeded_at_once(virtual: Virtual, tmp_path: Path) -> None:
    """One that is started in its place has the lock that it had, and so need not wait for its lease."""

    async def scenario() -> None:
        store = MemoryStore()
        history = History()
        chance = random.Random(0)
        first = Server(store, history, tmp_path / "lock", chance)
        await asyncio.sleep(2.0)
        assert first.sole.acknowledged()
        await first.stop(kill=True)
        assert await store.get(SOLE_KEY) is not None
        again = Server(store, history, tmp_path / "lock", chance)
        await asyncio.sleep(0.5)
        assert again.sole.acknowledged()
        await again.stop(kill=False)
        assert await store.get(SOLE_KEY) is None

    virtual(scenario())


def test_a_second_server_gets_its_turn(virtual: Virtual, tmp_path: Path) -> None:
    """One that comes need not wait for a lease either; both ask then, and the one that stays is alone again later."""

    async def scenario() -> None:
        store = MemoryStore()
        history = History()
        chance = random.Random(0)
        first, second = (Server(store, history, tmp_path / "1", chance), None)
        await asyncio.sleep(2.0)
        assert first.sole.acknowledged()
        second = Server(store, history, tmp_path / "2", chance)
        began = asyncio.get_running_loop().time()
        await second.cache.wait_synced()
        await second.sole.create(object_key(CONFIG_MAPS, "x", "new"), b"{}")
        assert asyncio.get_running_loop().time() - began < 1.0
        await asyncio.sleep(20.0)
        assert not first.sole.acknowledged()
        assert not second.sole.acknowledged()
        await second.stop(kill=False)
        await asyncio.sleep(10.0)
        assert first.sole.acknowledged()
        await first.stop(kill=False)

    virtual(scenario())
