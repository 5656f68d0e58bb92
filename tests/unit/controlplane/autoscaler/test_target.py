"""What an autoscaler finds behind its reference."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.autoscaler.target import TargetError, find_target
from controlplane.store.cache import Cache
from controlplane.store.memory import MemoryStore
from flotilla.api.crd.rows import rows_of
from flotilla.api.objects import KubeObject, encode
from flotilla.api.resources import CONFIG_MAPS, DEPLOYMENTS


def _autoscaler(api_version: str, kind: str) -> KubeObject:
    reference = {"apiVersion": api_version, "kind": kind, "name": "t"}
    return {"metadata": {"name": "a", "namespace": "default"}, "spec": {"scaleTargetRef": reference}}


async def test_a_custom_kind_is_scaled_by_its_path() -> None:
    """A kind that users have defined must be a target from when it is known, if it has a scale."""
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
        "subresources": {"scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}},
    }
    names = {"plural": "pools", "kind": "Pool"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    store = MemoryStore()
    metadata = {"name": "t", "namespace": "default"}
    await store.create("/registry/example.com/pools/default/t", encode({"metadata": metadata, "spec": {"size": 4}}))
    await store.create("/registry/configmaps/default/t", encode({"metadata": metadata}))
    cache = Cache(store, (CONFIG_MAPS, DEPLOYMENTS))
    following = asyncio.create_task(cache.run())
    async with asyncio.timeout(10):
        await cache.wait_synced()
    with pytest.raises(TargetError, match='no matches for kind "Pool"'):
        find_target(cache, _autoscaler("example.com/v1", "Pool"))
    cache.registry.change(add=rows_of({"spec": spec, "status": {"acceptedNames": names}}, terminating=False))
    assert find_target(cache, _autoscaler("example.com/v1", "Pool")).replicas == 4
    with pytest.raises(TargetError, match="can't be scaled"):
        find_target(cache, _autoscaler("v1", "ConfigMap"))
    with pytest.raises(TargetError, match="not found"):
        find_target(cache, _autoscaler("apps/v1", "Deployment"))
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
