"""Quotas: nothing goes beyond them, however many write at once, and what is gone is given back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flotilla.api.errors import ApiError
from flotilla.api.objects import KubeObject
from flotilla.api.resources import CONFIG_MAPS, DEPLOYMENTS, PODS, REPLICA_SETS, RESOURCE_QUOTAS

if TYPE_CHECKING:
    from tests.simulation.conftest import Virtual

Make = Callable[..., Any]


def quota(hard: dict[str, str], **spec: Any) -> KubeObject:
    return {"metadata": {"name": "q"}, "spec": {"hard": hard} | spec}


def used(world: Any) -> dict[str, str]:
    found: dict[str, str] = (world.need(RESOURCE_QUOTAS, "q").get("status") or {}).get("used") or {}
    return found


def config_map(name: str) -> KubeObject:
    return {"metadata": {"name": name, "namespace": "default"}}


async def created(world: Any, name: str) -> str:
    """Empty, or why the quota refuses it."""
    try:
        await world.objects.create(CONFIG_MAPS, config_map(name), manager="user")
    except ApiError as error:
        return error.message
    return ""


def test_many_writers_never_exceed_a_quota(virtual: Virtual, make_world: Make) -> None:
    """Of 50 at once as many get through as fit, while the cache lags, and again after some were deleted."""

    async def scenario() -> None:
        world = make_world(write_s=0.02, watch_s=0.05)
        most = [0]
        async with world.running(controllers=True):
            await world.create(RESOURCE_QUOTAS, quota({"count/configmaps": "12"}))
            await world.until(lambda: used(world).get("count/configmaps") == "1" == str(len(world.list(CONFIG_MAPS))))
            fixed = len(world.list(CONFIG_MAPS))
            world.on_event = lambda _: most.__setitem__(0, max(most[0], len(world.list(CONFIG_MAPS))))
            outcomes = await asyncio.gather(*(created(world, f"a{number}") for number in range(50)))
            assert outcomes.count("") == 12 - fixed
            refused = next(message for message in outcomes if message)
            why = "exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=12, limited: "
            assert why + "count/configmaps=12" in refused
            await world.until(lambda: len(world.list(CONFIG_MAPS)) == 12)
            gone = [name for name, outcome in zip((f"a{n}" for n in range(50)), outcomes, strict=True) if not outcome]
            burst = [created(world, f"b{number}") for number in range(50)]
            await asyncio.gather(*(world.objects.delete(CONFIG_MAPS, "default", n, manager="user") for n in gone[:5]))
            outcomes = await asyncio.gather(*burst)
            await world.until(lambda: used(world)["count/configmaps"] == str(len(world.list(CONFIG_MAPS))))
            late = [await created(world, f"c{number}") for number in range(10)]
            assert outcomes.count("") + late.count("") == 5
            await world.until(lambda: used(world)["count/configmaps"] == "12")
        assert most == [12]

    virtual(scenario())


def test_what_was_not_stored_is_given_back(virtual: Virtual, make_world: Make) -> None:
    """A write that fails after it was charged must not use up the quota."""

    async def scenario() -> None:
        world = make_world()
        async with world.running():
            await world.create(RESOURCE_QUOTAS, quota({"configmaps": "5"}))
            await world.until(lambda: used(world).get("configmaps") == "1")
            assert await created(world, "a") == ""
            for _ in range(20):
                assert await created(world, "a")
            await world.until(lambda: used(world)["configmaps"] == "2" == str(len(world.list(CONFIG_MAPS))))
            assert await created(world, "b") == ""

    virtual(scenario())


def test_a_deployment_grows_as_far_as_its_quota(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """It says why it stops there, and goes on by itself as soon as the quota allows more."""

    async def scenario() -> None:
        world = make_world()
        async with world.running():
            await world.create(RESOURCE_QUOTAS, quota({"pods": "2", "requests.cpu": "1"}))
            await world.until(lambda: used(world).get("pods"))
            deployment = make_deployment(replicas=4)
            container = deployment["spec"]["template"]["spec"]["containers"][0]
            container["resources"] = {"requests": {"cpu": "100m"}}
            await world.create(DEPLOYMENTS, deployment)
            await world.until(lambda: len(world.list(PODS)) == 2)
            await world.until(lambda: used(world) == {"pods": "2", "requests.cpu": "200m"})
            await world.until(lambda: "FailedCreate" in world.reasons())
            (replica_set,) = world.list(REPLICA_SETS)
            (condition,) = replica_set["status"]["conditions"]
            assert "exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2" in condition["message"]
            await world.edit(RESOURCE_QUOTAS, "q", lambda obj: obj["spec"]["hard"].update({"pods": "3"}))
            await world.until(lambda: len(world.list(PODS)) == 3, timeout_s=2.0)
            await world.report(world.list(PODS)[0], {"phase": "Succeeded"})
            await world.until(lambda: used(world) == {"pods": "3", "requests.cpu": "300m"})
            await world.delete(RESOURCE_QUOTAS, "q")
            await world.until(lambda: world.need(DEPLOYMENTS, "web")["status"].get("readyReplicas") == 4)

    virtual(scenario())
