"""What the in-memory store has beyond the contract: its own clock, and modes to be put into."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from controlplane.store.memory import MemoryStore
from controlplane.store.store import LeaseNotFoundError, OutOfSpaceError, StoreUnavailableError


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_leases_follow_the_given_clock() -> None:
    """With a clock of the test's own a lease ends exactly when that clock says so."""
    clock = Clock()
    store = MemoryStore(clock=clock)
    lease = await store.grant_lease(10)
    await store.create("/a", b"", lease=lease)
    clock.now += 9.9
    assert await store.renew_lease(lease)
    clock.now += 9.9
    assert await store.get("/a") is not None
    clock.now += 0.2
    assert await store.get("/a") is None
    assert await store.revision() == 3
    with pytest.raises(LeaseNotFoundError):
        await store.create("/b", b"", lease=lease)


async def test_unavailable_store_fails_every_call_and_watch() -> None:
    """A store that is away fails calls and ends watches; nothing is lost when it is back."""
    store = MemoryStore()
    await store.create("/a", b"")
    async with aclosing(store.watch(start_revision=2)) as stream:
        await anext(stream)
        store.available = False
        with pytest.raises(StoreUnavailableError):
            await anext(stream)
    with pytest.raises(StoreUnavailableError):
        await store.create("/b", b"")
    with pytest.raises(StoreUnavailableError):
        await store.revision()
    store.available = True
    assert await store.revision() == 2


async def test_full_store_refuses_writes_alone() -> None:
    """A full store refuses puts and leases, and allows reads and deletes."""
    store = MemoryStore()
    await store.create("/a", b"")
    store.full = True
    with pytest.raises(OutOfSpaceError):
        await store.update("/a", b"1", expected=2)
    with pytest.raises(OutOfSpaceError):
        await store.grant_lease(5)
    assert await store.get("/a") is not None
    assert await store.delete("/a") == 3
    await store.recover_space()
    assert await store.create("/b", b"") == 4
