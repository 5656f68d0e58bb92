"""The election on the in-memory store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from controlplane.election import Election
from controlplane.store.keys import LEADER_KEY
from controlplane.store.memory import MemoryStore
from controlplane.store.store import FencedError, KeyValue
from flotilla.api.objects import encode

DEADLINE_S = 10.0


@asynccontextmanager
async def taking_part(election: Election) -> AsyncGenerator[asyncio.Task[None]]:
    """Run an election until the block is left, or until its task is cancelled there."""
    task = asyncio.create_task(election.run())
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def holder(store: MemoryStore) -> KeyValue:
    held = await store.get(LEADER_KEY)
    assert held is not None
    return held


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


async def test_first_one_leads(store: MemoryStore) -> None:
    """Of several servers exactly one leads, and its fence names the leader key as it is."""
    one, other = Election(store, identity="one"), Election(store, identity="other")
    async with taking_part(one), taking_part(other):
        await one.wait_leader()
        assert one.is_leader
        assert not other.is_leader
        assert other.fence is None
        await other.wait_lost()
        held = await holder(store)
        assert one.fence is not None
        assert one.fence.create_revision == held.create_revision
        await store.create("/a", b"", fence=one.fence)


async def test_leader_that_stops_hands_over(store: MemoryStore) -> None:
    """A leader that is cancelled resigns: the next one leads without waiting for a lease, and fences it off."""
    one, other = Election(store, identity="one", ttl_s=600), Election(store, identity="other", ttl_s=600)
    async with taking_part(one) as task:
        await one.wait_leader()
        async with taking_part(other):
            task.cancel()
            await other.wait_leader()
            await one.wait_lost()
            assert not one.is_leader
            with pytest.raises(FencedError):
                await store.create("/a", b"", fence=one.fence)
            await store.create("/a", b"", fence=other.fence)


async def test_restarted_server_does_not_wait(store: MemoryStore) -> None:
    """A server that comes back under its identity revokes its predecessor's lease instead of waiting it out."""
    lease = await store.grant_lease(600)
    left_behind = encode({"identity": "one", "instance": "before the crash", "lease": lease})
    await store.create(LEADER_KEY, left_behind, lease=lease)
    other, again = Election(store, identity="other"), Election(store, identity="one")
    async with taking_part(other):
        for _ in range(20):
            await asyncio.sleep(0)
        assert (await holder(store)).value == left_behind
        async with taking_part(again):
            waits = [asyncio.create_task(election.wait_leader()) for election in (other, again)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
    assert not await store.renew_lease(lease)


async def test_shared_identity_does_not_duel(store: MemoryStore) -> None:
    """Of two live servers with one identity the older waits once the younger has taken over."""
    older = Election(store, identity="same", ttl_s=2)
    async with taking_part(older):
        await older.wait_leader()
        younger = Election(store, identity="same", ttl_s=2)
        async with taking_part(younger):
            await younger.wait_leader()
            await older.wait_lost()
            held = await holder(store)
            for _ in range(100):
                await asyncio.sleep(0)
            assert await holder(store) == held
            assert younger.is_leader


async def test_leader_without_store_stops_in_time(store: MemoryStore) -> None:
    """A leader that can't renew stops leading before its lease can end, and leads again when the store is back."""
    election = Election(store, identity="one", ttl_s=2)
    async with taking_part(election):
        await election.wait_leader()
        fence = election.fence
        store.available = False
        await election.wait_lost()
        assert not election.is_leader
        store.available = True
        assert fence is not None
        await election.wait_leader()
        assert election.fence is not None
        assert election.fence.create_revision > fence.create_revision


async def test_revoked_leader_notices(store: MemoryStore) -> None:
    """A leader whose key is gone loses its leadership and campaigns anew."""
    election = Election(store, identity="one", ttl_s=2)
    async with taking_part(election):
        await election.wait_leader()
        first = election.fence
        for lease in list(range(1, 10)):
            await store.revoke_lease(lease)
        await election.wait_lost()
        await election.wait_leader()
        assert first is not None and election.fence is not None
        assert election.fence.create_revision > first.create_revision


async def test_leader_whose_key_was_removed_notices(store: MemoryStore) -> None:
    """A leader whose key was deleted while its lease lives on could write nothing: it campaigns anew at once."""
    election = Election(store, identity="one", ttl_s=600)
    async with taking_part(election):
        await election.wait_leader()
        first = election.fence
        await store.delete(LEADER_KEY)
        await election.wait_lost()
        await election.wait_leader()
        assert first is not None and election.fence is not None
        assert election.fence.create_revision > first.create_revision


async def test_foreign_value_is_waited_for(store: MemoryStore) -> None:
    """A leader key that no Flotilla wrote is respected until it goes."""
    created = await store.create(LEADER_KEY, b"someone")
    election = Election(store, identity="one")
    async with taking_part(election):
        for _ in range(20):
            await asyncio.sleep(0)
        assert not election.is_leader
        await store.delete(LEADER_KEY, expected=created)
        await election.wait_leader()
