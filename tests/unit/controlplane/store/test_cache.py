"""The cache on the in-memory store: reads, events, waiting, and what becomes of it when the watch breaks."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.store.cache import Cache, CacheEvent, CacheOptions, ResetError, SlowSubscriberError
from controlplane.store.keys import HISTORY_KEY, object_key
from controlplane.store.memory import MemoryStore
from controlplane.store.store import CompactedError, FutureRevisionError, Page, StoreUnavailableError
from flotilla.api.registry import Resource
from flotilla.api.resources import CONFIG_MAPS, DEPLOYMENTS, PODS, REPLICA_SETS
from tests.unit.controlplane.store.conftest import KINDS, running_cache, stored


async def put(store: MemoryStore, name: str, value: bytes = b"", *, of: Resource = CONFIG_MAPS) -> int:
    """Create an object or write over it."""
    key = object_key(of, "default", name)
    held = await store.get(key)
    if held is None:
        return await store.create(key, value or stored(name))
    return await store.update(key, value or stored(name, data={"round": held.mod_revision}), expected=held.mod_revision)


async def remove(store: MemoryStore, name: str) -> int:
    return await store.delete(object_key(CONFIG_MAPS, "default", name))


def names(cache: Cache, resource: Resource = CONFIG_MAPS, namespace: str = "") -> list[str]:
    return [f"{entry.namespace}/{entry.name}" for entry in cache.list(resource, namespace)]


def told(events: list[CacheEvent]) -> list[tuple[str, str, int]]:
    return [(event.type, event.entry.name, event.revision) for event in events]


async def test_reads_show_acknowledged_writes(store: MemoryStore, cache: Cache) -> None:
    """After a barrier the cache shows every write that was acknowledged before it."""
    revision = await put(store, "a")
    await cache.barrier()
    entry = cache.get(CONFIG_MAPS, "default", "a")
    assert entry is not None
    assert entry.revision == revision
    assert entry.obj["metadata"]["resourceVersion"] == str(revision)
    assert cache.revision >= revision
    assert cache.get(CONFIG_MAPS, "default", "b") is None
    await remove(store, "a")
    await cache.barrier()
    assert cache.get(CONFIG_MAPS, "default", "a") is None


async def test_lists_are_in_key_order_by_namespace(store: MemoryStore, cache: Cache) -> None:
    """A list is in key order and a namespace's list holds that namespace alone."""
    for namespace in ("b", "a", "a-b", "a0"):
        for name in ("2", "1"):
            key = object_key(CONFIG_MAPS, namespace, name)
            await store.create(key, stored(name, namespace=namespace))
    await cache.barrier()
    assert names(cache) == ["a-b/1", "a-b/2", "a/1", "a/2", "a0/1", "a0/2", "b/1", "b/2"]
    assert names(cache, namespace="a") == ["a/1", "a/2"]
    assert names(cache, namespace="absent") == []
    assert names(cache, resource=DEPLOYMENTS) == []


async def test_existing_state_is_read_in_pages(store: MemoryStore) -> None:
    """A cache that starts on a full store holds all of it, other keys left out."""
    for number in range(1203):
        await put(store, f"c{number:04}")
    await store.create("/registry/unknown.example/things/default/x", b"?")
    async with running_cache(store) as cache:
        assert cache.synced
        assert cache.count(CONFIG_MAPS) == 1203
        assert names(cache) == sorted(names(cache))
        assert cache.revision == await store.revision()
        assert cache.compact_floor == cache.revision


async def test_events_tell_every_change(store: MemoryStore, cache: Cache) -> None:
    """A subscriber sees each change of its resources once, in order, with the states before and after."""
    subscription = cache.subscribe([CONFIG_MAPS])
    first = await put(store, "a")
    await put(store, "other", of=DEPLOYMENTS)
    second = await put(store, "a")
    third = await remove(store, "a")
    await cache.barrier()
    events = await subscription.batch()
    assert told(events) == [("ADDED", "a", first), ("MODIFIED", "a", second), ("DELETED", "a", third)]
    assert [event.previous.revision if event.previous else 0 for event in events] == [0, first, second]
    assert events[2].entry.obj["metadata"]["resourceVersion"] == str(third)
    assert events[2].entry.obj["data"] == events[1].entry.obj["data"]


