"""The autoscaler in the whole control loop, in virtual time, under a simulated load that the ready pods share.

Nodes sample their containers once a second, each at a moment of its own. A starting pod burns CPU before it is ready.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from controlplane.autoscaler import build_autoscaler
from controlplane.autoscaler.figures import Figures
from controlplane.autoscaler.samples import SampleStore
from controlplane.store.cache import CacheEvent, Entry
from flotilla.api.conditions import get_condition
from flotilla.api.objects import KubeObject, is_deleting
from flotilla.api.resources import DEPLOYMENTS, EVENTS, HORIZONTAL_POD_AUTOSCALERS, PODS
from flotilla.api.workloads import pod_is_ready
from protos import dispatcher_pb2 as pb
from tests.simulation.conftest import wall_clock

if TYPE_CHECKING:
    from tests.simulation.conftest import Virtual, World

Make = Callable[..., Any]

REQUEST_CORES = 0.1
LIMIT_CORES = 0.5
STARTUP_CORES = 0.4
STEP_S = 0.05


class Load:
    """``cores`` is what the clients of the pods ask for in all."""

    def __init__(self, world: World, samples: SampleStore) -> None:
        self.cores = 0.0
        self.replicas: list[tuple[float, int]] = []
        self._world = world
        self._samples = samples
        self._used: dict[str, float] = {}
        self._started: dict[str, float] = {}
        self._next_round: dict[str, float] = {}
        world.on_event = self._note

    def _note(self, event: CacheEvent) -> None:
        if event.entry.resource is DEPLOYMENTS:
            count = event.entry.obj["spec"]["replicas"]
            if not self.replicas or self.replicas[-1][1] != count:
                self.replicas.append((_now(), count))

    async def run(self) -> None:
        """Burn and sample until cancelled."""
        while True:
            await asyncio.sleep(STEP_S)
            pods = [entry for entry in self._world.cache.list(PODS) if entry.node]
            self._burn(pods)
            for number in range(3):
                self._sample(f"node-{number}", pods, phase=number * 0.37)

    def _burn(self, pods: list[Entry]) -> None:
        serving = [pod for pod in pods if pod_is_ready(pod.obj) and not is_deleting(pod.obj)]
        share = min(LIMIT_CORES, self.cores / len(serving)) if serving else 0.0
        for pod in pods:
            self._started.setdefault(pod.uid, wall_clock().timestamp())
            cores = share if pod in serving else STARTUP_CORES
            self._used[pod.uid] = self._used.get(pod.uid, 0.0) + cores * STEP_S

    def _sample(self, node: str, pods: list[Entry], *, phase: float) -> None:
        due = self._next_round.setdefault(node, _now() + phase)
        if _now() < due:
            return
        self._next_round[node] = due + 1.0
        mine = [pod for pod in pods if pod.node == node]
        keys = [pb.ContainerKey(namespace="default", pod=pod.name, pod_uid=pod.uid, container="app") for pod in mine]
        used = np.array([self._used[pod.uid] for pod in mine])
        self._samples.ingest(
            node,
            pb.Samples(
                time_unix_s=wall_clock().timestamp(),
                generation=hash(tuple(pod.uid for pod in mine)) & 0xFFFF,
                containers=keys,
                cpu_usage_ns=(used * 1e9).astype("<u8").tobytes(),
                cpu_throttled_ns=np.zeros(len(mine), "<u8").tobytes(),
                memory_working_set_bytes=np.full(len(mine), 1 << 20, "<u8").tobytes(),
                start_time_unix_s=np.array([self._started[pod.uid] for pod in mine], "<f8").tobytes(),
            ),
        )


def _now() -> float:
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def _scaled(make_world: Make, make_deployment: Make, **spec: Any) -> AsyncIterator[tuple[World, Load]]:
    """Two replicas with room up to 20, target 50 % of 100m, one world with everything running."""
    world: World = _started_pods(make_world())
    samples = SampleStore(clock=lambda: wall_clock().timestamp())
    load = Load(world, samples)
    async with world.running(nodes=3):
        autoscaler = build_autoscaler(world.cache, world.objects, world.recorder, Figures(samples), clock=wall_clock)
        tasks = [asyncio.create_task(autoscaler.run()), asyncio.create_task(load.run())]
        try:
            deployment = make_deployment(replicas=2)
            resources = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]
            resources["limits"] = {"cpu": "500m", "memory": "64Mi"}
            await world.create(DEPLOYMENTS, deployment)
            await world.create(HORIZONTAL_POD_AUTOSCALERS, _autoscaler(**spec))
            await world.until(lambda: _ready_pods(world) == 2)
            await asyncio.sleep(10.0)
            yield world, load
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _started_pods(world: World) -> World:
    """The world, with ``startTime`` in what its nodes report, as agents have it."""
    report = world.report

    async def with_start(pod: KubeObject, status: Any) -> None:
        known = (world.get(PODS, pod["metadata"]["name"]) or pod).get("status") or {}
        start = known.get("startTime") or wall_clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        await report(pod, {"startTime": start, **status})

    world.report = with_start  # type: ignore[method-assign]
    return world


def _autoscaler(**spec: Any) -> KubeObject:
    target = {"type": "Utilization", "averageUtilization": 50}
    return {
        "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 2,
            "maxReplicas": 20,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
            **spec,
        },
    }


def _ready_pods(world: World) -> int:
    return sum(pod_is_ready(pod) and not is_deleting(pod) for pod in world.list(PODS))


def _wanted(world: World, name: str = "web") -> int:
    deployment = world.get(DEPLOYMENTS, name)
    return int(deployment["spec"]["replicas"]) if deployment is not None else 0


def _condition(world: World, kind: str) -> tuple[str, str]:
    condition = get_condition(world.need(HORIZONTAL_POD_AUTOSCALERS, "web"), kind) or {}
    return condition.get("status", ""), condition.get("reason", "")


@pytest.mark.parametrize("phase_s", [0.0, 0.2, 0.45, 0.7, 0.95])
def test_a_jump_in_load_is_answered_within_two_seconds(
    virtual: Virtual, make_world: Make, make_deployment: Make, phase_s: float
) -> None:
    """Whenever between two samples the load begins, the decision falls within 2 s and new pods are ready within 3 s."""

    async def scenario() -> None:
        async with _scaled(make_world, make_deployment) as (world, load):
            await asyncio.sleep(phase_s)
            began = _now()
            load.cores = 5.0
            await world.until(lambda: _wanted(world) > 2, timeout_s=2.0)
            await world.until(lambda: _ready_pods(world) > 2, timeout_s=3.0 - (_now() - began))

    virtual(scenario())


def test_a_single_spike_is_no_reason(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """Half a second of full load, which five seconds average away, changes nothing."""

    async def scenario() -> None:
        async with _scaled(make_world, make_deployment) as (world, load):
            load.cores = 0.8
            await asyncio.sleep(0.3)
            load.cores = 0.0
            await world.stays(lambda: _wanted(world) == 2, for_s=20.0)

    virtual(scenario())


@pytest.mark.parametrize("cores", [0.1, 0.16, 0.24, 0.33, 0.5, 0.71])
def test_constant_load_settles_without_swinging(
    virtual: Virtual, make_world: Make, make_deployment: Make, cores: float
) -> None:
    """A constant load leads up to the count it needs, neither past it nor back, and stays there."""

    async def scenario() -> None:
        async with _scaled(make_world, make_deployment) as (world, load):
            load.cores = cores
            await asyncio.sleep(60.0)
            settled = _wanted(world)
            await world.stays(lambda: _wanted(world) == settled, for_s=400.0)
            steps = [count for _, count in load.replicas]
            assert all(later > earlier for earlier, later in pairwise(steps))
            exact = cores / (REQUEST_CORES * 0.5)
            assert exact / 1.1 - 0.01 <= max(settled, exact if settled == 2 else 0) <= math.ceil(exact * 1.02) + 1

    virtual(scenario())


def test_load_goes_to_the_maximum_and_back(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """Sustained load reaches the maximum at the pace of the policies; afterwards the window passes, then it returns."""
    behavior = {"scaleDown": {"stabilizationWindowSeconds": 20}}

    async def scenario() -> None:
        async with _scaled(make_world, make_deployment, maxReplicas=8, behavior=behavior) as (world, load):
            load.cores = 5.0
            await world.until(lambda: _wanted(world) == 8, timeout_s=20.0)
            assert _condition(world, "ScalingLimited") == ("True", "TooManyReplicas")
            await world.until(lambda: _ready_pods(world) == 8)
            load.cores = 0.0
            ended = _now()
            await world.stays(lambda: _wanted(world) == 8, for_s=19.0)
            assert _condition(world, "AbleToScale") == ("True", "ScaleDownStabilized")
            await world.until(lambda: _wanted(world) == 2, timeout_s=ended + 60.0 - _now())
            await world.until(lambda: _ready_pods(world) == 2)
            await world.until(lambda: _condition(world, "AbleToScale") == ("True", "ReadyForNewScale"))
            title = "cpu resource utilization (percentage of request)"
            told = {f"New size: 6; reason: {title} above target", "New size: 2; reason: All metrics below target"}
            await world.until(lambda: told <= {each["message"] for each in world.list(EVENTS)}, timeout_s=1.0)

    virtual(scenario())


def test_the_status_is_written_seldom(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """Under a load that only wobbles, the HPA is written every ten seconds at most."""

    async def scenario() -> None:
        async with _scaled(make_world, make_deployment) as (world, load):
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
        async with _scaled(make_world, make_deployment) as (world, _):
            await world.edit(DEPLOYMENTS, "web", lambda obj: obj["spec"].update(replicas=0))
            await world.until(lambda: _condition(world, "ScalingActive") == ("False", "ScalingDisabled"))
            await world.stays(lambda: _wanted(world) == 0, for_s=5.0)
            await world.edit(DEPLOYMENTS, "web", lambda obj: obj["spec"].update(replicas=1))
            await world.until(lambda: _wanted(world) == 2, timeout_s=1.0)

    virtual(scenario())


def test_a_changed_bound_is_acted_upon_at_once(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """Raising the minimum takes effect with the edit, not with the next sample."""

    async def scenario() -> None:
        async with _scaled(make_world, make_deployment) as (world, _):
            await world.edit(HORIZONTAL_POD_AUTOSCALERS, "web", lambda obj: obj["spec"].update(minReplicas=4))
            await world.until(lambda: _wanted(world) == 4, timeout_s=0.1)

    virtual(scenario())


def test_two_autoscalers_on_one_target_do_nothing(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """Both say that the target is ambiguous, and neither touches it."""

    async def scenario() -> None:
        async with _scaled(make_world, make_deployment) as (world, load):
            await world.create(HORIZONTAL_POD_AUTOSCALERS, _autoscaler() | {"metadata": {"name": "rival"}})
            await world.until(lambda: _condition(world, "ScalingActive") == ("False", "AmbiguousSelector"))
            load.cores = 5.0
            await world.stays(lambda: _wanted(world) == 2, for_s=10.0)

    virtual(scenario())


def test_a_metric_without_a_source_says_so(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """An External metric is accepted, reported as not available, and never scales anything down."""
    target = {"type": "AverageValue", "averageValue": "10"}
    metric = {"type": "External", "external": {"metric": {"name": "queue"}, "target": target}}

    async def scenario() -> None:
        async with _scaled(make_world, make_deployment, metrics=[metric]) as (world, _):
            await world.until(lambda: _condition(world, "ScalingActive") == ("False", "FailedGetExternalMetric"))
            await world.until(lambda: "FailedGetExternalMetric" in world.reasons())
            condition = get_condition(world.need(HORIZONTAL_POD_AUTOSCALERS, "web"), "ScalingActive") or {}
            assert "failed to get queue external metric value: no pod offers queue" in condition["message"]

    virtual(scenario())


def test_a_missing_target_says_so_and_is_found_when_it_comes(
    virtual: Virtual, make_world: Make, make_deployment: Make
) -> None:
    """An HPA that is made before its Deployment waits for it, with a reason."""
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "late"}

    async def scenario() -> None:
        async with _scaled(make_world, make_deployment, scaleTargetRef=reference) as (world, _):
            await world.until(lambda: _condition(world, "AbleToScale") == ("False", "FailedGetScale"))
            await world.create(DEPLOYMENTS, make_deployment("late", replicas=1))
            await world.until(lambda: _wanted(world, "late") == 2, timeout_s=0.1)
            assert _condition(world, "AbleToScale")[0] == "True"

    virtual(scenario())
