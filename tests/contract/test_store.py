"""What every store does, on the in-memory one and on a real etcd alike."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing

import pytest

from controlplane.store.etcd import EtcdStore
from controlplane.store.keys import after
from controlplane.store.memory import MemoryStore
from controlplane.store.store import (
    Backend,
    Change,
    Changes,
    ChangeType,
    CompactedError,
    Fence,
    FencedError,
    FutureRevisionError,
    KeyExistsError,
    KeyValue,
    LeaseNotFoundError,
    RevisionConflictError,
    Store,
    StoreError,
)

DEADLINE_S = 10.0


async def take(store: Backend, count: int, *, start_revision: int, key: str = "") -> list[Changes]:
    """The first ``count`` revisions of a watch."""
    taken: list[Changes] = []
    async with asyncio.timeout(DEADLINE_S), aclosing(store.watch(start_revision=start_revision, key=key)) as stream:
        async for changes in stream:
            taken.append(changes)
            if len(taken) == count:
                break
    return taken


async def test_revisions_count_writes(store: Backend) -> None:
    """An empty store is at revision 1 and each write that takes effect adds exactly one."""
    assert await store.revision() == 1
    assert await store.create("/a", b"1") == 2
    assert await store.create("/b", b"1") == 3
    assert await store.update("/a", b"2", expected=2) == 4
    assert await store.delete("/b", expected=3) == 5
    assert await store.revision() == 5


async def test_refused_writes_leave_no_trace(store: Backend) -> None:
    """A write that is refused changes neither the key nor the revision."""
    await store.create("/a", b"1")
    with pytest.raises(KeyExistsError):
        await store.create("/a", b"2")
    with pytest.raises(RevisionConflictError):
        await store.update("/a", b"2", expected=7)
    with pytest.raises(RevisionConflictError):
        await store.update("/absent", b"2", expected=2)
    with pytest.raises(RevisionConflictError):
        await store.delete("/a", expected=7)
    with pytest.raises(RevisionConflictError):
        await store.delete("/absent")
    assert await store.revision() == 2
    assert await store.get("/a") == KeyValue("/a", b"1", 2, 2)


async def test_conflict_shows_what_is_there(store: Backend) -> None:
    """Whoever loses a race gets the state that it lost to, and None if that is a deletion."""
    await store.create("/a", b"1")
    await store.update("/a", b"2", expected=2)
    with pytest.raises(RevisionConflictError) as lost_update:
        await store.update("/a", b"3", expected=2)
    with pytest.raises(RevisionConflictError) as lost_delete:
        await store.delete("/a", expected=2)
    assert lost_update.value.current == lost_delete.value.current == KeyValue("/a", b"2", 2, 3)
    await store.delete("/a")
    with pytest.raises(RevisionConflictError) as gone:
        await store.update("/a", b"3", expected=3)
    assert gone.value.current is None


async def test_recreated_key_starts_anew(store: Backend) -> None:
    """A key that is created after a deletion has a create revision of its own."""
    await store.create("/a", b"1")
    await store.delete("/a")
    assert await store.create("/a", b"2") == 4
    assert await store.get("/a") == KeyValue("/a", b"2", 4, 4)


async def test_get_at_a_revision(store: Backend) -> None:
    """The past can be read as it was; the future can't."""
    await store.create("/a", b"1")
    await store.update("/a", b"2", expected=2)
    await store.delete("/a")
    assert await store.get("/a", revision=1) is None
    assert await store.get("/a", revision=2) == KeyValue("/a", b"1", 2, 2)
    assert await store.get("/a", revision=3) == KeyValue("/a", b"2", 2, 3)
    assert await store.get("/a", revision=4) is None
    with pytest.raises(FutureRevisionError):
        await store.get("/a", revision=5)
    with pytest.raises(FutureRevisionError):
        await store.list("/a", revision=5)


