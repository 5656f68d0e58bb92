"""The store and the cache on a real etcd that dies, hangs, runs full, or whose connections are cut."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, closing, suppress
from itertools import count
from typing import TYPE_CHECKING

import pytest

from controlplane.store.cache import Cache, CacheEvent
from controlplane.store.compaction import Compactor
from controlplane.store.etcd import EtcdStore, EtcdTls
from controlplane.store.keys import object_key
from controlplane.store.store import (
    Backend,
    KeyExistsError,
    OutOfSpaceError,
    RevisionConflictError,
    StoreError,
    StoreUnavailableError,
)
from flotilla.api.objects import encode
from flotilla.api.resources import CONFIG_MAPS

if TYPE_CHECKING:
    from controlplane.pki import ClusterPki
    from tests.contract.conftest import EtcdServer, Network, NetworkTo

pytestmark = pytest.mark.etcd

DEADLINE_S = 60.0
WRITERS = 6


def config_map(name: str, value: str) -> bytes:
    metadata = {"name": name, "namespace": "default", "uid": f"uid-{name}"}
    return encode({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"value": value}})


def key_of(name: str) -> str:
    return object_key(CONFIG_MAPS, "default", name)


@asynccontextmanager
async def running(*parts: Callable[[], Awaitable[None]]) -> AsyncGenerator[None]:
    """Run ``parts`` until the block is left."""
    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(_awaited(part)) for part in parts]
        yield
        for task in started:
            task.cancel()


async def _awaited(part: Callable[[], Awaitable[None]]) -> None:
    await part()


class Writer:
    """Creates, updates and deletes objects of its own, and knows what was acknowledged."""

    def __init__(self, store: Backend, name: str) -> None:
        self._store = store
        self._name = name
        self.acknowledged: dict[int, str] = {}
        self.state: dict[str, str | None] = {}
        self.unknown = 0

    async def write(self, enough: Callable[[], bool]) -> None:
        for number in count():
            if enough():
                return
            name = f"{self._name}-{number % 7}"
            await self._settle(name, f"{self._name}/{number}", delete=number % 5 == 4)

    async def _settle(self, name: str, value: str, *, delete: bool) -> None:
        """Write until it is acknowledged, reading what is there after each failure as an API client would."""
        while True:
            try:
                held = await self._store.get(key_of(name))
                revision = await self._attempt(name, value, held.mod_revision if held else 0, delete=delete)
            except (RevisionConflictError, KeyExistsError):
                continue
            except StoreUnavailableError:
                self.unknown += 1
                continue
            self.acknowledged[revision] = name
            return

    async def _attempt(self, name: str, value: str, expected: int, *, delete: bool) -> int:
        if delete and expected:
            revision = await self._store.delete(key_of(name), expected=expected)
            self.state[name] = None
            return revision
        data = config_map(name, value)
        if expected:
            revision = await self._store.update(key_of(name), data, expected=expected)
        else:
            revision = await self._store.create(key_of(name), data)
        self.state[name] = value
        return revision


async def assert_nothing_lost(writers: list[Writer], cache: Cache, store: Backend) -> None:
    """Store and cache hold exactly what the writers were last told, and every acknowledged revision happened once."""
    await cache.barrier()
    expected = {name: value for writer in writers for name, value in writer.state.items() if value is not None}
    assert {entry.name: entry.obj["data"]["value"] for entry in cache.list(CONFIG_MAPS)} == expected
    page = await store.list("/registry/")
    assert {item.key: item.mod_revision for item in page.items} == {
        entry.key: entry.revision for entry in cache.list(CONFIG_MAPS)
    }


async def acknowledged_and_seen(writers: list[Writer], cache: Cache, seen: Counter[int]) -> None:
    """Every acknowledged write came along in the events, each revision once."""
    acknowledged = Counter(revision for writer in writers for revision in writer.acknowledged)
    assert set(acknowledged.values()) == {1}
    assert acknowledged.keys() <= seen.keys()
    assert set(seen.values()) == {1}
    assert cache.counters.lists == 1


async def count_events(cache: Cache, seen: Counter[int]) -> None:
    with closing(cache.subscribe([CONFIG_MAPS])) as subscription:
        async for event in subscription:
            seen[event.revision] += 1


async def test_random_disconnects_lose_nothing(etcd: EtcdServer, network: Network) -> None:
    """With connections cut at random, no acknowledged write is lost and the cache sees each revision once."""
    store = EtcdStore([network.endpoint])
    await store.start()
    cache = Cache(store, [CONFIG_MAPS])
    seen: Counter[int] = Counter()
    async with asyncio.timeout(DEADLINE_S), running(cache.run):
        await cache.wait_synced()
        async with running(lambda: count_events(cache, seen)):
            writers = [Writer(store, f"w{number}") for number in range(WRITERS)]
            async with running(lambda: network.cut_at_random(seed=11)), asyncio.TaskGroup() as tasks:
                for writer in writers:
                    tasks.create_task(writer.write(lambda: network.cuts >= 20))
            await assert_nothing_lost(writers, cache, store)
            await asyncio.sleep(0)
            await acknowledged_and_seen(writers, cache, seen)
    assert cache.counters.resumes > 0
    await store.close()


async def test_killed_etcd_comes_back_with_everything(etcd: EtcdServer) -> None:
    """An etcd killed and started again under writers costs none of their acknowledged writes; the cache heals."""
    store = EtcdStore([etcd.endpoint])
    await store.start()
    cache = Cache(store, [CONFIG_MAPS])
    seen: Counter[int] = Counter()

    async def kill_and_start() -> None:
        for _ in range(4):
            await cache.wait_for(cache.revision + 20, timeout_s=DEADLINE_S)
            resumes = cache.counters.resumes
            etcd.kill()
            etcd.start()
            # Revisions that were on their way before are no sign that the cache has noticed.
            while cache.counters.resumes == resumes:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async with asyncio.timeout(DEADLINE_S), running(cache.run):
        await cache.wait_synced()
        async with running(lambda: count_events(cache, seen)):
            writers = [Writer(store, f"w{number}") for number in range(WRITERS)]
            async with asyncio.TaskGroup() as tasks:
                killing = tasks.create_task(kill_and_start())
                for writer in writers:
                    tasks.create_task(writer.write(killing.done))
            await assert_nothing_lost(writers, cache, store)
            await asyncio.sleep(0)
            await acknowledged_and_seen(writers, cache, seen)
    await store.close()


async def test_reads_go_on_without_etcd(etcd: EtcdServer, etcd_store: EtcdStore) -> None:
    """With etcd gone the cache still shows the last state; only consistent reads fail, in bounded time."""
    cache = Cache(etcd_store, [CONFIG_MAPS])
    async with asyncio.timeout(DEADLINE_S), running(cache.run):
        await cache.wait_synced()
        await etcd_store.create(key_of("a"), config_map("a", "1"))
        await cache.barrier()
        etcd.kill()
        began = asyncio.get_running_loop().time()
        with pytest.raises(StoreUnavailableError):
            await cache.barrier()
        assert asyncio.get_running_loop().time() - began < 3.0
        entry = cache.get(CONFIG_MAPS, "default", "a")
        assert entry is not None and entry.obj["data"] == {"value": "1"}
        assert not cache.connected
        etcd.start()
        while not cache.connected:
            with suppress(StoreUnavailableError):
                await cache.barrier()


async def test_hung_etcd_fails_in_time(etcd: EtcdServer) -> None:
    """A stopped etcd makes calls fail at their deadline, and serves them again when it goes on."""
    store = EtcdStore([etcd.endpoint], timeout_s=0.5)
    await store.start()
    etcd.signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(3.0):
            with pytest.raises(StoreUnavailableError):
                await store.create("/a", b"")
            with pytest.raises(StoreUnavailableError):
                await store.get("/a")
    finally:
        etcd.signal(signal.SIGCONT)
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                await store.revision()
                break
            except StoreUnavailableError:
                continue
    await store.close()


async def test_next_member_is_called(etcd: EtcdServer, network: Network) -> None:
    """Of several endpoints one that does not answer is left for one that does."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = EtcdStore([f"http://127.0.0.1:{silent.getsockname()[1]}", network.endpoint])
        async with asyncio.timeout(DEADLINE_S):
            await store.start()
            assert await store.create("/a", b"") == 2
        await store.close()


