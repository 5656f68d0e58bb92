"""Deployments rolled over by the real controllers in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from flotilla.api.conditions import get_condition
from flotilla.api.objects import KubeObject, annotations_of, is_deleting
from flotilla.api.resources import DEPLOYMENTS, PODS, REPLICA_SETS
from flotilla.api.workloads import pod_is_active, pod_is_ready

if TYPE_CHECKING:
    from controlplane.store.cache import CacheEvent
    from tests.simulation.conftest import Virtual, World

Make = Callable[..., Any]


def _active(world: World) -> list[KubeObject]:
    return [pod for pod in world.list(PODS) if pod_is_active(pod)]


def _reason(obj: KubeObject, type_: str) -> str:
    condition = get_condition(obj, type_)
    return str(condition["reason"]) if condition else ""


def _image(pod_or_template: KubeObject) -> str:
    return str(pod_or_template["spec"]["containers"][0]["image"])


def _available(world: World, name: str = "web") -> int:
    status = (world.get(DEPLOYMENTS, name) or {}).get("status") or {}
    return int(status.get("availableReplicas", 0))


def _done(world: World, replicas: int) -> Callable[[], bool]:
    def check() -> bool:
        obj = world.get(DEPLOYMENTS, "web")
        if obj is None or not obj.get("status"):
            return False
        status = obj["status"]
        counts = [status.get(count, 0) for count in ("replicas", "updatedReplicas", "availableReplicas")]
        return counts == [replicas] * 3 and status["observedGeneration"] == obj["metadata"]["generation"]

    return check


async def _edit(world: World, edit: Callable[[KubeObject], None]) -> None:
    await world.edit(DEPLOYMENTS, "web", edit)


def _set_image(image: str) -> Callable[[KubeObject], None]:
    def edit(obj: KubeObject) -> None:
        obj["spec"]["template"]["spec"]["containers"][0]["image"] = image

    return edit


def test_a_deployment_becomes_available(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """Replicas are made, bound and reported; the conditions say so with Kubernetes' reasons."""

    async def scenario() -> None:
        async with make_world().running() as world:
            await world.create(DEPLOYMENTS, make_deployment(replicas=3))
            await world.until(_done(world, 3))
            (replica_set,) = world.list(REPLICA_SETS)
            assert len(world.list(PODS)) == 3
            assert replica_set["status"]["fullyLabeledReplicas"] == 3
            assert annotations_of(replica_set)["deployment.kubernetes.io/revision"] == "1"
            obj = world.need(DEPLOYMENTS, "web")
            assert annotations_of(obj)["deployment.kubernetes.io/revision"] == "1"
            assert _reason(obj, "Available") == "MinimumReplicasAvailable"
            assert _reason(obj, "Progressing") == "NewReplicaSetAvailable"
            await world.until(lambda: {"ScalingReplicaSet", "SuccessfulCreate", "Scheduled"} <= world.reasons())

    virtual(scenario())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("surge", "unavailable"), [(1, 0), (0, 1), ("25%", "25%"), (3, 2)])
def test_a_rollout_keeps_its_bounds_while_caches_lag(
    virtual: Virtual, make_world: Make, make_deployment: Make, seed: int, surge: int | str, unavailable: int | str
) -> None:
    """However writes and watches are delayed, no more than allowed exist and no fewer than allowed are ready."""

    async def scenario() -> None:
        world: World = make_world(seed=seed, write_s=0.05, watch_s=0.01)
        most = 8 + (surge if isinstance(surge, int) else 2)
        fewest = 8 - (unavailable if isinstance(unavailable, int) else 2)
        rolling = False

        def check(event: CacheEvent) -> None:
            if rolling:
                active = _active(world)
                assert len(active) <= most
                assert sum(map(pod_is_ready, active)) >= fewest

        world.on_event = check
        async with world.running():
            strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
            await world.create(DEPLOYMENTS, make_deployment(replicas=8, strategy=strategy))
            await world.until(_done(world, 8))
            rolling = True
            await _edit(world, _set_image("app:2"))
            await world.until(_done(world, 8), timeout_s=300)
            assert {_image(pod) for pod in _active(world)} == {"app:2"}

    virtual(scenario())


