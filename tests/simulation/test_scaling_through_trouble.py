"""Autoscaling in the whole control loop while something is wrong: nothing flaps, nothing goes for lack of figures.

Minutes pass in virtual time; samples, readiness, rollouts and decisions go their real ways. Six replicas carry exactly
what they are meant to carry, where nothing else is said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from flotilla.api.objects import KubeObject
from flotilla.api.resources import DEPLOYMENTS, PODS
from tests.simulation.scaling_lab import Lab, condition_of, message_of, now, ready_pods, scaled, wanted

if TYPE_CHECKING:
    from tests.simulation.conftest import Virtual

Make = Callable[..., Any]

ON_TARGET = 0.3
PAST_THE_WINDOW_S = 330.0
SHORT_WINDOW = {"scaleDown": {"stabilizationWindowSeconds": 20}}


def _loop() -> Any:
    return asyncio.get_running_loop()


async def _nothing_happens(lab: Lab, *, for_s: float = PAST_THE_WINDOW_S) -> None:
    steps = list(lab.load.steps)
    await asyncio.sleep(for_s)
    assert lab.load.steps == steps


def test_bursts_with_a_mean_under_the_target(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """Ten minutes with a second at two and a half times the target in every five, mean under it: no scale event."""

    async def scenario() -> None:
        async with scaled(make_world, make_deployment, replicas=6) as lab:
            for burst in range(120):
                # Bursts come at another moment of the nodes' rounds each time.
                pause_s = 3.7 + 0.13 * (burst % 5)
                lab.load.cores = 2.5 * ON_TARGET
                await asyncio.sleep(1.0)
                lab.load.cores = 0.5 * ON_TARGET
                await asyncio.sleep(pause_s)
            assert lab.load.steps == [6]

    virtual(scenario())


def test_noise_is_averaged_away(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """Each pod's use wobbling by a quarter from second to second, past the window: no scale event."""

    async def scenario() -> None:
        async with scaled(make_world, make_deployment, replicas=6, cores=ON_TARGET) as lab:
            lab.load.noise = 0.25
            await _nothing_happens(lab)

    virtual(scenario())


