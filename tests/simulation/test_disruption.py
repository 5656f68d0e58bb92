"""Budgets, evictions and the controllers that replace what was evicted, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from controlplane.api.deletion import DeleteOptions
from controlplane.api.evictions import Evictor
from flotilla.api.errors import ApiError
from flotilla.api.objects import KubeObject, is_deleting
from flotilla.api.resources import DEPLOYMENTS, POD_DISRUPTION_BUDGETS, PODS
from flotilla.api.workloads import pod_is_ready

if TYPE_CHECKING:
    from tests.simulation.conftest import Virtual

Make = Callable[..., Any]


def budget(**spec: Any) -> KubeObject:
    return {"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"app": "web"}}} | spec}


def status_of(world: Any) -> dict[str, Any]:
    found: dict[str, Any] = world.need(POD_DISRUPTION_BUDGETS, "web").get("status") or {}
    return found


async def try_evict(world: Any, name: str) -> bool:
    """Whether the eviction was let through."""
    try:
        await Evictor(world.objects).evict("default", name, DeleteOptions())
    except ApiError as error:
        assert error.reason in ("TooManyRequests", "NotFound"), error
        return False
    return True


@pytest.mark.parametrize("spec", [{"minAvailable": 2}, {"maxUnavailable": 1}, {"minAvailable": "60%"}])
def test_a_drain_never_goes_below_the_budget(
    virtual: Virtual, make_world: Make, make_deployment: Make, spec: dict[str, Any]
) -> None:
    """Every pod is replaced by another, and two of three are healthy at every moment."""

    async def scenario() -> None:
        world = make_world(write_s=0.02, watch_s=0.02)
        lowest = [3]

        async with world.running():
            await world.create(DEPLOYMENTS, make_deployment(replicas=3))
            await world.create(POD_DISRUPTION_BUDGETS, budget(**spec))
            await world.until(lambda: status_of(world).get("disruptionsAllowed") == 1)
            old = {pod["metadata"]["name"] for pod in world.list(PODS)}

            def watch(_: Any) -> None:
                healthy = sum(pod_is_ready(pod) and not is_deleting(pod) for pod in world.list(PODS))
                lowest[0] = min(lowest[0], healthy)

            world.on_event = watch
            while remaining := old & {pod["metadata"]["name"] for pod in world.list(PODS) if not is_deleting(pod)}:
                await asyncio.gather(*(try_evict(world, name) for name in remaining))
                await asyncio.sleep(0.1)
            await world.until(lambda: status_of(world).get("disruptionsAllowed") == 1)
        assert lowest[0] == 2
        assert "disruptedPods" not in status_of(world)

    virtual(scenario())


def test_a_budget_follows_its_workload(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """Scaling, losing readiness and changing the budget each show in the status."""

    async def scenario() -> None:
        world = make_world()
        async with world.running():
            await world.create(DEPLOYMENTS, make_deployment(replicas=2))
            await world.create(POD_DISRUPTION_BUDGETS, budget(maxUnavailable="50%"))
            await world.until(lambda: status_of(world).get("disruptionsAllowed") == 1)
            await world.edit(DEPLOYMENTS, "web", lambda obj: obj["spec"].update(replicas=4))
            await world.until(lambda: status_of(world).get("disruptionsAllowed") == 2)
            assert (status_of(world)["expectedPods"], status_of(world)["desiredHealthy"]) == (4, 2)
            await world.edit(POD_DISRUPTION_BUDGETS, "web", lambda obj: obj["spec"].update(maxUnavailable=0))
            await world.until(lambda: status_of(world).get("disruptionsAllowed") == 0)
            assert status_of(world)["observedGeneration"] == 2

    virtual(scenario())


def test_pods_without_a_controller_close_a_relative_budget(virtual: Virtual, make_world: Make) -> None:
    """What they are a part of can't be told; a budget with a number counts them."""

    async def scenario() -> None:
        world = make_world()
        spec = {"containers": [{"name": "main", "image": "app:1"}]}
        async with world.running():
            await world.create(PODS, {"metadata": {"name": "bare", "labels": {"app": "web"}}, "spec": spec})
            await world.create(POD_DISRUPTION_BUDGETS, budget(maxUnavailable=1))
            await world.until(lambda: "UnmanagedPods" in world.reasons())
            assert status_of(world)["disruptionsAllowed"] == 0
            await world.delete(POD_DISRUPTION_BUDGETS, "web")
            await world.create(POD_DISRUPTION_BUDGETS, budget(minAvailable=0))
            await world.until(lambda: status_of(world).get("disruptionsAllowed") == 1)

    virtual(scenario())


def test_an_owner_that_can_not_scale_is_named(virtual: Virtual, make_world: Make) -> None:
    """The condition says why nothing is allowed."""

    async def scenario() -> None:
        world = make_world()
        owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "u", "controller": True}
        metadata = {"name": "odd", "labels": {"app": "web"}, "ownerReferences": [owner], "finalizers": ["a/b"]}
        async with world.running():
            await world.create(
                PODS, {"metadata": metadata, "spec": {"containers": [{"name": "main", "image": "app:1"}]}}
            )
            await world.create(POD_DISRUPTION_BUDGETS, budget(maxUnavailable=1))
            await world.until(lambda: status_of(world).get("conditions"))
            condition = status_of(world)["conditions"][0]
            assert (condition["reason"], condition["status"]) == ("SyncFailed", "False")
            assert condition["message"] == "configmaps does not implement the scale subresource"

    virtual(scenario())