async def test_values_are_opaque_bytes(store: Backend) -> None:
    """Values of any bytes up to the API's limit, and names beyond ASCII, come back as they went in."""
    everything = bytes(range(256))
    await store.create("/ключ/名", everything)
    await store.create("/empty", b"")
    await store.create("/large", everything * 4096)
    assert (await store.get("/ключ/名")) == KeyValue("/ключ/名", everything, 2, 2)
    assert (await store.get("/empty")) == KeyValue("/empty", b"", 3, 3)
    assert (await store.get("/large")) == KeyValue("/large", everything * 4096, 4, 4)


async def test_list_takes_a_prefix_in_key_order(store: Backend) -> None:
    """A list shows the keys under its prefix, all of them and no others, in order."""
    for key in ("/r/b/2", "/r/b/1", "/r/bc/1", "/r/a/1", "/r/c/1"):
        await store.create(key, key.encode())
    page = await store.list("/r/b/")
    assert [item.key for item in page.items] == ["/r/b/1", "/r/b/2"]
    assert (page.revision, page.more, page.count) == (6, False, 2)
    everything = await store.list("")
    assert [item.key for item in everything.items] == ["/r/a/1", "/r/b/1", "/r/b/2", "/r/bc/1", "/r/c/1"]
    assert (await store.list("/nothing/")).items == []


async def test_pages_are_of_one_revision(store: Backend) -> None:
    """A list in pages at one revision is untouched by what is written meanwhile."""
    keys = [f"/r/{number:02}" for number in range(10)]
    for key in keys:
        await store.create(key, b"old")
    first = await store.list("/r/", limit=4)
    assert (len(first.items), first.more, first.count, first.revision) == (4, True, 10, 11)
    await store.delete("/r/05")
    await store.update("/r/06", b"new", expected=8)
    await store.create("/r/055", b"new")
    second = await store.list("/r/", limit=4, revision=first.revision, start_key=after(first.items[-1].key))
    assert (len(second.items), second.more, second.count, second.revision) == (4, True, 6, 11)
    third = await store.list("/r/", limit=4, revision=first.revision, start_key=after(second.items[-1].key))
    assert (len(third.items), third.more, third.count) == (2, False, 2)
    items = first.items + second.items + third.items
    assert [item.key for item in items] == keys
    assert {item.value for item in items} == {b"old"}


async def test_watch_shows_every_change(store: Backend) -> None:
    """A watch from a revision shows all changes since, in order, with the state before each."""
    await store.create("/a", b"1")
    await store.create("/b", b"1")
    await store.update("/a", b"2", expected=2)
    await store.delete("/b")
    first = KeyValue("/a", b"1", 2, 2)
    assert await take(store, 4, start_revision=2) == [
        [Change(ChangeType.PUT, "/a", b"1", 2, 2, None)],
        [Change(ChangeType.PUT, "/b", b"1", 3, 3, None)],
        [Change(ChangeType.PUT, "/a", b"2", 2, 4, first)],
        [Change(ChangeType.DELETE, "/b", b"", 0, 5, KeyValue("/b", b"1", 3, 3))],
    ]
    assert [changes[0].mod_revision for changes in await take(store, 2, start_revision=4)] == [4, 5]


async def test_watch_waits_for_what_comes(store: Backend) -> None:
    """A watch from a revision that is still to come begins with exactly that one."""
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(take(store, 2, start_revision=4))
        for number in range(5):
            await store.create(f"/a/{number}", b"")
    assert [changes[0].key for changes in watching.result()] == ["/a/2", "/a/3"]


async def test_watch_of_one_key(store: Backend) -> None:
    """A watch of a key shows its changes alone."""
    await store.create("/a", b"1")
    await store.create("/aa", b"1")
    await store.update("/a", b"2", expected=2)
    await store.delete("/a")
    seen = await take(store, 3, start_revision=2, key="/a")
    assert [(changes[0].key, changes[0].mod_revision) for changes in seen] == [("/a", 2), ("/a", 4), ("/a", 5)]


async def test_watch_of_large_changes(store: Backend) -> None:
    """Changes far larger than a transport's usual message limit arrive, each revision whole."""
    for number in range(12):
        await store.create(f"/large/{number:02}", bytes([number]) * (1 << 20))
    seen = await take(store, 12, start_revision=2)
    assert [(len(changes), changes[0].value[:1]) for changes in seen] == [(1, bytes([number])) for number in range(12)]


