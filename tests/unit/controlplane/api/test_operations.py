"""Operations as controllers use them, on a cache that may lag."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from controlplane.api.bootstrap import bootstrap, keep_bootstrapped
from controlplane.api.deletion import DeleteOptions
from controlplane.api.next_states import WriteOptions
from controlplane.api.operations import Operations
from controlplane.store.cache import Cache
from controlplane.store.keys import object_key
from controlplane.store.memory import MemoryStore
from flotilla.api.errors import ApiError
from flotilla.api.objects import KubeObject
from flotilla.api.registry import REGISTRY
from flotilla.api.resources import CONFIG_MAPS, ENDPOINT_SLICES, ENDPOINTS, EVENTS, NAMESPACES, PODS, SERVICES

DEADLINE_S = 10.0
ADDRESSES: dict[str, Any] = {
    "api_address": "192.0.2.1",
    "api_port": 6443,
    "cluster_dns": "10.43.0.10",
    "service_cidr": "10.43.0.0/16",
}


@dataclass(slots=True)
class Bench:
    store: MemoryStore
    cache: Cache
    operations: Operations
    following: asyncio.Task[None]

    async def freeze_cache(self) -> None:
        """Let the cache fall behind from here on."""
        self.following.cancel()
        await asyncio.gather(self.following, return_exceptions=True)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    store = MemoryStore()
    cache = Cache(store, REGISTRY.all())
    following = asyncio.create_task(cache.run())
    await cache.wait_synced()
    operations = Operations(store, cache)
    await operations.create(NAMESPACES, {"metadata": {"name": "default"}}, manager="test")
    await cache.barrier()
    yield Bench(store, cache, operations, following)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


def config_map(name: str, **data: str) -> KubeObject:
    return {"metadata": {"name": name, "namespace": "default"}, "data": data}


def pod(name: str, **spec: Any) -> KubeObject:
    metadata = {"name": name, "namespace": "default"}
    return {"metadata": metadata, "spec": {"containers": [{"name": "main", "image": "busybox"}]} | spec}


def adding(key: str) -> Any:
    def change(obj: KubeObject) -> KubeObject:
        obj["data"] = (obj.get("data") or {}) | {key: "v"}
        return obj

    return change


async def test_create_leaves_its_argument_alone(bench: Bench) -> None:
    """A template that is shared with the cache is not defaulted in place."""
    template = pod("p")
    await bench.operations.create(PODS, template, manager="test")
    assert template == pod("p")


async def test_creations_of_controllers_are_recorded(bench: Bench) -> None:
    """A controller owns what it sets, as a user does; the status that the server gives a new pod is nobody's."""
    stored = await bench.operations.create(PODS, pod("p"), manager="test")
    (entry,) = stored["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"]) == ("test", "Update")
    assert entry["fieldsV1"].keys() == {"f:spec"}
    assert "kind" in stored and "apiVersion" in stored


async def test_a_write_on_a_lagging_cache_takes_effect_on_the_newest_state(bench: Bench) -> None:
    """The store's refusal carries the newest state, and the change is made on that."""
    await bench.operations.create(CONFIG_MAPS, config_map("a"), manager="test")
    await bench.cache.barrier()
    await bench.freeze_cache()
    for key in ("one", "two", "three"):
        await bench.operations.mutate(CONFIG_MAPS, "default", "a", adding(key), manager="test")
    stored = await bench.store.get(object_key(CONFIG_MAPS, "default", "a"))
    assert stored is not None and all(word in stored.value for word in (b"one", b"two", b"three"))


async def test_nothing_to_change_is_checked_against_the_store(bench: Bench) -> None:
    """A change that an old state makes look needless is made all the same."""
    await bench.operations.create(CONFIG_MAPS, config_map("a", k="old"), manager="test")
    await bench.cache.barrier()
    other_cache = Cache(bench.store, REGISTRY.all())
    other_following = asyncio.create_task(other_cache.run())
    await other_cache.wait_synced()
    other = Operations(bench.store, other_cache)

    def to(value: str) -> Any:
        return lambda obj: obj | {"data": {"k": value}}

    await other.mutate(CONFIG_MAPS, "default", "a", to("new"), manager="other")
    stored = await bench.operations.mutate(CONFIG_MAPS, "default", "a", to("old"), manager="test")
    assert stored is not None
    assert (await other.get(CONFIG_MAPS, "default", "a"))["data"] == {"k": "old"}
    other_following.cancel()
    await asyncio.gather(other_following, return_exceptions=True)


