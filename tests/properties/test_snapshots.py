"""Laws of lists in the past, for any sequence of writes."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.store.cache import Cache, CacheOptions
from controlplane.store.keys import after, object_key, resource_prefix
from controlplane.store.memory import MemoryStore
from controlplane.store.store import CompactedError
from flotilla.api.objects import encode
from flotilla.api.resources import CONFIG_MAPS, SECRETS

writes = st.lists(
    st.tuples(st.booleans(), st.sampled_from((CONFIG_MAPS, SECRETS)), st.sampled_from("ab"), st.sampled_from("abcde")),
    max_size=40,
)


async def write(store: MemoryStore, key: str, namespace: str, name: str, *, remove: bool) -> None:
    held = await store.get(key)
    value = encode({"apiVersion": "v1", "kind": "Thing", "metadata": {"name": name, "namespace": namespace}})
    if held is None:
        await store.create(key, value)
    elif remove:
        await store.delete(key)
    else:
        await store.update(key, value, expected=held.mod_revision)


@given(writes, st.integers(3, 60), st.integers(0, 3), st.sampled_from(("", "a", "b")))
@settings(max_examples=100, deadline=None)
def test_the_past_from_events_is_the_past_of_the_store(
    script: list[tuple[bool, object, str, str]], window: int, limit: int, namespace: str
) -> None:
    """Pages from the cache at any revision that its window reaches back to hold what the store had then."""

    async def run() -> None:
        store = MemoryStore()
        cache = Cache(store, (CONFIG_MAPS, SECRETS), options=CacheOptions(window_events=window))
        running = asyncio.create_task(cache.run())
        await cache.wait_synced()
        for remove, resource, place, name in script:
            kind = CONFIG_MAPS if resource is CONFIG_MAPS else SECRETS
            await write(store, object_key(kind, place, name), place, name, remove=remove)
        await cache.barrier()
        for revision in range(cache.compact_floor, cache.revision + 1):
            stored = await store.list(resource_prefix(CONFIG_MAPS, namespace), revision=revision)
            found, start_key = [], ""
            while True:
                page = cache.list_at(CONFIG_MAPS, revision, namespace=namespace, start_key=start_key, limit=limit)
                found += page.entries
                assert len(found) + page.remaining == stored.count
                if not page.remaining:
                    break
                start_key = after(page.entries[-1].key)
            assert [(entry.key, entry.revision) for entry in found] == [
                (item.key, item.mod_revision) for item in stored.items
            ]
        await refuse_before_the_floor(cache)
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(run())


async def refuse_before_the_floor(cache: Cache) -> None:
    for lost in (cache.compact_floor - 1, cache.revision - 1):
        if lost == cache.revision - 1:
            cache.forget_before(cache.revision)
        try:
            cache.list_at(CONFIG_MAPS, lost)
        except CompactedError:
            continue
        raise AssertionError(f"{lost} was shown")