async def test_past_is_gone_after_compaction(store: Backend) -> None:
    """Reads from before a compaction are refused with the revision from which on they work."""
    for number in range(5):
        await store.create(f"/a/{number}", b"")
    await store.compact(4)
    with pytest.raises(CompactedError) as got:
        await store.get("/a/0", revision=3)
    with pytest.raises(CompactedError) as listed:
        await store.list("/a/", revision=3)
    with pytest.raises(CompactedError) as watched:
        await take(store, 1, start_revision=3)
    assert got.value.compact_revision == listed.value.compact_revision == watched.value.compact_revision == 4
    assert len((await store.list("/a/", revision=4)).items) == 3
    assert [changes[0].mod_revision for changes in await take(store, 2, start_revision=5)] == [5, 6]


async def test_deletion_at_the_compacted_revision_is_not_skipped(store: Backend) -> None:
    """Who has not seen the very revision compacted to is told so, even though etcd would start there in silence."""
    await store.create("/a", b"")
    await store.create("/b", b"")
    await store.delete("/a")
    await store.create("/c", b"")
    await store.compact(4)
    with pytest.raises(CompactedError):
        await take(store, 1, start_revision=4)
    assert (await take(store, 1, start_revision=5))[0][0].key == "/c"


async def test_compacting_twice_and_ahead(store: Backend) -> None:
    """To forget what is forgotten already is nothing; to forget the future is refused."""
    await store.create("/a", b"")
    await store.create("/b", b"")
    await store.compact(3)
    await store.compact(2)
    with pytest.raises(FutureRevisionError):
        await store.compact(9)
    assert len((await store.list("/")).items) == 2


async def test_lease_takes_its_keys_along(store: Backend) -> None:
    """The keys of a revoked lease go together in one revision, those that left the lease stay."""
    lease = await store.grant_lease(60)
    await store.create("/a", b"", lease=lease)
    await store.create("/b", b"", lease=lease)
    await store.create("/kept", b"", lease=lease)
    await store.update("/kept", b"", expected=4)
    await store.revoke_lease(lease)
    await store.revoke_lease(lease)
    assert await store.revision() == 6
    seen = (await take(store, 1, start_revision=6))[0]
    assert [(change.type, change.key) for change in seen] == [(ChangeType.DELETE, "/a"), (ChangeType.DELETE, "/b")]
    assert [item.key for item in (await store.list("/")).items] == ["/kept"]


async def test_lease_ends_by_itself(store: Backend) -> None:
    """A lease that nobody renews ends and its key with it."""
    lease = await store.grant_lease(2)
    await store.create("/a", b"", lease=lease)
    seen = await take(store, 2, start_revision=2)
    assert [changes[0].type for changes in seen] == [ChangeType.PUT, ChangeType.DELETE]
    assert not await store.renew_lease(lease)
    with pytest.raises(LeaseNotFoundError):
        await store.create("/b", b"", lease=lease)


async def test_kept_lease_lives(store: Backend) -> None:
    """A kept lease outlives its time; when it is revoked its keeper knows within a fraction of that time."""
    asked_at_s = store.lease_time_s()
    lease = await store.grant_lease(2)
    await store.create("/a", b"", lease=lease)
    async with asyncio.timeout(DEADLINE_S), store.keep_lease(lease, ttl_s=2, asked_at_s=asked_at_s) as keeper:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3.0):
                await keeper.wait_lost()
        assert keeper.remaining_s() > 0
        assert await store.get("/a") is not None
        await store.revoke_lease(lease)
        await keeper.wait_lost()
        assert keeper.remaining_s() <= 0


async def test_fence_admits_its_own_campaign(store: Backend) -> None:
    """A fenced write works while the fence's key is the one that it names."""
    created = await store.create("/leader", b"me")
    fence = Fence("/leader", created)
    assert await store.create("/a", b"1", fence=fence) == 3
    assert await store.update("/a", b"2", expected=3, fence=fence) == 4
    assert await store.delete("/a", expected=4, fence=fence) == 5


