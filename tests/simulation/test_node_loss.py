"""Nodes that fall silent, and come back, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from flotilla.api.conditions import get_condition
from flotilla.api.objects import KubeObject, is_deleting
from flotilla.api.resources import DEPLOYMENTS, ENDPOINTS, NODES, PODS, SERVICES
from flotilla.api.workloads import pod_is_active, pod_is_ready

if TYPE_CHECKING:
    from tests.simulation.conftest import SimulatedLiveness, Virtual, World

Make = Callable[..., Any]
UNREACHABLE = "node.kubernetes.io/unreachable"


def _effects(world: World, node: str) -> set[str]:
    taints = world.need(NODES, node)["spec"].get("taints") or []
    return {taint["effect"] for taint in taints if taint["key"] == UNREACHABLE}


def _ready(world: World, node: str) -> str:
    condition = get_condition(world.need(NODES, node), "Ready")
    return str(condition["status"]) if condition else ""


def _on(world: World, node: str) -> list[KubeObject]:
    return [pod for pod in world.list(PODS) if pod["spec"].get("nodeName") == node]


async def _deployed(world: World, deployment: KubeObject, replicas: int) -> None:
    await world.create(DEPLOYMENTS, deployment)
    await world.until(lambda: sum(map(pod_is_ready, world.list(PODS))) == replicas)


async def _reconnect(world: World, node: str) -> None:
    """The agent's new session: the dispatcher marks the node ready at once."""
    world.liveness.connect(node)

    def ready(obj: KubeObject) -> KubeObject:
        condition = get_condition(obj, "Ready")
        assert condition is not None
        condition.update(status="True", reason="AgentReady", message="")
        return obj

    await world.objects.mutate(NODES, "", node, ready, manager="dispatcher", subresource="status")


def test_pods_of_a_lost_node_run_elsewhere_within_seconds(
    virtual: Virtual, make_world: Make, make_deployment: Make
) -> None:
    """Silence past the grace taints the node, empties its endpoints at once, and evicts after the toleration."""

    async def scenario() -> None:
        async with make_world().running(nodes=3) as world:
            service = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
            await world.create(SERVICES, {"metadata": {"name": "web"}, "spec": service})
            await _deployed(world, make_deployment(replicas=6), 6)
            assert len(_on(world, "node-1")) == 2
            world.liveness.disconnect("node-1")
            await world.stays(lambda: _ready(world, "node-1") == "True", for_s=3.9)
            await world.until(lambda: _effects(world, "node-1") == {"NoSchedule", "NoExecute"}, timeout_s=0.5)
            assert _ready(world, "node-1") == "Unknown"

            def ready_addresses() -> int:
                subsets = world.need(ENDPOINTS, "web").get("subsets") or []
                return sum(len(subset.get("addresses") or ()) for subset in subsets)

            await world.until(lambda: ready_addresses() == 4, timeout_s=0.5)
            assert not any(is_deleting(pod) for pod in _on(world, "node-1"))
            await world.until(lambda: all(is_deleting(pod) for pod in _on(world, "node-1")), timeout_s=6)
            await world.until(lambda: ready_addresses() == 6, timeout_s=2)
            assert {"NodeNotReady", "TaintManagerEviction"} <= world.reasons() or await _later(world)

    async def _later(world: World) -> bool:
        await world.until(lambda: {"NodeNotReady", "TaintManagerEviction"} <= world.reasons())
        return True

    virtual(scenario())


