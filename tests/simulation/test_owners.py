"""Garbage collection and namespace deletion by the real controllers in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from flotilla.api.conditions import is_true
from flotilla.api.objects import is_deleting, owner_reference
from flotilla.api.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    EVENTS,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    SERVICE_ACCOUNTS,
)
from flotilla.api.workloads import pod_is_ready

if TYPE_CHECKING:
    from tests.simulation.conftest import Virtual, World

Make = Callable[..., Any]


async def _deploy(world: World, deployment: Any, replicas: int) -> None:
    await world.create(DEPLOYMENTS, deployment)
    await world.until(lambda: len(world.list(PODS)) == replicas)


def test_background_deletion_takes_dependents_along(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """A deleted Deployment goes at once, its ReplicaSets and pods follow."""

    async def scenario() -> None:
        async with make_world().running() as world:
            await _deploy(world, make_deployment(replicas=30), 30)
            await world.delete(DEPLOYMENTS, "web", propagation="Background")
            assert world.get(DEPLOYMENTS, "web") is None
            await world.until(lambda: not world.list(REPLICA_SETS) and not world.list(PODS), timeout_s=1)

    virtual(scenario())


def test_foreground_deletion_waits_for_dependents(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """With Foreground the owner is the last to go."""

    async def scenario() -> None:
        world: World = make_world()
        gone: list[str] = []
        world.on_event = lambda event: gone.append(event.entry.resource.kind) if event.type == "DELETED" else None
        async with world.running():
            await _deploy(world, make_deployment(replicas=3), 3)
            await world.delete(DEPLOYMENTS, "web", propagation="Foreground")
            assert is_deleting(world.need(DEPLOYMENTS, "web"))
            await world.until(lambda: world.get(DEPLOYMENTS, "web") is None)
            assert [kind for kind in gone if kind != "Event"] == ["Pod", "Pod", "Pod", "ReplicaSet", "Deployment"]

    virtual(scenario())


def test_orphaned_dependents_stay(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """With Orphan the owner goes and its dependents lose the reference to it."""

    async def scenario() -> None:
        async with make_world().running() as world:
            await _deploy(world, make_deployment(replicas=2), 2)
            await world.delete(DEPLOYMENTS, "web", propagation="Orphan")
            await world.until(lambda: world.get(DEPLOYMENTS, "web") is None)
            (replica_set,) = world.list(REPLICA_SETS)
            assert not replica_set["metadata"].get("ownerReferences")
            await world.stays(lambda: len(world.list(PODS)) == 2, for_s=5)

    virtual(scenario())


def test_an_object_with_one_living_owner_stays(virtual: Virtual, make_world: Make) -> None:
    """Of two owners the deleted one is struck off; only when both are gone does the object go."""

    async def scenario() -> None:
        async with make_world().running() as world:
            owners = [await world.create(CONFIG_MAPS, {"metadata": {"name": name}}) for name in ("one", "two")]
            references = [owner_reference(owner) | {"controller": False} for owner in owners]
            child = {"metadata": {"name": "child", "ownerReferences": references}}
            await world.create(CONFIG_MAPS, child)
            await world.delete(CONFIG_MAPS, "one")
            await world.until(lambda: len(world.need(CONFIG_MAPS, "child")["metadata"]["ownerReferences"]) == 1)
            await world.stays(lambda: world.get(CONFIG_MAPS, "child") is not None, for_s=2)
            await world.delete(CONFIG_MAPS, "two")
            await world.until(lambda: world.get(CONFIG_MAPS, "child") is None)

    virtual(scenario())


def test_an_object_of_an_owner_that_never_was_goes(virtual: Virtual, make_world: Make) -> None:
    """An owner that the store doesn't know counts as gone; a name alone, with another uid, is not the owner."""

    async def scenario() -> None:
        async with make_world().running() as world:
            owner = await world.create(CONFIG_MAPS, {"metadata": {"name": "owner"}})
            stranger = owner_reference(owner) | {"uid": "00000000-0000-0000-0000-000000000000"}
            await world.create(CONFIG_MAPS, {"metadata": {"name": "child", "ownerReferences": [stranger]}})
            await world.until(lambda: world.get(CONFIG_MAPS, "child") is None)
            assert world.get(CONFIG_MAPS, "owner") is not None

    virtual(scenario())


def test_a_new_namespace_is_furnished(virtual: Virtual, make_world: Make) -> None:
    """Each namespace gets its ServiceAccount and the cluster's CA, also again when they are deleted."""

    async def scenario() -> None:
        async with make_world().running() as world:
            await world.until(
                lambda: world.get(SERVICE_ACCOUNTS, "default") and world.get(CONFIG_MAPS, "kube-root-ca.crt")
            )
            assert world.need(CONFIG_MAPS, "kube-root-ca.crt")["data"] == {"ca.crt": "certificate"}
            await world.delete(SERVICE_ACCOUNTS, "default")
            await world.until(lambda: world.get(SERVICE_ACCOUNTS, "default"))

    virtual(scenario())


def test_a_deleted_namespace_is_emptied_first(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """The namespace stays Terminating until its last pod has gone, and others are left alone."""

    async def scenario() -> None:
        world: World = make_world()
        world.stop_s = 3.0
        async with world.running():
            await world.create(CONFIG_MAPS, {"metadata": {"name": "kept"}})
            await world.create(DEPLOYMENTS, make_deployment(replicas=3), "other")
            await world.until(lambda: sum(map(pod_is_ready, world.list(PODS, "other"))) == 3)
            await world.delete(NAMESPACES, "other")
            assert world.need(NAMESPACES, "other")["status"]["phase"] == "Terminating"
            await world.until(lambda: is_true(world.need(NAMESPACES, "other"), "NamespaceContentRemaining"))
            await world.until(lambda: world.get(NAMESPACES, "other") is None)
            contents = (PODS, REPLICA_SETS, DEPLOYMENTS, CONFIG_MAPS, EVENTS)
            assert not any(world.list(resource, "other") for resource in contents)
            assert world.get(CONFIG_MAPS, "kept") is not None

    virtual(scenario())


@pytest.mark.parametrize("finished", [False, True])
def test_pods_of_a_node_that_is_gone_are_removed(
    virtual: Virtual, make_world: Make, make_deployment: Make, finished: bool
) -> None:
    """Nobody can confirm the end of a pod whose Node was deleted: it is removed after the quarantine."""

    async def scenario() -> None:
        async with make_world().running(nodes=2) as world:
            await _deploy(world, make_deployment(replicas=4), 4)
            await world.until(lambda: all(pod.get("status", {}).get("podIP") for pod in world.list(PODS)))
            doomed = [pod for pod in world.list(PODS) if pod["spec"]["nodeName"] == "node-0"]
            assert len(doomed) == 2
            if finished:
                await world.report(doomed[0], {"phase": "Failed"})
            world.liveness.disconnect("node-0")
            await world.delete(NODES, "node-0")
            names = {pod["metadata"]["name"] for pod in doomed}
            await world.until(lambda: not names & {pod["metadata"]["name"] for pod in world.list(PODS)}, timeout_s=15)
            await world.until(lambda: len(world.list(PODS)) == 4)

    virtual(scenario())