async def test_fence_refuses_and_says_so(store: Backend) -> None:
    """A deposed leader's write is refused as such, also where it would have failed for another reason too."""
    fence = Fence("/leader", await store.create("/leader", b"me"))
    await store.create("/a", b"1")
    await store.delete("/leader")
    for _ in ("gone", "replaced"):
        for write in (
            store.create("/new", b"", fence=fence),
            store.create("/a", b"", fence=fence),
            store.update("/a", b"", expected=3, fence=fence),
            store.update("/a", b"", expected=2, fence=fence),
            store.delete("/a", fence=fence),
        ):
            with pytest.raises(FencedError):
                await write
        if await store.get("/leader") is None:
            await store.create("/leader", b"another")
    assert await store.get("/a") == KeyValue("/a", b"1", 3, 3)


async def test_fenced_writer_still_sees_its_races(store: Backend) -> None:
    """With a fence that holds, a conflict is a conflict and an existing key an existing key."""
    fence = Fence("/leader", await store.create("/leader", b"me"))
    await store.create("/a", b"1")
    with pytest.raises(KeyExistsError):
        await store.create("/a", b"2", fence=fence)
    with pytest.raises(RevisionConflictError) as conflict:
        await store.update("/a", b"2", expected=2, fence=fence)
    assert conflict.value.current == KeyValue("/a", b"1", 3, 3)


async def test_history_id_is_made_once(store: Backend) -> None:
    """A store has one history id until it is replaced, and only the id that is known can be replaced."""
    known = await store.history_id()
    assert await store.history_id() == known
    replaced = await store.new_history(known)
    assert replaced != known
    assert await store.new_history(known) == replaced
    assert await store.history_id() == replaced
    assert await store.revision() == 3


async def test_no_update_is_lost_among_writers(store: Backend) -> None:
    """Writers that read, change and write back one key at its revision add up exactly."""
    await store.create("/counter", b"0")

    async def add() -> None:
        for _ in range(5):
            while True:
                held = await store.get("/counter")
                assert held is not None
                try:
                    await store.update("/counter", b"%d" % (int(held.value) + 1), expected=held.mod_revision)
                except RevisionConflictError:
                    continue
                break

    async with asyncio.TaskGroup() as tasks:
        for _ in range(8):
            tasks.create_task(add())
    held = await store.get("/counter")
    assert held is not None
    assert (held.value, held.mod_revision) == (b"40", 42)


async def _outcome(store: Store, operation: str, key: str, expected: int) -> object:
    """What one operation does, as a value that can be compared: a result, or an error and what it carries."""
    try:
        match operation:
            case "create":
                return await store.create(key, key.encode())
            case "update":
                return await store.update(key, b"%d" % expected, expected=expected)
            case "delete":
                return await store.delete(key, expected=expected)
            case "list":
                return await store.list(key[:2], revision=expected, limit=3)
            case "compact":
                await store.compact(expected)
                return None
            case _:
                return await store.get(key, revision=expected)
    except RevisionConflictError as error:
        return (type(error), error.current)
    except CompactedError as error:
        return (type(error), error.compact_revision)
    except StoreError as error:
        return type(error)


@pytest.mark.etcd
async def test_both_stores_do_the_same(etcd_store: EtcdStore) -> None:
    """A long random script of operations has the same outcomes and revisions in memory and on etcd."""
    memory = MemoryStore()
    script = random.Random(7)
    operations = ("create", "update", "delete", "delete", "get", "list")
    for step in range(600):
        revision = await memory.revision()
        operation = "compact" if step % 150 == 149 else script.choice(operations)
        key = f"/{script.choice('ab')}/{script.randrange(4)}"
        expected = max(0, revision - script.randrange(8)) if operation != "compact" else revision - 5
        if operation == "update":
            held = await memory.get(key)
            expected = held.mod_revision if held is not None and script.random() < 0.7 else max(1, expected)
        assert await _outcome(etcd_store, operation, key, expected) == await _outcome(memory, operation, key, expected)
    assert await etcd_store.revision() == await memory.revision()
