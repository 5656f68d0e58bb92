"""Kinds that come, change and go while the cache runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controlplane.api.crd.definitions import CustomKinds
from controlplane.store.cache import Cache, RedefinedError
from controlplane.store.memory import MemoryStore
from flotilla.api.crd.rows import rows_of
from flotilla.api.kinds.resource import Resource
from flotilla.api.objects import KubeObject, encode
from flotilla.api.resources import CONFIG_MAPS, CUSTOM_RESOURCE_DEFINITIONS

_KEY = "/registry/example.com/widgets/default/w"
_DEFINITION_KEY = "/registry/apiextensions.k8s.io/customresourcedefinitions/widgets.example.com"
_WIDGET: KubeObject = {
    "apiVersion": "example.com/v1",
    "kind": "Widget",
    "metadata": {"name": "w", "namespace": "default", "uid": "u", "ownerReferences": [{"uid": "o"}]},
    "spec": {"a": 1, "b": 2},
}


def _definition(**fields: Any) -> KubeObject:
    """An established definition whose spec has these fields."""
    properties = {"spec": {"type": "object", "properties": fields or {"a": {"type": "integer"}}}}
    schema = {"type": "object", "properties": properties}
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": names,
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
        "status": {"acceptedNames": names, "conditions": [{"type": "Established", "status": "True"}]},
    }


def _rows(**fields: Any) -> tuple[Resource, ...]:
    return rows_of(_definition(**fields), terminating=False)


@asynccontextmanager
async def _running(
    store: MemoryStore, rows: Sequence[Resource] = (CONFIG_MAPS, CUSTOM_RESOURCE_DEFINITIONS), *, follow: bool = False
) -> AsyncIterator[Cache]:
    cache = Cache(store, rows)
    if follow:
        cache.define_kinds_by(CustomKinds(cache.registry))
    task = asyncio.create_task(cache.run())
    try:
        async with asyncio.timeout(10):
            await cache.wait_synced()
            yield cache
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_kind_finds_what_is_stored() -> None:
    """Objects that were listed or arrived before their kind must be there, and followed, once it is known."""
    store = MemoryStore()
    await store.create(_KEY, encode(_WIDGET))
    async with _running(store) as cache:
        await store.create(f"{_KEY}2", encode(_WIDGET | {"metadata": {"name": "w2", "namespace": "default"}}))
        await store.create(f"{_KEY}3", encode(_WIDGET))
        await store.delete(f"{_KEY}3")
        await cache.barrier()
        followed = cache.subscribe([CONFIG_MAPS], later_kinds=True)
        (row,) = _rows()
        assert cache.get(row, "default", "w") is None
        cache.registry.change(add=[row])
        assert [entry.name for entry in cache.list(row)] == ["w", "w2"]
        assert [entry.name for entry in cache.by_owner("o")] == ["w"]
        assert [(event.type, event.entry.name) for event in await followed.batch()] == [("ADDED", "w"), ("ADDED", "w2")]
        await store.delete(_KEY)
        assert [(event.type, event.entry.name) for event in await followed.batch()] == [("DELETED", "w")]


async def test_a_kind_that_goes_leaves_nothing_behind() -> None:
    """No look-up may find its objects, and they must be there again when the kind comes back."""
    store = MemoryStore()
    await store.create(_KEY, encode(_WIDGET))
    async with _running(store) as cache:
        (row,) = _rows()
        cache.registry.change(add=[row])
        subscription = cache.subscribe([row])
        cache.registry.change(remove=[row])
        assert cache.get(row, "default", "w") is None
        assert (cache.list(row), cache.count(row), cache.by_owner("o")) == ([], 0, [])
        with pytest.raises(RedefinedError):
            await subscription.batch()
        cache.registry.change(add=[row])
        assert cache.count(row) == 1


async def test_another_schema_shows_objects_otherwise() -> None:
    """Objects must be read again by the new schema, from what is stored: a field that was hidden comes back."""
    store = MemoryStore()
    await store.create(_KEY, encode(_WIDGET))
    async with _running(store) as cache:
        (narrow,) = _rows()
        cache.registry.change(add=[narrow])
        entry = cache.get(narrow, "default", "w")
        assert entry is not None
        assert entry.obj["spec"] == {"a": 1}
        (wide,) = _rows(a={"type": "integer"}, b={"type": "integer"}, c={"type": "string", "default": "x"})
        cache.registry.change(remove=[narrow], add=[wide])
        while (again := cache.get(wide, "default", "w")) is entry:
            await cache.barrier()
        assert again is not None
        assert again.obj["spec"] == {"a": 1, "b": 2, "c": "x"}
        assert again.revision == entry.revision
        assert again.resource is wide


async def test_views_alone_change_without_a_new_reading() -> None:
    """A row that differs in names alone must keep the entries that there are."""
    store = MemoryStore()
    await store.create(_KEY, encode(_WIDGET))
    async with _running(store) as cache:
        (first,), (second,) = _rows(), _rows()
        cache.registry.change(add=[first])
        entry = cache.get(first, "default", "w")
        cache.registry.change(remove=[first], add=[second])
        assert cache.get(second, "default", "w") is entry
        assert entry is not None
        assert entry.resource is second


async def test_a_restarted_server_knows_its_kinds() -> None:
    """Definitions must be read before their objects, whatever the order of keys, and at each list anew."""
    store = MemoryStore()
    early = "/registry/aaa.example.com/things/t"
    names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}
    thing = _definition()
    thing["metadata"]["name"] = "things.aaa.example.com"
    thing["spec"] |= {"group": "aaa.example.com", "names": names, "scope": "Cluster"}
    thing["status"]["acceptedNames"] = names
    await store.create(early, encode(_WIDGET | {"apiVersion": "aaa.example.com/v1", "kind": "Thing"}))
    await store.create(_KEY, encode(_WIDGET))
    await store.create(_DEFINITION_KEY, encode(_definition()))
    await store.create(_DEFINITION_KEY.replace("widgets.example", "things.aaa.example"), encode(thing))
    async with _running(store, follow=True) as cache:
        found = {row.plural: row for row in cache.registry.all() if row.shape is not None}
        assert found.keys() == {"widgets", "things"}
        assert [entry.obj["spec"] for entry in cache.list(found["widgets"])] == [{"a": 1}]
        assert cache.count(found["things"]) == 1
        await store.delete(_DEFINITION_KEY)
        await cache.barrier()
        assert cache.registry.find("example.com", "v1", "widgets") is None


async def test_a_definition_in_the_way_is_left_out() -> None:
    """A stored definition of a path that is served already must change nothing."""
    store = MemoryStore()
    crd = _definition()
    names = {"plural": "leases", "singular": "lease", "kind": "Lease", "listKind": "LeaseList"}
    crd["spec"] |= {"group": "apiextensions.k8s.io", "names": names | {"plural": "customresourcedefinitions"}}
    crd["status"]["acceptedNames"] = crd["spec"]["names"]
    await store.create(_DEFINITION_KEY, encode(crd))
    async with _running(store, follow=True) as cache:
        found = cache.registry.find("apiextensions.k8s.io", "v1", "customresourcedefinitions")
        assert found is CUSTOM_RESOURCE_DEFINITIONS
        assert cache.count(CUSTOM_RESOURCE_DEFINITIONS) == 1
