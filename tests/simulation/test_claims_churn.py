"""Claims, volumes and pods while servers come and go and the cache lags, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from controlplane.controllers import build_controllers
from controlplane.scheduler.scheduler import Scheduler
from flotilla.api.objects import KubeObject
from flotilla.api.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, STORAGE_CLASSES
from flotilla.api.storage import LOCAL_PATH, NO_PROVISIONER, is_for, local_node

if TYPE_CHECKING:
    from tests.simulation.conftest import Virtual, World

Make = Callable[..., Any]
PODS_AT_ONCE = 12


def user(template: KubeObject, number: int) -> KubeObject:
    """A pod with two claims, one of which is made for it."""
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": "local",
    }
    volumes = [
        {"name": "own", "ephemeral": {"volumeClaimTemplate": {"spec": spec}}},
        {"name": "data", "persistentVolumeClaim": {"claimName": f"data-{number}"}},
    ]
    return {"metadata": {"name": f"pod-{number}"}, "spec": template["spec"] | {"volumes": volumes}}


async def lead_by_turns(world: World, *, turns: int, for_s: float) -> list[asyncio.Task[None]]:
    """Servers that lead for a while each, one after the other; the last one goes on."""
    tasks: list[asyncio.Task[None]] = []
    for _ in range(turns):
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        parts: list[Any] = build_controllers(
            world.cache, world.objects, world.recorder, liveness=world.liveness, ledger=world.objects.ledger
        )
        parts.append(Scheduler(world.cache, world.objects, world.recorder))
        tasks = [asyncio.create_task(part.run()) for part in parts]
        await asyncio.sleep(for_s)
    return tasks


@pytest.mark.parametrize("seed", range(4))
def test_servers_that_end_in_the_middle(virtual: Virtual, make_world: Make, make_template: Make, seed: int) -> None:
    """Every pod runs where both its volumes are, each claim has one volume of its own, and none is made twice."""

    async def scenario() -> None:
        world = make_world(seed=seed, write_s=0.03, watch_s=0.03)
        async with world.running(nodes=3, controllers=False):
            fields = {"volumeBindingMode": "WaitForFirstConsumer"}
            await world.create(STORAGE_CLASSES, {"metadata": {"name": "local"}, "provisioner": LOCAL_PATH} | fields)
            await world.create(STORAGE_CLASSES, {"metadata": {"name": "disk"}, "provisioner": NO_PROVISIONER} | fields)
            for number in range(PODS_AT_ONCE):
                await make_disk(world, number)
                await world.create(PODS, user(make_template(), number))
            tasks = await lead_by_turns(world, turns=12, for_s=0.07)
            await world.until(lambda: all_bound(world))
            check(world)
            for task in tasks:
                task.cancel()

    virtual(scenario())


async def make_disk(world: World, number: int) -> None:
    """A claim for disks of nodes, and one such disk."""
    expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": [f"node-{number % 3}"]}
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "disk",
        "local": {"path": f"/disk-{number}"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}},
    }
    wanted = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": "disk",
    }
    await world.create(PERSISTENT_VOLUMES, {"metadata": {"name": f"disk-{number}"}, "spec": spec})
    await world.create(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": f"data-{number}"}, "spec": wanted})


def all_bound(world: World) -> bool:
    return all(pod["spec"].get("nodeName") for pod in world.list(PODS))


def check(world: World) -> None:
    volumes = {volume["metadata"]["name"]: volume for volume in world.list(PERSISTENT_VOLUMES, "")}
    claims = {claim["metadata"]["name"]: claim for claim in world.list(PERSISTENT_VOLUME_CLAIMS)}
    assert len(volumes) == len(claims) == 2 * PODS_AT_ONCE
    assert len({claim["spec"]["volumeName"] for claim in claims.values()}) == len(claims)
    for claim in claims.values():
        assert is_for(volumes[claim["spec"]["volumeName"]]["spec"]["claimRef"], claim)
    for pod in world.list(PODS):
        number, node = pod["metadata"]["name"].partition("-")[2], pod["spec"]["nodeName"]
        own = volumes[claims[f"pod-{number}-own"]["spec"]["volumeName"]]
        disk = volumes[claims[f"data-{number}"]["spec"]["volumeName"]]
        terms = disk["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
        assert (local_node(own), terms[0]["matchExpressions"][0]["values"]) == (node, [node])