async def test_subscription_resumes_from_a_revision(store: MemoryStore, cache: Cache) -> None:
    """Events after a revision are replayed from the window; too old and too new revisions are told apart."""
    revisions = [await put(store, f"a{number}") for number in range(4)]
    await cache.barrier()
    subscription = cache.subscribe([CONFIG_MAPS], since=revisions[1])
    revisions.append(await put(store, "a4"))
    await cache.barrier()
    assert [event.revision for event in await subscription.batch()] == revisions[2:]
    with pytest.raises(CompactedError):
        cache.subscribe([CONFIG_MAPS], since=cache.compact_floor - 1)
    with pytest.raises(FutureRevisionError):
        cache.subscribe([CONFIG_MAPS], since=cache.revision + 1)


@pytest.mark.parametrize("options", [CacheOptions(window_events=3), CacheOptions(window_bytes=3 * 640)])
async def test_window_is_bounded(store: MemoryStore, options: CacheOptions) -> None:
    """Events beyond the window's bounds can't be resumed from; all later ones can."""
    async with running_cache(store, options) as cache:
        revisions = [await put(store, f"a{number}") for number in range(10)]
        await cache.barrier()
        floor = cache.compact_floor
        assert revisions[3] < floor < revisions[-1]
        subscription = cache.subscribe([CONFIG_MAPS], since=floor)
        assert [event.revision for event in await subscription.batch()] == [at for at in revisions if at > floor]
        with pytest.raises(CompactedError) as refused:
            cache.subscribe([CONFIG_MAPS], since=floor - 1)
        assert refused.value.compact_revision == floor


async def test_slow_subscriber_is_cut_off(store: MemoryStore, cache: Cache) -> None:
    """Who leaves too many events waiting is told so; others are untouched."""
    slow = cache.subscribe([CONFIG_MAPS], maximum=2)
    patient = cache.subscribe([CONFIG_MAPS])
    for number in range(4):
        await put(store, f"a{number}")
    await cache.barrier()
    with pytest.raises(SlowSubscriberError):
        await slow.batch()
    assert slow.pending == 0
    assert len(await patient.batch()) == 4


async def test_closed_subscription_ends_its_iteration(store: MemoryStore, cache: Cache) -> None:
    """Closing a subscription ends an iteration over it, and the cache forgets it."""
    subscription = cache.subscribe([CONFIG_MAPS, PODS])

    async def follow() -> list[CacheEvent]:
        return [event async for event in subscription]

    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        following = tasks.create_task(follow())
        await put(store, "a")
        await cache.barrier()
        await asyncio.sleep(0)
        subscription.close()
        subscription.close()
    assert [event.entry.name for event in following.result()] == ["a"]
    await put(store, "b")
    await cache.barrier()
    assert subscription.pending == 0


async def test_indexes_follow_their_objects(store: MemoryStore, cache: Cache) -> None:
    """Objects are found by owner and pods by node, as they are now."""
    owned = {"ownerReferences": [{"uid": "owner-1"}]}
    await put(store, "p1", stored("p1", metadata=owned, spec={}), of=PODS)
    await put(store, "r1", stored("r1", metadata=owned), of=REPLICA_SETS)
    await cache.barrier()
    assert [entry.name for entry in cache.by_owner("owner-1")] == ["r1", "p1"]
    assert cache.pods_on_node("n1") == []
    await put(store, "p1", stored("p1", metadata=owned, spec={"nodeName": "n1"}), of=PODS)
    await cache.barrier()
    assert [entry.obj["spec"]["nodeName"] for entry in cache.pods_on_node("n1")] == ["n1"]
    moved = {"ownerReferences": [{"uid": "owner-2"}]}
    await put(store, "p1", stored("p1", metadata=moved, spec={"nodeName": "n2"}), of=PODS)
    await store.delete(object_key(REPLICA_SETS, "default", "r1"))
    await cache.barrier()
    assert cache.by_owner("owner-1") == cache.pods_on_node("n1") == []
    assert [entry.name for entry in cache.by_owner("owner-2")] == ["p1"]
    await store.delete(object_key(PODS, "default", "p1"))
    await cache.barrier()
    assert cache.by_owner("owner-2") == cache.pods_on_node("n2") == []


