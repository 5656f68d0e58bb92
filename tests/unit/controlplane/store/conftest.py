"""A cache on an in-memory store, running."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from controlplane.store.cache import Cache, CacheOptions
from controlplane.store.memory import MemoryStore
from controlplane.store.store import Backend
from flotilla.api.objects import KubeObject, encode
from flotilla.api.resources import CONFIG_MAPS, DEPLOYMENTS, PODS, REPLICA_SETS, SECRETS

KINDS = (CONFIG_MAPS, DEPLOYMENTS, PODS, REPLICA_SETS, SECRETS)


def stored(name: str, *, namespace: str = "default", uid: str = "", **more: object) -> bytes:
    """A stored object with what the cache reads of it; ``more`` are top-level fields, or metadata as a dict."""
    metadata: KubeObject = {"name": name, "namespace": namespace, "uid": uid or f"uid-{name}"}
    extra = more.pop("metadata", {})
    assert isinstance(extra, dict)
    return encode({"apiVersion": "v1", "kind": "Thing", "metadata": metadata | extra, **more})


@asynccontextmanager
async def running_cache(store: Backend, options: CacheOptions | None = None) -> AsyncGenerator[Cache]:
    """A cache that has synced; what runs it is cancelled when the block is left."""
    cache = Cache(store, KINDS, options=options)
    running = asyncio.create_task(cache.run())
    try:
        async with asyncio.timeout(10):
            await cache.wait_synced()
        yield cache
    finally:
        running.cancel()
        await asyncio.wait([running])


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def cache(store: MemoryStore) -> AsyncGenerator[Cache]:
    async with running_cache(store) as cache:
        yield cache
