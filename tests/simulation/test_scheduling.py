"""The real scheduler against the in-memory store in virtual time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flotilla.api.conditions import get_condition
from flotilla.api.objects import KubeObject
from flotilla.api.resources import EVENTS, NODES, PODS

if TYPE_CHECKING:
    from tests.simulation.conftest import Virtual, World

Make = Callable[..., Any]


def _bound(world: World) -> Counter[str]:
    return Counter(pod["spec"]["nodeName"] for pod in world.list(PODS) if pod["spec"].get("nodeName"))


def _message(world: World, name: str) -> str:
    condition = get_condition(world.need(PODS, name), "PodScheduled")
    return str(condition["message"]) if condition and condition.get("reason") == "Unschedulable" else ""


async def _pod(world: World, name: str, template: KubeObject, **spec: Any) -> None:
    metadata = {"name": name, "labels": template["metadata"]["labels"]}
    await world.create(PODS, {"metadata": metadata, "spec": template["spec"] | spec})


def test_a_burst_is_spread_and_bound(virtual: Virtual, make_world: Make, make_template: Make) -> None:
    """Fifty pods at once are bound side by side, evenly over the nodes, with PodScheduled True in the same write."""

    async def scenario() -> None:
        async with make_world().running(nodes=5) as world:
            for number in range(50):
                await _pod(world, f"pod-{number}", make_template())
            await world.until(lambda: _bound(world).total() == 50, timeout_s=0.1)
            assert set(_bound(world).values()) == {10}
            assert all((get_condition(pod, "PodScheduled") or {}).get("status") == "True" for pod in world.list(PODS))

    virtual(scenario())


def test_what_fits_nowhere_says_why_and_is_bound_when_it_fits(
    virtual: Virtual, make_world: Make, make_template: Make
) -> None:
    """A pending pod has a condition and an event with counts; a new node lets it run."""

    async def scenario() -> None:
        async with make_world().running(nodes=2) as world:
            await _pod(world, "big", make_template(cpu="12"))
            await world.until(lambda: _message(world, "big"))
            assert _message(world, "big") == "0/2 nodes are available: 2 Insufficient cpu."
            await world.until(lambda: "FailedScheduling" in world.reasons())
            (event,) = [each for each in world.list(EVENTS) if each["reason"] == "FailedScheduling"]
            assert event["type"] == "Warning"
            assert event["involvedObject"]["name"] == "big"
            await world.add_node("large", cpu="16")
            await world.until(lambda: _bound(world) == {"large": 1}, timeout_s=0.1)

    virtual(scenario())


def test_room_that_is_freed_is_used_at_once(virtual: Virtual, make_world: Make, make_template: Make) -> None:
    """A pod that waits for room is bound when another pod has gone."""

    async def scenario() -> None:
        async with make_world().running(nodes=1) as world:
            await _pod(world, "first", make_template(cpu="6"))
            await world.until(lambda: _bound(world).total() == 1)
            await _pod(world, "second", make_template(cpu="6"))
            await world.until(lambda: _message(world, "second"))
            await world.delete(PODS, "first")
            await world.until(lambda: bool(world.need(PODS, "second")["spec"].get("nodeName")), timeout_s=1)

    virtual(scenario())


def test_nodes_never_take_more_than_they_have_while_caches_lag(
    virtual: Virtual, make_world: Make, make_template: Make
) -> None:
    """Assumed pods count until their binding is seen: with slow writes nothing is promised twice."""

    async def scenario() -> None:
        async with make_world(seed=3, write_s=0.3, watch_s=0.05).running(nodes=3) as world:
            for number in range(30):
                await _pod(world, f"pod-{number}", make_template(cpu="1"))
            await world.until(lambda: sum(bool(_message(world, f"pod-{each}")) for each in range(30)) == 6)
            assert _bound(world) == {f"node-{number}": 8 for number in range(3)}

    virtual(scenario())


def test_a_cordoned_node_takes_nothing(virtual: Virtual, make_world: Make, make_template: Make) -> None:
    """An unschedulable node is left out and named; uncordoning it lets the pod run."""

    async def scenario() -> None:
        async with make_world().running(nodes=1) as world:
            await world.edit(NODES, "node-0", lambda node: node["spec"].update(unschedulable=True))
            await _pod(world, "pod", make_template())
            await world.until(
                lambda: _message(world, "pod") == "0/1 nodes are available: 1 node(s) were unschedulable."
            )
            await world.edit(NODES, "node-0", lambda node: node["spec"].update(unschedulable=False))
            await world.until(lambda: _bound(world) == {"node-0": 1}, timeout_s=1)

    virtual(scenario())


def test_an_outage_of_the_store_is_survived(virtual: Virtual, make_world: Make, make_template: Make) -> None:
    """Pods that could not be bound while the store was away are bound within seconds once it is back."""

    async def scenario() -> None:
        async with make_world(write_s=0.2).running(nodes=2) as world:
            for number in range(10):
                await _pod(world, f"pod-{number}", make_template())
                world.store.available = number < 9
            await world.stays(lambda: True, for_s=25)
            world.store.available = True
            await world.until(lambda: _bound(world).total() == 10, timeout_s=4)

    virtual(scenario())
