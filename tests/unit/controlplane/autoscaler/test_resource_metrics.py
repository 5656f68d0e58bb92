"""The objects behind ``kubectl top``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import numpy as np
import pytest

from controlplane.api.operations import Operations
from controlplane.autoscaler.resource_metrics import ResourceMetrics
from controlplane.autoscaler.samples import SampleStore
from controlplane.store.cache import Cache
from controlplane.store.memory import MemoryStore
from flotilla.api.objects import KubeObject
from flotilla.api.registry import REGISTRY
from flotilla.api.resources import NAMESPACES, NODES, PODS
from protos import dispatcher_pb2 as pb

T0 = 1_700_000_000.0


@pytest.fixture
async def cache() -> AsyncIterator[Cache]:
    store = MemoryStore()
    cache = Cache(store, REGISTRY.all())
    running = asyncio.create_task(cache.run())
    await cache.wait_synced()
    objects = Operations(store, cache)
    await objects.create(NAMESPACES, {"metadata": {"name": "default"}}, manager="test")
    await objects.create(NODES, {"metadata": {"name": "one", "labels": {"zone": "a"}}}, manager="test")
    for name in ("web", "idle"):
        await objects.create(PODS, _pod(name), manager="test")
    await cache.barrier()
    yield cache
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


def _pod(name: str) -> KubeObject:
    metadata = {"name": name, "namespace": "default", "labels": {"app": name}}
    return {"metadata": metadata, "spec": {"nodeName": "one", "containers": [{"name": "app", "image": "app:1"}]}}


def _sampled(cache: Cache) -> SampleStore:
    """Four seconds in which ``web`` uses half a core and the node a whole one."""
    clock = [T0]
    samples = SampleStore(clock=lambda: clock[0])
    pod = cache.get(PODS, "default", "web")
    assert pod is not None
    key = pb.ContainerKey(namespace="default", pod="web", pod_uid=pod.uid, container="app")
    for second in range(4):
        clock[0] = T0 + second
        samples.ingest(
            "one",
            pb.Samples(
                time_unix_s=T0 + second,
                generation=1,
                containers=[key],
                cpu_usage_ns=np.array([second * 500_000_000], "<u8").tobytes(),
                cpu_throttled_ns=np.array([0], "<u8").tobytes(),
                memory_working_set_bytes=np.array([4096], "<u8").tobytes(),
                start_time_unix_s=np.array([T0 - 9.0], "<f8").tobytes(),
                node_cpu_usage_ns=second * 1_000_000_000,
                node_memory_working_set_bytes=2048,
            ),
        )
    return samples


async def test_pods_with_figures_are_listed_with_their_labels(cache: Cache) -> None:
    """A pod is shown with labels, containers and window; one without figures is left out."""
    metrics = ResourceMetrics(cache, _sampled(cache))
    (pod,) = metrics.pod_metrics("default")
    assert pod["metadata"]["labels"] == {"app": "web"}
    assert pod["containers"] == [{"name": "app", "usage": {"cpu": "500000000n", "memory": "4Ki"}}]
    assert (pod["kind"], pod["window"]) == ("PodMetrics", "3s")
    assert metrics.pod_metrics("", "") == [pod]
    assert metrics.pod_metrics("default", "web") == [pod]
    assert metrics.pod_metrics("default", "idle") == []
    assert metrics.pod_metrics("other") == []


async def test_nodes_are_listed_with_their_labels(cache: Cache) -> None:
    """A node is shown with what it uses as a whole; an unknown one is not."""
    metrics = ResourceMetrics(cache, _sampled(cache))
    (node,) = metrics.node_metrics()
    assert node["usage"] == {"cpu": "1000000000n", "memory": "2Ki"}
    assert node["metadata"]["labels"] == {"zone": "a"}
    assert metrics.node_metrics("one") == [node]
    assert metrics.node_metrics("two") == []