def test_a_node_that_returns_in_time_keeps_its_pods(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """Taints go, pods that were marked are ready again, and none was evicted."""

    async def scenario() -> None:
        async with make_world().running(nodes=3) as world:
            await _deployed(world, make_deployment(replicas=6), 6)
            names = {pod["metadata"]["uid"] for pod in world.list(PODS)}
            world.liveness.disconnect("node-1")
            await world.until(lambda: "NoExecute" in _effects(world, "node-1"))
            await world.until(lambda: sum(map(pod_is_ready, world.list(PODS))) == 4)
            await _reconnect(world, "node-1")
            await world.until(lambda: not _effects(world, "node-1"), timeout_s=1)
            await world.until(lambda: sum(map(pod_is_ready, world.list(PODS))) == 6, timeout_s=1)
            await world.stays(lambda: {pod["metadata"]["uid"] for pod in world.list(PODS)} == names, for_s=10)

    virtual(scenario())


def test_the_only_node_is_never_emptied(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """A single node that is silent for a minute is Unknown and takes nothing new, but its pods stay as they are."""

    async def scenario() -> None:
        async with make_world().running(nodes=1) as world:
            await _deployed(world, make_deployment(replicas=3), 3)
            world.liveness.disconnect("node-0")
            await world.until(lambda: _effects(world, "node-0") == {"NoSchedule"})
            await world.stays(lambda: len(world.list(PODS)) == 3 and all(map(pod_is_ready, world.list(PODS))), for_s=60)
            await _reconnect(world, "node-0")
            await world.until(lambda: not _effects(world, "node-0"))

    virtual(scenario())


def test_most_nodes_lost_at_once_are_not_believed(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """More than 55 % silent: nothing is evicted; when enough are back, the rest is."""

    async def scenario() -> None:
        async with make_world().running(nodes=5) as world:
            await _deployed(world, make_deployment(replicas=5), 5)
            for number in range(3):
                world.liveness.disconnect(f"node-{number}")
            await world.until(lambda: all(_effects(world, f"node-{number}") for number in range(3)))
            await world.stays(lambda: all(map(pod_is_active, world.list(PODS))), for_s=30)
            assert all(_effects(world, f"node-{number}") == {"NoSchedule"} for number in range(3))
            await _reconnect(world, "node-0")
            await world.until(lambda: _effects(world, "node-1") == {"NoSchedule", "NoExecute"}, timeout_s=2)
            await world.until(lambda: sum(map(pod_is_active, world.list(PODS))) == 5, timeout_s=10)
            await world.until(lambda: not any(map(pod_is_active, _on(world, "node-1"))), timeout_s=10)

    virtual(scenario())


def test_a_toleration_without_end_keeps_a_pod(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """A pod that tolerates unreachable nodes for ever is not evicted; a user's NoExecute taint evicts at once."""

    async def scenario() -> None:
        async with make_world().running(nodes=3) as world:
            spec = make_deployment(replicas=3)
            tolerations = [{"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute"}]
            spec["spec"]["template"]["spec"]["tolerations"] = tolerations
            await _deployed(world, spec, 3)
            world.liveness.disconnect("node-0")
            await world.until(lambda: "NoExecute" in _effects(world, "node-0"))
            await world.stays(lambda: all(map(pod_is_active, world.list(PODS))), for_s=30)
            taint = {"key": "repair", "effect": "NoExecute"}
            await world.edit(NODES, "node-2", lambda node: node["spec"].update(taints=[taint]))
            await world.until(lambda: not any(map(pod_is_active, _on(world, "node-2"))), timeout_s=1)

    virtual(scenario())


class _Breaking:
    """A dispatcher that breaks on its first questions, and then answers as ``liveness``."""

    def __init__(self, liveness: SimulatedLiveness, *, times: int) -> None:
        self._liveness = liveness
        self._left = {"connected": times, "changed": times}

    def _break(self, question: str) -> None:
        self._left[question] -= 1
        if self._left[question] >= 0:
            raise RuntimeError(f"{question} broke")

    def connected(self, node: str) -> bool:
        self._break("connected")
        return self._liveness.connected(node)

    def connect(self, node: str) -> None:
        self._liveness.connect(node)

    def silent_for_s(self, node: str) -> float:
        return self._liveness.silent_for_s(node)

    def held_for_s(self, node: str) -> float:
        return self._liveness.held_for_s(node)

    async def changed(self) -> AsyncIterator[str]:
        self._break("changed")
        async for node in self._liveness.changed():
            yield node


def test_a_fault_in_watching_nodes_ends_nothing(virtual: Virtual, make_world: Make) -> None:
    """What breaks while nodes are looked at is looked at again: the server goes on, and a lost node is noticed."""

    async def scenario() -> None:
        world = make_world()
        dispatcher = world.liveness
        world.liveness = _Breaking(dispatcher, times=3)
        async with world.running(nodes=3):
            await asyncio.sleep(5.0)
            dispatcher.disconnect("node-1")
            await world.until(lambda: _effects(world, "node-1") == {"NoSchedule", "NoExecute"}, timeout_s=5)

    virtual(scenario())