async def test_hung_member_is_left(etcd: EtcdServer, small_etcd: EtcdServer) -> None:
    """A member that hangs while connected costs one read its share of the time, 1 s here, and later ones nothing."""
    store = EtcdStore([etcd.endpoint, small_etcd.endpoint], timeout_s=2.0)
    await store.start()
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(DEADLINE_S):
        for hung in (etcd, small_etcd):
            hung.signal(signal.SIGSTOP)
            began = loop.time()
            for _ in range(10):
                assert await store.get("/a") is None
            assert loop.time() - began < 1.9
            hung.signal(signal.SIGCONT)
    await store.close()


async def test_etcd_asks_for_a_certificate(secure_etcd: tuple[EtcdServer, ClusterPki], network_to: NetworkTo) -> None:
    """Over TLS a client with the cluster's certificate is served, watches and leases included; others are not."""
    server, pki = secure_etcd
    network = await network_to(server)
    endpoint = network.endpoint.replace("http://", "https://")
    client, foreign = pki.etcd_client, pki.server
    store = EtcdStore([endpoint], tls=EtcdTls(pki.etcd_ca_file, client.certificate, client.key))
    async with asyncio.timeout(DEADLINE_S):
        await store.start()
        asked_at_s = store.lease_time_s()
        lease = await store.grant_lease(2)
        async with store.keep_lease(lease, ttl_s=2, asked_at_s=asked_at_s) as keeper:
            assert await store.create("/a", b"1", lease=lease) == 2
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(2.5):
                    await keeper.wait_lost()
        async with aclosing(store.watch(start_revision=2)) as stream:
            assert (await anext(stream))[0].key == "/a"
        await store.close()
        stranger = EtcdStore([endpoint], tls=EtcdTls(pki.etcd_ca_file, foreign.certificate, foreign.key))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await stranger.start()
        await stranger.close()
    with pytest.raises(ValueError, match="certificate"):
        await EtcdStore([endpoint]).start()