def test_recreate_never_mixes_templates(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """With Recreate the last old pod is gone before the first new one is made."""

    async def scenario() -> None:
        world: World = make_world()

        def check(event: CacheEvent) -> None:
            images = {_image(pod) for pod in world.list(PODS)}
            assert len(images) <= 1

        world.on_event = check
        async with world.running():
            await world.create(DEPLOYMENTS, make_deployment(replicas=4, strategy={"type": "Recreate"}))
            await world.until(_done(world, 4))
            await _edit(world, _set_image("app:2"))
            await world.until(_done(world, 4))

    virtual(scenario())


def test_a_stuck_rollout_times_out_and_a_rollback_heals_it(
    virtual: Virtual, make_world: Make, make_deployment: Make
) -> None:
    """Past the deadline Progressing is False; the old template comes back as its ReplicaSet with a new revision."""

    async def scenario() -> None:
        world: World = make_world()
        world.never_ready = lambda pod: _image(pod) == "app:bad"
        async with world.running():
            await world.create(DEPLOYMENTS, make_deployment(replicas=4, progressDeadlineSeconds=30))
            await world.until(_done(world, 4))
            await _edit(world, _set_image("app:bad"))

            def reason() -> str:
                return _reason(world.need(DEPLOYMENTS, "web"), "Progressing")

            await world.until(lambda: reason() == "ProgressDeadlineExceeded")
            assert _available(world) >= 3
            await _edit(world, _set_image("app:1"))
            await world.until(_done(world, 4))
            await world.until(lambda: reason() == "NewReplicaSetAvailable")
            sets = {
                each["spec"]["template"]["spec"]["containers"][0]["image"]: each for each in world.list(REPLICA_SETS)
            }
            assert annotations_of(sets["app:1"])["deployment.kubernetes.io/revision"] == "3"
            assert annotations_of(sets["app:1"])["deployment.kubernetes.io/revision-history"] == "1"
            assert sets["app:bad"]["spec"]["replicas"] == 0

    virtual(scenario())


def test_history_is_limited(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """Old ReplicaSets beyond revisionHistoryLimit are removed, the oldest first."""

    async def scenario() -> None:
        async with make_world().running() as world:
            await world.create(DEPLOYMENTS, make_deployment(replicas=2, revisionHistoryLimit=2))
            await world.until(_done(world, 2))
            for number in range(2, 7):
                await _edit(world, _set_image(f"app:{number}"))
                await world.until(_done(world, 2))
            await world.until(lambda: len(world.list(REPLICA_SETS)) == 3)
            revisions = {annotations_of(each)["deployment.kubernetes.io/revision"] for each in world.list(REPLICA_SETS)}
            assert revisions == {"4", "5", "6"}

    virtual(scenario())


def test_a_paused_deployment_scales_but_does_not_roll(
    virtual: Virtual, make_world: Make, make_deployment: Make
) -> None:
    """While paused a template change makes no ReplicaSet, a change of replicas is carried out."""

    async def scenario() -> None:
        async with make_world().running() as world:
            await world.create(DEPLOYMENTS, make_deployment(replicas=2))
            await world.until(_done(world, 2))

            def pause(obj: KubeObject) -> None:
                obj["spec"]["paused"] = True
                obj["spec"]["replicas"] = 5
                _set_image("app:2")(obj)

            await _edit(world, pause)
            await world.until(lambda: _available(world) == 5)
            assert len(world.list(REPLICA_SETS)) == 1
            assert _reason(world.need(DEPLOYMENTS, "web"), "Progressing") == "DeploymentPaused"
            await _edit(world, lambda obj: obj["spec"].pop("paused"))
            await world.until(_done(world, 5))
            assert len(world.list(REPLICA_SETS)) == 2

    virtual(scenario())


def test_scaling_amid_a_rollout_is_proportional(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """Replicas that are added while a rollout is stuck go to the old and the new set by their shares."""

    async def scenario() -> None:
        world: World = make_world()
        world.never_ready = lambda pod: _image(pod) == "app:bad"
        strategy = {"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
        async with world.running():
            await world.create(DEPLOYMENTS, make_deployment(replicas=10, strategy=strategy))
            await world.until(_done(world, 10))
            await _edit(world, _set_image("app:bad"))

            def sizes() -> list[int]:
                return sorted(each["spec"]["replicas"] for each in world.list(REPLICA_SETS))

            await world.until(lambda: sizes() == [5, 8])
            await _edit(world, lambda obj: obj["spec"].update(replicas=15))
            await world.until(lambda: sizes() == [7, 11])
            await world.stays(lambda: sizes() == [7, 11], for_s=5)

    virtual(scenario())


def test_min_ready_seconds_delay_availability(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """A ready pod counts as available only after minReadySeconds."""

    async def scenario() -> None:
        async with make_world().running() as world:
            await world.create(DEPLOYMENTS, make_deployment(replicas=1, minReadySeconds=10))
            await world.until(lambda: any(map(pod_is_ready, world.list(PODS))))
            await world.stays(lambda: _available(world) == 0, for_s=8)
            await world.until(_done(world, 1), timeout_s=4)

    virtual(scenario())


@pytest.mark.parametrize("seed", range(5))
def test_replicas_are_exact_while_caches_lag(
    virtual: Virtual, make_world: Make, make_deployment: Make, seed: int
) -> None:
    """Creating and removing many pods against a stale cache never makes or removes one too many."""

    async def scenario() -> None:
        world: World = make_world(seed=seed, write_s=0.2, watch_s=0.02)
        most = 20
        lowest = 0

        def check(event: CacheEvent) -> None:
            count = len(_active(world))
            assert lowest <= count <= most

        world.on_event = check
        async with world.running():
            await world.create(DEPLOYMENTS, make_deployment(replicas=20))
            await world.until(_done(world, 20), timeout_s=200)
            lowest = 5
            await _edit(world, lambda obj: obj["spec"].update(replicas=5))
            await world.until(_done(world, 5), timeout_s=200)
            most = 5
            await world.stays(lambda: len(_active(world)) == 5, for_s=5)

    virtual(scenario())


def test_a_deleted_pod_is_replaced_at_once(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """A pod that is being deleted no longer counts, long before it has gone."""

    async def scenario() -> None:
        world: World = make_world()
        world.stop_s = 20.0
        async with world.running():
            await world.create(DEPLOYMENTS, make_deployment(replicas=2))
            await world.until(_done(world, 2))
            victim = world.list(PODS)[0]["metadata"]["name"]
            await world.delete(PODS, victim)
            await world.until(lambda: len(_active(world)) == 2, timeout_s=0.1)
            assert any(is_deleting(pod) for pod in world.list(PODS))

    virtual(scenario())


def test_orphans_are_adopted_and_strangers_released(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """A pod with the set's labels and no controller counts; one whose labels were changed is let go and replaced."""

    async def scenario() -> None:
        async with make_world().running() as world:
            await world.create(DEPLOYMENTS, make_deployment(replicas=2))
            await world.until(_done(world, 2))
            released = world.list(PODS)[0]["metadata"]["name"]

            await world.edit(PODS, released, lambda pod: pod["metadata"].update(labels={"app": "debug"}))
            await world.until(lambda: len(world.list(PODS)) == 3)
            await world.until(lambda: not world.need(PODS, released)["metadata"].get("ownerReferences"))
            await world.until(_done(world, 2))
            labels = world.list(REPLICA_SETS)[0]["spec"]["template"]["metadata"]["labels"]
            await world.edit(PODS, released, lambda pod: pod["metadata"].update(labels=dict(labels)))
            await world.until(lambda: len(world.list(PODS)) == 2)
            assert all(pod["metadata"].get("ownerReferences") for pod in world.list(PODS))

    virtual(scenario())
