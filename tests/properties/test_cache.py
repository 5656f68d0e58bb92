"""Laws of list and watch, for any sequence of writes."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.store.cache import Cache, CacheOptions
from controlplane.store.keys import object_key
from controlplane.store.memory import MemoryStore
from controlplane.store.store import ChangeType, CompactedError, KeyExistsError, RevisionConflictError
from flotilla.api.objects import encode
from flotilla.api.resources import CONFIG_MAPS, DEPLOYMENTS

KINDS = (CONFIG_MAPS, DEPLOYMENTS)
State = dict[str, int]

names = st.sampled_from("abcd")
steps = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(KINDS), names),
    st.tuples(st.just("delete"), st.sampled_from(KINDS), names),
    st.tuples(st.sampled_from(("interrupt", "compact", "settle")), st.just(CONFIG_MAPS), st.just("")),
)


def value(name: str) -> bytes:
    return encode({"apiVersion": "v1", "kind": "Thing", "metadata": {"name": name, "namespace": "x", "uid": "u"}})


async def write(store: MemoryStore, step: str, key: str, name: str) -> None:
    held = await store.get(key)
    try:
        if step == "delete":
            await store.delete(key)
        elif held is None:
            await store.create(key, value(name))
        else:
            await store.update(key, value(name), expected=held.mod_revision)
    except (KeyExistsError, RevisionConflictError):
        return


async def state_at(store: MemoryStore, revision: int = 0) -> State:
    page = await store.list("/registry/", revision=revision)
    return {item.key: item.mod_revision for item in page.items}


@given(st.lists(steps, max_size=30))
@settings(max_examples=80, deadline=None)
def test_list_then_watch_is_the_state(script: list[tuple[str, object, str]]) -> None:
    """The list at any revision, with the changes of a watch from there on, is the present state."""

    async def run() -> None:
        store = MemoryStore()
        for step, resource, name in script:
            if step in {"put", "delete"}:
                assert resource in KINDS
                await write(store, step, object_key(KINDS[KINDS.index(resource)], "x", name), name)
        last = await store.revision()
        present = await state_at(store)
        for revision in range(1, last):
            state = await state_at(store, revision)
            seen: list[int] = []
            async with aclosing(store.watch(start_revision=revision + 1)) as stream:
                async for changes in stream:
                    for change in changes:
                        if change.type is ChangeType.DELETE:
                            del state[change.key]
                        else:
                            state[change.key] = change.mod_revision
                    seen.append(changes[0].mod_revision)
                    if seen[-1] == last:
                        break
            assert seen == list(range(revision + 1, last + 1))
            assert state == present

    asyncio.run(run())


@given(st.lists(steps, max_size=40), st.integers(2, 40))
@settings(max_examples=80, deadline=None)
def test_cache_and_its_subscribers_follow_the_store(script: list[tuple[str, object, str]], window: int) -> None:
    """Through broken watches and compactions the cache ends as the store, and so does who follows its events."""

    async def run() -> None:
        store = MemoryStore()
        cache = Cache(store, KINDS, options=CacheOptions(window_events=window))
        running = asyncio.create_task(cache.run())
        await cache.wait_synced()
        first = cache.subscribe(KINDS)
        followed: State = {}
        revisions: list[int] = []
        for step, resource, name in script:
            await take(
                store, cache, step, object_key(CONFIG_MAPS if resource is CONFIG_MAPS else DEPLOYMENTS, "x", name), name
            )
        await cache.barrier()
        present = await state_at(store)
        assert {entry.key: entry.revision for kind in KINDS for entry in cache.list(kind)} == present
        if first.pending:
            for event in await first.batch():
                revisions.append(event.revision)
                if event.type == "DELETED":
                    del followed[event.entry.key]
                else:
                    assert (event.type == "ADDED") == (event.entry.key not in followed)
                    followed[event.entry.key] = event.entry.revision
        assert followed == present
        assert revisions == sorted(revisions)
        await resume_everywhere(store, cache, present)
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(run())


async def take(store: MemoryStore, cache: Cache, step: str, key: str, name: str) -> None:
    match step:
        case "interrupt":
            store.interrupt()
        case "compact":
            await store.compact(await store.revision())
        case "settle":
            await cache.barrier()
        case _:
            await write(store, step, key, name)


async def resume_everywhere(store: MemoryStore, cache: Cache, present: State) -> None:
    """From every revision that both window and store still have, list and events give the present state."""
    for revision in range(cache.compact_floor, cache.revision + 1):
        try:
            state = await state_at(store, revision)
        except CompactedError:
            continue
        subscription = cache.subscribe(KINDS, since=revision)
        events = await subscription.batch() if subscription.pending else []
        for event in events:
            if event.type == "DELETED":
                del state[event.entry.key]
            else:
                state[event.entry.key] = event.entry.revision
        assert state == present
        subscription.close()