async def test_mutate_of_what_is_gone_is_none(bench: Bench) -> None:
    """A reconciler finds out without an error."""
    assert await bench.operations.mutate(PODS, "default", "p", lambda obj: obj, manager="test") is None
    with pytest.raises(ApiError) as caught:
        await bench.operations.delete(PODS, "default", "p", manager="test")
    assert caught.value.reason == "NotFound"


async def test_mutate_may_leave_the_object_alone(bench: Bench) -> None:
    """None writes nothing and returns what is stored."""
    created = await bench.operations.create(CONFIG_MAPS, config_map("a"), manager="test")
    kept = await bench.operations.mutate(CONFIG_MAPS, "default", "a", lambda obj: None, manager="test")
    assert kept is not None
    assert kept["metadata"]["resourceVersion"] == created["metadata"]["resourceVersion"]


async def test_binding_sets_node_and_condition_in_one_write(bench: Bench) -> None:
    """The scheduler's write changes nodeName and status and nothing else."""
    created = await bench.operations.create(PODS, pod("p"), manager="test")

    def bind(obj: KubeObject) -> KubeObject:
        obj["spec"]["nodeName"] = "n"
        obj["spec"]["hostname"] = "smuggled"
        obj["status"]["conditions"] = [{"type": "PodScheduled", "status": "True"}]
        return obj

    bound = await bench.operations.mutate(PODS, "default", "p", bind, manager="scheduler", subresource="binding")
    assert bound is not None
    assert bound["spec"] == created["spec"] | {"nodeName": "n"}
    assert bound["status"]["conditions"][0]["type"] == "PodScheduled"
    assert bound["metadata"].get("generation") == created["metadata"].get("generation")


async def test_a_status_write_leaves_the_spec(bench: Bench) -> None:
    """Labels may come with it, as in Kubernetes; owners and spec stay, and the object in the cache is not touched."""
    await bench.operations.create(PODS, pod("p"), manager="test")
    await bench.cache.barrier()
    entry = bench.cache.get(PODS, "default", "p")
    assert entry is not None
    before = entry.copy()

    def report(obj: KubeObject) -> KubeObject:
        obj["status"] = {"phase": "Running"}
        obj["spec"]["nodeName"] = "n"
        obj["metadata"]["labels"] = {"a": "b"}
        obj["metadata"]["ownerReferences"] = [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}]
        return obj

    stored = await bench.operations.mutate(PODS, "default", "p", report, manager="node", subresource="status")
    assert stored is not None
    assert stored["status"] == {"phase": "Running", "qosClass": "BestEffort"}
    assert "nodeName" not in stored["spec"] and "ownerReferences" not in stored["metadata"]
    assert stored["metadata"]["labels"] == {"a": "b"}
    assert entry.obj == before


async def test_delete_is_bound_to_a_uid(bench: Bench) -> None:
    """A controller never deletes the successor of what it meant."""
    created = await bench.operations.create(CONFIG_MAPS, config_map("a"), manager="test")
    with pytest.raises(ApiError) as caught:
        await bench.operations.delete(CONFIG_MAPS, "default", "a", manager="test", uid="other")
    assert caught.value.reason == "Conflict"
    await bench.operations.delete(CONFIG_MAPS, "default", "a", manager="test", uid=created["metadata"]["uid"])


async def test_delete_of_what_a_lagging_cache_does_not_know(bench: Bench) -> None:
    """What was created a moment ago can be deleted at once."""
    await bench.freeze_cache()
    await bench.operations.create(CONFIG_MAPS, config_map("a"), manager="test")
    deleted = await bench.operations.delete_with(CONFIG_MAPS, "default", "a", DeleteOptions())
    assert deleted.removed


async def test_events_are_written_under_a_shared_lease(bench: Bench) -> None:
    """Events end with their lease, also after an update; many share one."""

    def event(name: str) -> KubeObject:
        involved = {"kind": "Pod", "namespace": "default", "name": "p"}
        return {"metadata": {"name": name, "namespace": "default"}, "involvedObject": involved, "reason": "Tested"}

    for name in ("a", "b"):
        await bench.operations.create(EVENTS, event(name), manager="test")
    await bench.operations.mutate(EVENTS, "default", "a", lambda obj: obj | {"count": 2}, manager="test")
    lease = await bench.operations._event_leases.current()
    await bench.store.revoke_lease(lease)
    assert (await bench.store.list("/registry/events/")).items == []


async def test_a_lost_event_lease_is_replaced(bench: Bench) -> None:
    """After the store has forgotten the lease, events are written under a new one."""
    lease = await bench.operations._event_leases.current()
    await bench.store.revoke_lease(lease)
    body = {
        "metadata": {"name": "a", "namespace": "default"},
        "involvedObject": {"namespace": "default"},
        "reason": "T",
    }
    stored = await bench.operations.create(EVENTS, body, manager="test")
    assert stored["metadata"]["resourceVersion"]