async def test_full_etcd_is_read_only_until_recovered(small_etcd: EtcdServer) -> None:
    """Out of quota, writes say so, reads and deletes work, and compacting and defragmenting brings writes back."""
    store = EtcdStore([small_etcd.endpoint])
    await store.start()
    cache = Cache(store, [CONFIG_MAPS])
    async with asyncio.timeout(DEADLINE_S), running(cache.run):
        await cache.wait_synced()
        await fill(store)
        with pytest.raises(OutOfSpaceError):
            await store.create(key_of("more"), b"{}")
        with pytest.raises(OutOfSpaceError):
            await store.grant_lease(5)
        await cache.barrier()
        entry = cache.get(CONFIG_MAPS, "default", "big")
        assert entry is not None
        assert (await store.get(key_of("big"))) is not None
        await store.delete(key_of("big"), expected=entry.revision)
        compactor = Compactor(store, cache)
        async with running(compactor.run):
            await until_writable(store)
            assert await true_in_time(lambda: not compactor.read_only)
            assert compactor.recoveries == 1
    await store.close()


async def fill(store: Backend) -> None:
    """Overwrite one object until the quota is used up by its past."""
    revision = await store.create(key_of("big"), config_map("big", "x"))
    with pytest.raises(OutOfSpaceError):
        for number in range(400):
            revision = await store.update(key_of("big"), config_map("big", f"{number}" * 20_000), expected=revision)


async def true_in_time(condition: Callable[[], bool]) -> bool:
    """Whether ``condition`` comes true before the deadline."""
    for _ in range(int(DEADLINE_S / 0.01)):
        if condition():
            return True
        await asyncio.sleep(0.01)
    return False


async def until_writable(store: Backend) -> None:
    while True:
        try:
            await store.create(key_of("after"), config_map("after", "1"))
            return
        except OutOfSpaceError:
            await asyncio.sleep(0.02)


async def test_cache_lists_again_after_compaction(etcd: EtcdServer, network: Network) -> None:
    """A cache that was cut off while its revision was compacted away lists again and shows the differences only."""
    behind = EtcdStore([network.endpoint])
    ahead = EtcdStore([etcd.endpoint])
    await behind.start()
    await ahead.start()
    cache = Cache(behind, [CONFIG_MAPS])
    for name in ("kept", "changed", "removed", "remade"):
        await ahead.create(key_of(name), config_map(name, "1"))
    async with asyncio.timeout(DEADLINE_S), running(cache.run):
        await cache.wait_synced()
        subscription = cache.subscribe([CONFIG_MAPS])
        await network.close()
        before = {entry.name: entry.revision for entry in cache.list(CONFIG_MAPS)}
        await ahead.update(key_of("changed"), config_map("changed", "2"), expected=before["changed"])
        await ahead.delete(key_of("removed"))
        await ahead.delete(key_of("remade"))
        await ahead.create(key_of("remade"), config_map("remade", "2"))
        await ahead.create(key_of("added"), config_map("added", "2"))
        await ahead.compact(await ahead.revision())
        await network.open()
        events: list[CacheEvent] = []
        while len(events) < 5:
            events += await subscription.batch()
    assert {(event.type, event.entry.name) for event in events} == {
        ("MODIFIED", "changed"),
        ("DELETED", "removed"),
        ("DELETED", "remade"),
        ("ADDED", "remade"),
        ("ADDED", "added"),
    }
    assert len(events) == 5
    await behind.close()
    await ahead.close()


async def test_watch_of_closed_store_ends(etcd_store: EtcdStore) -> None:
    """Closing the store ends its watches by an error, never in silence."""
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
        ended = tasks.create_task(_watch_to_the_end(etcd_store))
        await etcd_store.create("/a", b"")
        assert await true_in_time(lambda: ended.get_name() == "watching")
        await etcd_store.close()
        assert await ended is StoreUnavailableError


async def _watch_to_the_end(store: Backend) -> type[StoreError] | None:
    task = asyncio.current_task()
    assert task is not None
    try:
        async with aclosing(store.watch(start_revision=1)) as stream:
            async for _ in stream:
                task.set_name("watching")
    except StoreError as error:
        return type(error)
    return None
