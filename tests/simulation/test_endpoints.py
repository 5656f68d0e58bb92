"""Endpoints follow their pods, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from controlplane.store.cache import CacheEvent
from flotilla.api.objects import KubeObject, is_deleting
from flotilla.api.resources import DEPLOYMENTS, ENDPOINT_SLICES, ENDPOINTS, PODS, SERVICES
from flotilla.api.workloads import pod_is_ready

if TYPE_CHECKING:
    from tests.simulation.conftest import Virtual, World

Make = Callable[..., Any]


def _service(**spec: Any) -> KubeObject:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    return {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": ports, **spec}}


def _ready(world: World) -> set[str]:
    """Pods that the Service's slices call ready."""
    return {
        endpoint["targetRef"]["name"]
        for each in world.list(ENDPOINT_SLICES)
        for endpoint in each["endpoints"]
        if endpoint["conditions"]["ready"]
    }


def _ready_pods(world: World) -> set[str]:
    return {pod["metadata"]["name"] for pod in world.list(PODS) if pod_is_ready(pod) and not is_deleting(pod)}


def test_endpoints_follow_readiness_and_leave_before_the_pod_does(
    virtual: Virtual, make_world: Make, make_deployment: Make
) -> None:
    """A pod is ready in the slice when it is ready, and no longer as soon as it is being deleted."""

    async def scenario() -> None:
        world: World = make_world()
        world.stop_s = 5.0
        async with world.running():
            await world.create(SERVICES, _service())
            await world.create(DEPLOYMENTS, make_deployment(replicas=3))
            await world.until(lambda: len(_ready(world)) == 3)
            victim = sorted(_ready(world))[0]
            await world.delete(PODS, victim)
            await world.until(lambda: victim not in _ready(world), timeout_s=0.1)
            (each,) = world.list(ENDPOINT_SLICES)
            going = [one["conditions"] for one in each["endpoints"] if one["targetRef"]["name"] == victim]
            assert going == [{"ready": False, "serving": True, "terminating": True}]
            await world.until(lambda: len(_ready(world)) == 3)
            assert _ready(world) == _ready_pods(world)
            addresses = world.need(ENDPOINTS, "web")["subsets"][0]["addresses"]
            assert {one["targetRef"]["name"] for one in addresses} == _ready(world)

    virtual(scenario())


def test_nothing_is_written_when_nothing_changes(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """Once settled, neither slices nor the mirror are written again, also not by another list of everything."""

    async def scenario() -> None:
        world: World = make_world()
        writes: list[CacheEvent] = []
        async with world.running():
            await world.create(SERVICES, _service())
            await world.create(DEPLOYMENTS, make_deployment(replicas=3))
            await world.until(lambda: len(_ready(world)) == 3)
            await world.stays(lambda: True, for_s=5)
            world.on_event = writes.append
            await world.stays(lambda: True, for_s=700)
            assert [event.entry.key for event in writes] == []

    virtual(scenario())


def test_a_selector_that_changes_and_a_service_that_goes(
    virtual: Virtual, make_world: Make, make_deployment: Make
) -> None:
    """Another selector selects other pods at once; a deleted Service takes slices and mirror along."""

    async def scenario() -> None:
        async with make_world().running() as world:
            await world.create(SERVICES, _service(selector={"app": "other"}))
            await world.create(DEPLOYMENTS, make_deployment(replicas=2))
            await world.until(lambda: len(_ready_pods(world)) == 2)
            assert _ready(world) == set()
            await world.edit(SERVICES, "web", lambda service: service["spec"].update(selector={"app": "web"}))
            await world.until(lambda: len(_ready(world)) == 2, timeout_s=0.1)
            await world.delete(SERVICES, "web")
            await world.until(lambda: not world.list(ENDPOINT_SLICES) and world.get(ENDPOINTS, "web") is None)

    virtual(scenario())


def test_edited_endpoints_are_put_right(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """A slice or mirror that somebody edits or deletes is restored."""

    async def scenario() -> None:
        async with make_world().running() as world:
            await world.create(SERVICES, _service())
            await world.create(DEPLOYMENTS, make_deployment(replicas=2))
            await world.until(lambda: len(_ready(world)) == 2)
            (each,) = world.list(ENDPOINT_SLICES)
            await world.delete(ENDPOINTS, "web")
            await world.edit(ENDPOINT_SLICES, each["metadata"]["name"], lambda slice_: slice_.update(endpoints=[]))
            await world.until(lambda: len(_ready(world)) == 2 and world.get(ENDPOINTS, "web") is not None)
            await world.delete(ENDPOINT_SLICES, each["metadata"]["name"])
            await world.until(lambda: len(_ready(world)) == 2)

    virtual(scenario())