async def test_broken_watch_is_resumed(store: MemoryStore, cache: Cache) -> None:
    """After a broken watch the cache goes on where it was: no event twice, none missing, nothing listed again."""
    subscription = cache.subscribe([CONFIG_MAPS])
    before = await put(store, "a")
    await cache.barrier()
    store.interrupt()
    after = await put(store, "b")
    await cache.barrier()
    assert told(await subscription.batch()) == [("ADDED", "a", before), ("ADDED", "b", after)]
    assert (cache.counters.lists, cache.counters.resumes) == (1, 1)


class _Gated(MemoryStore):
    """A store that a cache which lost its watch does not reach before ``gate`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()

    async def list(self, prefix: str, *, revision: int = 0, limit: int = 0, start_key: str = "") -> Page:
        if prefix == HISTORY_KEY:
            await self.gate.wait()
        return await super().list(prefix, revision=revision, limit=limit, start_key=start_key)


async def test_lost_revisions_become_differences() -> None:
    """When the store was compacted past the cache, subscribers see what differs, and old revisions are refused."""
    store = _Gated()
    async with running_cache(store) as cache:
        for name in ("kept", "changed", "removed", "remade"):
            await put(store, name)
        await cache.barrier()
        known = cache.revision
        subscription = cache.subscribe([CONFIG_MAPS])
        store.gate.clear()
        store.interrupt()
        changed = await put(store, "changed")
        await remove(store, "removed")
        await remove(store, "remade")
        remade = await put(store, "remade")
        added = await put(store, "added")
        await store.compact(added)
        store.gate.set()
        await cache.barrier()
        events = await subscription.batch()
        deleted = known + 1
        assert sorted(told(events)[:2]) == [("DELETED", "remade", deleted), ("DELETED", "removed", deleted)]
        assert told(events)[2:] == [
            ("MODIFIED", "changed", changed),
            ("ADDED", "remade", remade),
            ("ADDED", "added", added),
        ]
        assert names(cache) == [f"default/{name}" for name in ("added", "changed", "kept", "remade")]
        for revision in (known, deleted, changed, remade):
            with pytest.raises(CompactedError):
                cache.subscribe([CONFIG_MAPS], since=revision)
        assert cache.subscribe([CONFIG_MAPS], since=added).pending == 0


async def test_another_history_resets(store: MemoryStore) -> None:
    """A store whose history was replaced cuts subscribers off with ResetError and is taken over as it is."""
    await put(store, "old")
    async with running_cache(store) as cache:
        known = cache.history_id
        subscription = cache.subscribe([CONFIG_MAPS])
        held = await store.get(HISTORY_KEY)
        assert held is not None
        await store.update(HISTORY_KEY, b"another", expected=held.mod_revision)
        await put(store, "new")
        store.interrupt()
        async with asyncio.timeout(5):
            with pytest.raises(ResetError):
                while True:
                    await subscription.batch()
        assert cache.history_id == "another" != known
        assert cache.counters.resets == 1
        assert names(cache) == ["default/new", "default/old"]


class _Restorable(MemoryStore):
    """A store that can take over the state of another, as etcd does from a backup."""

    def restore(self, backup: MemoryStore) -> None:
        for name, value in vars(backup).items():
            if name not in {"_waiters", "_space_waiters"}:
                setattr(self, name, value)
        self.interrupt()


async def test_restored_backup_gets_a_new_history() -> None:
    """Revisions that went backwards are noticed, and the history id is replaced, for agents to know."""
    store, backup = _Restorable(), MemoryStore()
    async with running_cache(store) as cache:
        for name in ("a", "b", "c"):
            await put(store, name)
        await cache.barrier()
        await backup.create(HISTORY_KEY, cache.history_id.encode())
        await put(backup, "a")
        subscription = cache.subscribe([CONFIG_MAPS])
        known = cache.history_id
        store.restore(backup)
        async with asyncio.timeout(5):
            with pytest.raises(ResetError):
                await subscription.batch()
        assert names(cache) == ["default/a"]
        assert cache.history_id != known
        assert cache.history_id == await store.history_id()
        assert cache.revision == await store.revision()


async def test_reads_go_on_while_the_store_is_away(store: MemoryStore) -> None:
    """Without the store plain reads show the last state, a barrier fails in time, and all heals when it is back."""
    async with running_cache(store, CacheOptions(barrier_timeout_s=0.05)) as cache:
        await put(store, "a")
        await cache.barrier()
        store.available = False
        with pytest.raises(StoreUnavailableError):
            await cache.barrier()
        assert names(cache) == ["default/a"]
        store.available = True
        await put(store, "b")
        await cache.wait_for(await store.revision(), timeout_s=5)
        assert names(cache) == ["default/a", "default/b"]


async def test_waiting_for_a_revision(store: MemoryStore, cache: Cache) -> None:
    """Waiting for a revision ends when it is reached, at once if it is already, by TimeoutError if it never is."""
    await cache.wait_for(cache.revision, timeout_s=0.01)
    with pytest.raises(TimeoutError):
        await cache.wait_for(cache.revision + 1, timeout_s=0.01)
    async with asyncio.TaskGroup() as tasks:
        later = tasks.create_task(cache.wait_for(cache.revision + 2, timeout_s=5))
        await put(store, "a")
        await cache.barrier()
        assert not later.done()
        await put(store, "b")


async def test_unreadable_value_is_left_out(store: MemoryStore, cache: Cache) -> None:
    """A stored value that is no object does no harm: it is counted, and the state before it stays."""
    await put(store, "a")
    await store.create(object_key(CONFIG_MAPS, "default", "broken"), b"\xff")
    await put(store, "a", b"{}")
    await put(store, "b")
    await cache.barrier()
    assert names(cache) == ["default/a", "default/b"]
    assert cache.counters.unreadable == 2
    store.interrupt()
    async with running_cache(store) as another:
        assert names(another) == ["default/b"]


async def test_internal_keys_count_but_are_no_objects(store: MemoryStore, cache: Cache) -> None:
    """Leader and lease keys move the cache's revision without an event."""
    subscription = cache.subscribe(list(KINDS))
    revision = await store.create("/flotilla/leader", b"me")
    await cache.barrier()
    assert cache.revision == revision
    assert subscription.pending == 0