async def test_concurrent_services_get_distinct_addresses(bench: Bench) -> None:
    """What was given out and not yet seen in the cache is not given out again."""
    await bench.freeze_cache()

    async def create(number: int) -> KubeObject:
        metadata = {"name": f"s{number}", "namespace": "default"}
        body = {"metadata": metadata, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
        return await bench.operations.create(SERVICES, body, manager="test")

    services = await asyncio.gather(*(create(number) for number in range(30)))
    assert len({service["spec"]["clusterIP"] for service in services}) == 30
    assert len({service["spec"]["ports"][0]["nodePort"] for service in services}) == 30


async def test_a_refused_service_gives_its_address_back(bench: Bench) -> None:
    """An address asked for by a Service that was not stored is free."""
    body = {
        "metadata": {"name": "s", "namespace": "default"},
        "spec": {"clusterIP": "10.43.7.7", "ports": [{"port": 1}]},
    }
    dry = WriteOptions(manager="test", dry_run=True)
    await bench.operations.create_with(SERVICES, "default", body, dry)
    again = {
        "metadata": {"name": "t", "namespace": "default"},
        "spec": {"clusterIP": "10.43.7.7", "ports": [{"port": 1}]},
    }
    stored = await bench.operations.create(SERVICES, again, manager="test")
    assert stored["spec"]["clusterIP"] == "10.43.7.7"


async def test_bootstrap_is_idempotent(bench: Bench) -> None:
    """A second run changes nothing; another address of the server is published."""
    await bootstrap(bench.operations, **ADDRESSES)
    revision = await bench.store.revision()
    await bootstrap(bench.operations, **ADDRESSES)
    assert await bench.store.revision() == revision
    service = await bench.operations.get(SERVICES, "default", "kubernetes")
    assert service["spec"]["clusterIP"] == "10.43.0.1"
    assert (await bench.operations.get(SERVICES, "kube-system", "kube-dns"))["spec"]["clusterIP"] == "10.43.0.10"
    await bootstrap(bench.operations, **ADDRESSES | {"api_address": "192.0.2.2"})
    endpoints = await bench.operations.get(ENDPOINTS, "default", "kubernetes")
    assert endpoints["subsets"][0]["addresses"] == [{"ip": "192.0.2.2"}]


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost"])
async def test_a_server_for_its_own_machine_has_no_endpoints(bench: Bench, address: str) -> None:
    """What pods can't reach is not published to them, and the rest of the cluster is furnished all the same."""
    await bootstrap(bench.operations, **ADDRESSES | {"api_address": address})
    assert not (await bench.operations.get(ENDPOINTS, "default", "kubernetes")).get("subsets")
    assert (await bench.operations.get(ENDPOINT_SLICES, "default", "kubernetes"))["endpoints"] == []


async def test_what_every_cluster_has_comes_back(bench: Bench) -> None:
    """A deleted system service is made again at once."""
    keeping = asyncio.create_task(keep_bootstrapped(bench.operations, **ADDRESSES))
    subscription = bench.cache.subscribe([SERVICES])
    async with asyncio.timeout(DEADLINE_S):
        async for event in subscription:
            if event.entry.name == "kube-dns":
                break
        await bench.operations.delete(SERVICES, "default", "kubernetes", manager="test")
        seen = [event.type async for event in _until_added(subscription)]
    assert seen == ["DELETED", "ADDED"]
    subscription.close()
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def _until_added(subscription: Any) -> AsyncIterator[Any]:
    async for event in subscription:
        yield event
        if event.type == "ADDED":
            return


async def test_names_that_can_not_be_made_are_given_up(bench: Bench) -> None:
    """After some attempts the refusal says that no name was free, and when to try again."""
    operations = Operations(bench.store, bench.cache, make_name=lambda prefix: f"{prefix}same")
    body = {"metadata": {"namespace": "default", "generateName": "made-"}}
    stored = await operations.create(CONFIG_MAPS, body, manager="test")
    assert stored["metadata"]["name"] == "made-same"
    with pytest.raises(ApiError) as caught:
        await operations.create(CONFIG_MAPS, body, manager="test")
    assert caught.value.reason == "AlreadyExists"
    assert caught.value.message == (
        'configmaps "made-same" already exists, the server was not able to generate a unique name for the object'
    )
    assert caught.value.details is not None and caught.value.details["retryAfterSeconds"] == 1
