"""The leases that events are written under."""

from __future__ import annotations

import pytest

from controlplane.api.event_leases import MANY_EVENTS, EventLeases
from controlplane.store.memory import MemoryStore


@pytest.mark.parametrize(("events", "minutes"), [(0, 60), (MANY_EVENTS - 1, 60), (MANY_EVENTS, 10)])
async def test_events_live_shorter_where_there_are_many(events: int, minutes: int) -> None:
    """An event lives an hour, and ten minutes while there are many, five minutes more at most."""
    now_s = 0.0
    store = MemoryStore(clock=lambda: now_s)
    await store.create("/event", b"{}", lease=await EventLeases(store, count=lambda: events).current())
    now_s = minutes * 60.0
    assert await store.get("/event") is not None
    now_s += 300.0
    assert await store.get("/event") is None


async def test_a_lease_is_shared_until_there_are_many() -> None:
    """Events share a lease; the first one past the bound has a shorter one at once, which is shared for its time."""
    store, count = MemoryStore(clock=lambda: 0.0), [0]
    leases = EventLeases(store, count=lambda: count[0])
    first = await leases.current()
    assert await leases.current() == first
    count[0] = MANY_EVENTS
    short = await leases.current()
    assert short != first
    count[0] = 0
    assert await leases.current() == short
