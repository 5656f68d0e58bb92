"""Compaction: what is forgotten when, and the way out of a full store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest

from controlplane.store.cache import Cache
from controlplane.store.compaction import Compactor
from controlplane.store.keys import COMPACTION_KEY, object_key
from controlplane.store.memory import MemoryStore
from controlplane.store.store import CompactedError, OutOfSpaceError
from flotilla.api.resources import CONFIG_MAPS
from tests.unit.controlplane.store.conftest import running_cache, stored

KEY = object_key(CONFIG_MAPS, "default", "a")


@asynccontextmanager
async def running(compactor: Compactor) -> AsyncGenerator[None]:
    task = asyncio.create_task(compactor.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def in_time(condition: Callable[[], bool]) -> bool:
    for _ in range(500):
        if condition():
            return True
        await asyncio.sleep(0.01)
    return False


async def test_old_revisions_are_forgotten(store: MemoryStore, cache: Cache) -> None:
    """What is older than the time to keep can't be read any more, what is younger can."""
    first = await store.create(KEY, stored("a"))
    compactor = Compactor(store, cache, period_s=0.02, keep_s=0.05)
    async with running(compactor):
        revision = first
        assert await in_time(lambda: compactor.compacted_to > 0)
        for _ in range(20):
            revision = await store.update(KEY, stored("a"), expected=revision)
        assert await in_time(lambda: compactor.compacted_to > revision - 20)
    with pytest.raises(CompactedError):
        await store.get(KEY, revision=first - 1)
    held = await store.get(KEY)
    assert held is not None and held.mod_revision == revision


async def test_idle_store_is_left_alone(store: MemoryStore, cache: Cache) -> None:
    """With nothing written but the mark, no further mark is written."""
    compactor = Compactor(store, cache, period_s=0.005, keep_s=0.01)
    await store.create(KEY, stored("a"))
    async with running(compactor):
        assert await in_time(lambda: compactor.compacted_to > 0)
        revision = await store.revision()
        await asyncio.sleep(0.1)
        assert await store.revision() == revision


async def test_servers_share_their_marks(store: MemoryStore, cache: Cache) -> None:
    """Several servers that compact write hardly more marks than one, and nothing young is forgotten."""
    compactors = [Compactor(store, cache, period_s=0.02, keep_s=60) for _ in range(3)]
    async with running(compactors[0]), running(compactors[1]), running(compactors[2]):
        for _ in range(10):
            await store.create(f"{KEY}-{await store.revision()}", stored("a"))
            await asyncio.sleep(0.02)
    held = await store.get(COMPACTION_KEY)
    assert held is not None
    marks = await store.revision() - 10 - 2
    assert 0 < marks <= 20
    assert {compactor.compacted_to for compactor in compactors} == {0}


async def test_full_store_recovers(store: MemoryStore, cache: Cache) -> None:
    """A write refused for lack of space starts the recovery; the mode shows until a write works again."""
    compactor = Compactor(store, cache)
    await store.create(KEY, stored("a"))
    await cache.barrier()
    assert not compactor.read_only
    async with running(compactor):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        store.full = True
        with pytest.raises(OutOfSpaceError):
            await store.create(KEY + "b", b"")
        assert await in_time(lambda: compactor.read_only or compactor.recoveries == 1)
        assert await in_time(lambda: compactor.recoveries == 1)
        assert not compactor.read_only
    await store.create(KEY + "b", stored("b"))


async def test_recovery_is_repeated_until_it_works() -> None:
    """While space can't be made the store stays read-only, and the recovery goes on trying."""

    class StillFull(MemoryStore):
        attempts = 0

        async def recover_space(self) -> None:
            self.attempts += 1
            if self.attempts >= 2:
                await super().recover_space()

    full = StillFull()
    async with running_cache(full) as cache:
        compactor = Compactor(full, cache)
        async with running(compactor):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            full.full = True
            with pytest.raises(OutOfSpaceError):
                await full.create(KEY, b"")
            assert await in_time(lambda: full.attempts == 1 and compactor.read_only)
            assert await in_time(lambda: not compactor.read_only)
            assert full.attempts == 2
