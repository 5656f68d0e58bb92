"""The autoscaler in the whole control loop, in virtual time, under a simulated load that the ready pods share."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from flotilla.api.resources import DEPLOYMENTS, EVENTS, HORIZONTAL_POD_AUTOSCALERS
from tests.simulation.scaling_lab import (
    REQUEST_CORES,
    autoscaler_of,
    condition_of,
    message_of,
    now,
    ready_pods,
    scaled,
    wanted,
)

if TYPE_CHECKING:
    from tests.simulation.conftest import Virtual

Make = Callable[..., Any]


@pytest.mark.parametrize("phase_s", [0.0, 0.2, 0.45, 0.7, 0.95])
def test_a_jump_in_load_is_answered_within_two_seconds(
    virtual: Virtual, make_world: Make, make_deployment: Make, phase_s: float
) -> None:
    """Whenever between two samples the load begins, the decision falls within 2 s and new pods are ready within 3 s."""

    async def scenario() -> None:
        async with scaled(make_world, make_deployment) as lab:
            world, load = lab.world, lab.load
            await asyncio.sleep(phase_s)
            began = now()
            load.cores = 5.0
            await world.until(lambda: wanted(world) > 2, timeout_s=2.0)
            await world.until(lambda: ready_pods(world) > 2, timeout_s=3.0 - (now() - began))

    virtual(scenario())


def test_a_single_spike_is_no_reason(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """Half a second of full load, which five seconds average away, changes nothing."""

    async def scenario() -> None:
        async with scaled(make_world, make_deployment) as lab:
            world, load = lab.world, lab.load
            load.cores = 0.8
            await asyncio.sleep(0.3)
            load.cores = 0.0
            await world.stays(lambda: wanted(world) == 2, for_s=20.0)

    virtual(scenario())


@pytest.mark.parametrize("cores", [0.1, 0.16, 0.24, 0.33, 0.5, 0.71])
def test_constant_load_settles_without_swinging(
    virtual: Virtual, make_world: Make, make_deployment: Make, cores: float
) -> None:
    """A constant load leads up to the count it needs, neither past it nor back, and stays there."""

    async def scenario() -> None:
        async with scaled(make_world, make_deployment) as lab:
            world, load = lab.world, lab.load
            load.cores = cores
            await asyncio.sleep(60.0)
            settled = wanted(world)
            await world.stays(lambda: wanted(world) == settled, for_s=400.0)
            steps = [count for _, count in load.replicas]
            assert all(later > earlier for earlier, later in pairwise(steps))
            exact = cores / (REQUEST_CORES * 0.5)
            assert exact / 1.1 - 0.01 <= max(settled, exact if settled == 2 else 0) <= math.ceil(exact * 1.02) + 1

    virtual(scenario())


def test_load_goes_to_the_maximum_and_back(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """Sustained load reaches the maximum at the pace of the policies; afterwards the window passes, then it returns."""
    behavior = {"scaleDown": {"stabilizationWindowSeconds": 20}}

    async def scenario() -> None:
        async with scaled(make_world, make_deployment, maxReplicas=8, behavior=behavior) as lab:
            world, load = lab.world, lab.load
            load.cores = 5.0
            await world.until(lambda: wanted(world) == 8, timeout_s=20.0)
            assert condition_of(world, "ScalingLimited") == ("True", "TooManyReplicas")
            await world.until(lambda: ready_pods(world) == 8)
            load.cores = 0.0
            ended = now()
            await world.stays(lambda: wanted(world) == 8, for_s=19.0)
            assert condition_of(world, "AbleToScale") == ("True", "ScaleDownStabilized")
            await world.until(lambda: wanted(world) == 2, timeout_s=ended + 60.0 - now())
            await world.until(lambda: ready_pods(world) == 2)
            await world.until(lambda: condition_of(world, "AbleToScale") == ("True", "ReadyForNewScale"))
            title = "cpu resource utilization (percentage of request)"
            told = {f"New size: 6; reason: {title} above target", "New size: 2; reason: All metrics below target"}
            await world.until(lambda: told <= {each["message"] for each in world.list(EVENTS)}, timeout_s=1.0)

    virtual(scenario())


def test_the_status_is_written_seldom(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """Under a load that only wobbles, the HPA is written every ten seconds at most."""

    async def scenario() -> None:
        async with scaled(make_world, make_deployment) as lab:
            world, load = lab.world, lab.load
            load.cores = 0.1
            await asyncio.sleep(15.0)
            first = int(world.need(HORIZONTAL_POD_AUTOSCALERS, "web")["metadata"]["resourceVersion"])
            writes = {first}
            for second in range(100):
                load.cores = 0.09 + 0.02 * (second % 2)
                await asyncio.sleep(1.0)
                writes.add(int(world.need(HORIZONTAL_POD_AUTOSCALERS, "web")["metadata"]["resourceVersion"]))
            assert len(writes) <= 11
            metric = world.need(HORIZONTAL_POD_AUTOSCALERS, "web")["status"]["currentMetrics"][0]
            assert 40 <= metric["resource"]["current"]["averageUtilization"] <= 60

    virtual(scenario())


def test_a_target_at_zero_is_left_alone(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """Scaling a Deployment to zero by hand turns its autoscaler off until it is scaled up again."""

    async def scenario() -> None:
        async with scaled(make_world, make_deployment) as lab:
            world = lab.world
            await world.edit(DEPLOYMENTS, "web", lambda obj: obj["spec"].update(replicas=0))
            await world.until(lambda: condition_of(world, "ScalingActive") == ("False", "ScalingDisabled"))
            await world.stays(lambda: wanted(world) == 0, for_s=5.0)
            await world.edit(DEPLOYMENTS, "web", lambda obj: obj["spec"].update(replicas=1))
            await world.until(lambda: wanted(world) == 2, timeout_s=1.0)

    virtual(scenario())


def test_a_changed_bound_is_acted_upon_at_once(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """Raising the minimum takes effect with the edit, not with the next sample."""

    async def scenario() -> None:
        async with scaled(make_world, make_deployment) as lab:
            world = lab.world
            await world.edit(HORIZONTAL_POD_AUTOSCALERS, "web", lambda obj: obj["spec"].update(minReplicas=4))
            await world.until(lambda: wanted(world) == 4, timeout_s=0.1)

    virtual(scenario())


def test_two_autoscalers_on_one_target_do_nothing(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """Both say that the target is ambiguous, and neither touches it."""

    async def scenario() -> None:
        async with scaled(make_world, make_deployment) as lab:
            world, load = lab.world, lab.load
            await world.create(HORIZONTAL_POD_AUTOSCALERS, autoscaler_of() | {"metadata": {"name": "rival"}})
            await world.until(lambda: condition_of(world, "ScalingActive") == ("False", "AmbiguousSelector"))
            load.cores = 5.0
            await world.stays(lambda: wanted(world) == 2, for_s=10.0)

    virtual(scenario())


def test_a_metric_without_a_source_says_so(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """An External metric is accepted, reported as not available, and never scales anything down."""
    target = {"type": "AverageValue", "averageValue": "10"}
    metric = {"type": "External", "external": {"metric": {"name": "queue"}, "target": target}}

    async def scenario() -> None:
        async with scaled(make_world, make_deployment, metrics=[metric]) as lab:
            world = lab.world
            await world.until(lambda: condition_of(world, "ScalingActive") == ("False", "FailedGetExternalMetric"))
            await world.until(lambda: "FailedGetExternalMetric" in world.reasons())
            assert "failed to get queue external metric value: no pod offers queue" in message_of(
                world, "ScalingActive"
            )

    virtual(scenario())


def test_a_missing_target_says_so_and_is_found_when_it_comes(
    virtual: Virtual, make_world: Make, make_deployment: Make
) -> None:
    """An HPA that is made before its Deployment waits for it, with a reason."""
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "late"}

    async def scenario() -> None:
        async with scaled(make_world, make_deployment, scaleTargetRef=reference) as lab:
            world = lab.world
            await world.until(lambda: condition_of(world, "AbleToScale") == ("False", "FailedGetScale"))
            await world.create(DEPLOYMENTS, make_deployment("late", replicas=1))
            await world.until(lambda: wanted(world, "late") == 2, timeout_s=0.1)
            assert condition_of(world, "AbleToScale")[0] == "True"

    virtual(scenario())