async def test_encoded_forms_are_made_once(store: MemoryStore, cache: Cache) -> None:
    """Watchers of the same form share the bytes of an event."""
    subscriptions = [cache.subscribe([CONFIG_MAPS]) for _ in range(2)]
    await put(store, "a")
    await cache.barrier()
    (one,), (other,) = [await subscription.batch() for subscription in subscriptions]
    made = one.encoded("json", lambda event: b"line of " + event.entry.data)
    assert other.encoded("json", lambda event: b"never made") is made
    assert other.encoded("table", lambda event: b"another form") == b"another form"


async def test_barrier_asks_once_for_many(store: MemoryStore) -> None:
    """Callers that arrive before a question is sent share it."""
    asked = 0

    class Counting(MemoryStore):
        async def revision(self) -> int:
            nonlocal asked
            asked += 1
            return await super().revision()

    async with running_cache(Counting()) as cache:
        await asyncio.gather(*[cache.barrier() for _ in range(100)])
        assert asked <= 2


async def test_cancelled_caller_leaves_the_others(store: MemoryStore, cache: Cache) -> None:
    """A caller that gives up takes nobody else's answer along."""
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        impatient = tasks.create_task(cache.barrier())
        patient = tasks.create_task(cache.barrier())
        await asyncio.sleep(0)
        impatient.cancel()
        await patient