def test_much_noise_never_swings(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """Noise that passes the tolerance adds what its peaks need; within a window nothing of it is removed again."""

    async def scenario() -> None:
        async with scaled(make_world, make_deployment, replicas=6, cores=ON_TARGET) as lab:
            lab.load.noise = 0.9
            await asyncio.sleep(290.0)
            assert all(later > earlier for earlier, later in pairwise(lab.load.steps))
            assert max(lab.load.steps) <= 9

    virtual(scenario())


def test_missing_samples_change_nothing(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """With other pods missing every few seconds, a third of all at a time, the count stays, past the window too."""

    async def scenario() -> None:
        async with scaled(make_world, make_deployment, replicas=6, cores=ON_TARGET) as lab:
            uids = [pod["metadata"]["uid"] for pod in lab.world.list(PODS)]
            steps = list(lab.load.steps)
            for turn in range(110):
                lab.load.unmeasured = {uids[turn % 6], uids[(turn + 3) % 6]}
                await asyncio.sleep(3.1)
            assert lab.load.steps == steps

    virtual(scenario())


def test_a_silent_node_is_no_idle_node(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """With a node not heard of nothing happens on target, and load is answered by what the others say."""

    async def scenario() -> None:
        async with scaled(make_world, make_deployment, replicas=6, cores=ON_TARGET, behavior=SHORT_WINDOW) as lab:
            lab.load.silent = {"node-1"}
            await _nothing_happens(lab, for_s=100.0)
            lab.load.cores = 4 * ON_TARGET
            await lab.world.until(lambda: wanted(lab.world) > 6, timeout_s=5.0)

    virtual(scenario())


def test_without_any_samples_nothing_is_removed(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """All nodes silent and all load gone: the count stays and says why; the first samples decide again."""

    async def scenario() -> None:
        async with scaled(make_world, make_deployment, replicas=6, cores=ON_TARGET, behavior=SHORT_WINDOW) as lab:
            lab.load.silent = {"node-0", "node-1", "node-2"}
            lab.load.cores = 0.0
            await _nothing_happens(lab)
            assert condition_of(lab.world, "ScalingActive") == ("False", "FailedGetResourceMetric")
            assert "did not receive metrics for targeted pods" in message_of(lab.world, "ScalingActive")
            assert "FailedGetResourceMetric" in lab.world.reasons()
            lab.load.silent = set()
            await lab.world.until(lambda: wanted(lab.world) == 2, timeout_s=40.0)
            assert condition_of(lab.world, "ScalingActive") == ("True", "ValidMetricFound")

    virtual(scenario())


def _to_image(image: str) -> Callable[[KubeObject], None]:
    def edit(deployment: KubeObject) -> None:
        deployment["spec"]["template"]["spec"]["containers"][0]["image"] = image

    return edit


def test_a_rolling_update_is_no_load(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """Surging pods that burn CPU to start, and fewer that serve meanwhile, are no reason to scale."""

    async def scenario() -> None:
        async with scaled(make_world, make_deployment, replicas=6, cores=ON_TARGET) as lab:
            lab.world.start_s = 8.0
            await lab.world.edit(DEPLOYMENTS, "web", _to_image("app:2"))
            await _nothing_happens(lab)
            images = {pod["spec"]["containers"][0]["image"] for pod in lab.world.list(PODS)}
            assert images == {"app:2"}

    virtual(scenario())


def test_a_rollout_that_is_stuck_is_no_load(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """New pods that crash before they are ever ready, for seven minutes: no scale event; real load still counts."""

    async def scenario() -> None:
        async with scaled(make_world, make_deployment, replicas=6, cores=ON_TARGET) as lab:
            lab.world.never_ready = lambda pod: pod["spec"]["containers"][0]["image"] == "app:2"
            await lab.world.edit(DEPLOYMENTS, "web", _to_image("app:2"))
            await _nothing_happens(lab, for_s=420.0)
            lab.load.cores = 4 * ON_TARGET
            await lab.world.until(lambda: wanted(lab.world) > 6, timeout_s=5.0)

    virtual(scenario())


def test_pods_that_crash_again_and_again(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """Two of six that come and go, with the others at one and a half times the target meanwhile: nothing swings."""

    async def scenario() -> None:
        async with scaled(make_world, make_deployment, replicas=6, cores=ON_TARGET) as lab:
            crashing = lab.world.list(PODS)[:2]
            for _ in range(12):
                lab.load.unmeasured = {pod["metadata"]["uid"] for pod in crashing}
                await _report_ready(lab, crashing, "False")
                await asyncio.sleep(20.0)
                lab.load.unmeasured = set()
                await _report_ready(lab, crashing, "True")
                await asyncio.sleep(10.0)
            assert lab.load.steps == [6]

    virtual(scenario())


async def _report_ready(lab: Lab, pods: list[KubeObject], status: str) -> None:
    for pod in pods:
        conditions = [{"type": "Ready", "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z"}]
        await lab.world.report(pod, {"conditions": conditions})


@pytest.mark.parametrize("step_s", [3600.0, -3600.0, 12.0, -12.0])
def test_a_clock_that_is_set_decides_nothing(
    virtual: Virtual, make_world: Make, make_deployment: Make, step_s: float
) -> None:
    """However the wall clock is set: no scale event, load is answered as fast as ever, windows are as long as ever."""

    async def scenario() -> None:
        async with scaled(make_world, make_deployment, cores=0.1, behavior=SHORT_WINDOW) as lab:
            world, load = lab.world, lab.load
            _loop().set_by_s += step_s
            await _nothing_happens(lab, for_s=60.0)
            assert "FailedGetResourceMetric" not in world.reasons()
            load.cores = 0.3
            await world.until(lambda: wanted(world) > 2, timeout_s=3.0)
            await world.until(lambda: ready_pods(world) == wanted(world) == 6)
            await asyncio.sleep(10.0)
            _loop().set_by_s += step_s
            load.cores = 0.0
            ended_s = now()
            await world.until(lambda: wanted(world) < 6, timeout_s=30.0)
            assert 20.0 <= now() - ended_s <= 26.0

    virtual(scenario())


def test_another_leader_grants_no_other_step(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """What a policy allows within fifteen seconds is allowed once, however often the leader changes within them."""

    async def scenario() -> None:
        async with scaled(make_world, make_deployment, cores=0.1) as lab:
            lab.load.cores = 5.0
            for _ in range(12):
                await asyncio.sleep(3.0)
                await lab.lead()
            counts = lab.load.replicas
            assert counts[-1][1] >= 10
            for index, (began_s, base) in enumerate(counts):
                within = [count for at_s, count in counts[index:] if at_s < began_s + 15.0]
                assert max(within) <= max(base + 4, 2 * base)

    virtual(scenario())


def test_another_leader_removes_nothing_before_a_window_has_passed(
    virtual: Virtual, make_world: Make, make_deployment: Make
) -> None:
    """What it finds was wanted: a whole window has to pass under its own eyes."""

    async def scenario() -> None:
        async with scaled(make_world, make_deployment, replicas=6, cores=ON_TARGET, behavior=SHORT_WINDOW) as lab:
            lab.load.cores = 0.0
            await asyncio.sleep(15.0)
            await lab.lead()
            began_s = now()
            await lab.world.until(lambda: wanted(lab.world) == 2, timeout_s=30.0)
            assert now() - began_s >= 20.0

    virtual(scenario())
