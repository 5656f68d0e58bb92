"""A scaled Deployment in the whole control loop, in virtual time, under a simulated load that its ready pods share.

Nodes sample their containers once a second, each at a moment of its own. A starting pod burns CPU before it is ready.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from controlplane.autoscaler import build_autoscaler
from controlplane.autoscaler.figures import Figures
from controlplane.autoscaler.samples import SampleStore
from controlplane.store.cache import CacheEvent, Entry
from flotilla.api.conditions import get_condition
from flotilla.api.objects import KubeObject, is_deleting
from flotilla.api.resources import DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS, PODS
from flotilla.api.workloads import pod_is_ready
from protos import dispatcher_pb2 as pb
from tests.simulation.conftest import steady_unix_s, wall_clock

if TYPE_CHECKING:
    from tests.simulation.conftest import World

Make = Callable[..., Any]

REQUEST_CORES = 0.1
LIMIT_CORES = 0.5
STARTUP_CORES = 0.4
STEP_S = 0.05


class Load:
    """``cores`` is what the clients of the pods ask for in all.

    Trouble: ``noise`` is by how much of itself a pod's share wobbles from second to second; nodes in ``silent`` send no
    samples, those of others leave out the pods in ``unmeasured``.
    """

    def __init__(self, world: World, samples: SampleStore) -> None:
        self.cores = 0.0
        self.noise = 0.0
        self.silent: set[str] = set()
        self.unmeasured: set[str] = set()
        self.replicas: list[tuple[float, int]] = []
        self._world = world
        self._samples = samples
        self._used: dict[str, float] = {}
        self._started: dict[str, float] = {}
        self._next_round: dict[str, float] = {}
        self._chance = random.Random(1)
        self._wobble: dict[str, float] = {}
        world.on_event = self._note

    @property
    def steps(self) -> list[int]:
        """Each count of replicas that was wanted, in order."""
        return [count for _, count in self.replicas]

    def _note(self, event: CacheEvent) -> None:
        if event.entry.resource is DEPLOYMENTS:
            count = event.entry.obj["spec"]["replicas"]
            if not self.replicas or self.replicas[-1][1] != count:
                self.replicas.append((now(), count))

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
            cores = share * self._wobble.get(pod.uid, 1.0) if pod in serving else STARTUP_CORES
            self._used[pod.uid] = self._used.get(pod.uid, 0.0) + cores * STEP_S

    def _sample(self, node: str, pods: list[Entry], *, phase: float) -> None:
        due = self._next_round.setdefault(node, now() + phase)
        if now() < due:
            return
        self._next_round[node] = due + 1.0
        mine = [pod for pod in pods if pod.node == node and pod.uid not in self.unmeasured]
        self._wobble |= {pod.uid: 1.0 + self._chance.uniform(-self.noise, self.noise) for pod in mine}
        if node in self.silent:
            return
        keys = [pb.ContainerKey(namespace="default", pod=pod.name, pod_uid=pod.uid, container="app") for pod in mine]
        used = np.array([self._used[pod.uid] for pod in mine])
        self._samples.ingest(
            node,
            pb.Samples(
                time_unix_s=steady_unix_s(),
                generation=hash(tuple(pod.uid for pod in mine)) & 0xFFFF,
                containers=keys,
                cpu_usage_ns=(used * 1e9).astype("<u8").tobytes(),
                cpu_throttled_ns=np.zeros(len(mine), "<u8").tobytes(),
                memory_working_set_bytes=np.full(len(mine), 1 << 20, "<u8").tobytes(),
                start_time_unix_s=np.array([self._started[pod.uid] for pod in mine], "<f8").tobytes(),
            ),
        )


@dataclass
class Lab:
    """``load`` works on the pods of the Deployment ``web``, which the autoscaler ``web`` scales."""

    world: World
    load: Load
    samples: SampleStore
    leader: asyncio.Task[None] | None = None

    async def lead(self) -> None:
        """Let another server lead, which knows what is stored and nothing else."""
        await self.depose()
        world, figures = self.world, Figures(self.samples)
        autoscaler = build_autoscaler(world.cache, world.objects, world.recorder, figures, clock=wall_clock)
        self.leader = asyncio.create_task(autoscaler.run())

    async def depose(self) -> None:
        """End what leads."""
        if self.leader is not None:
            self.leader.cancel()
            await asyncio.gather(self.leader, return_exceptions=True)


def now() -> float:
    """Seconds since the simulation began."""
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def scaled(
    make_world: Make, make_deployment: Make, *, replicas: int = 2, cores: float = 0.0, **spec: Any
) -> AsyncIterator[Lab]:
    """So many replicas, of two to twenty, at a target of 50 % of 100m; all run, and have for ten seconds."""
    world: World = _started_pods(make_world())
    samples = SampleStore(clock=steady_unix_s)
    lab = Lab(world, Load(world, samples), samples)
    lab.load.cores = cores
    async with world.running(nodes=3):
        burning = asyncio.create_task(lab.load.run())
        await lab.lead()
        try:
            deployment = make_deployment(replicas=replicas)
            resources = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]
            resources["limits"] = {"cpu": "500m", "memory": "64Mi"}
            await world.create(DEPLOYMENTS, deployment)
            await world.until(lambda: ready_pods(world) == replicas)
            await world.create(HORIZONTAL_POD_AUTOSCALERS, autoscaler_of(**spec))
            await asyncio.sleep(10.0)
            yield lab
        finally:
            await lab.depose()
            burning.cancel()
            await asyncio.gather(burning, return_exceptions=True)


def _started_pods(world: World) -> World:
    """The world, with ``startTime`` in what its nodes report, as agents have it."""
    report = world.report

    async def with_start(pod: KubeObject, status: Any) -> None:
        known = (world.get(PODS, pod["metadata"]["name"]) or pod).get("status") or {}
        start = known.get("startTime") or wall_clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        await report(pod, {"startTime": start, **status})

    world.report = with_start  # type: ignore[method-assign]
    return world


def autoscaler_of(**spec: Any) -> KubeObject:
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


def ready_pods(world: World) -> int:
    """Pods that serve."""
    return sum(pod_is_ready(pod) and not is_deleting(pod) for pod in world.list(PODS))


def wanted(world: World, name: str = "web") -> int:
    """The replicas that a Deployment is to have."""
    deployment = world.get(DEPLOYMENTS, name)
    return int(deployment["spec"]["replicas"]) if deployment is not None else 0


def condition_of(world: World, kind: str) -> tuple[str, str]:
    """Status and reason of a condition."""
    condition = get_condition(world.need(HORIZONTAL_POD_AUTOSCALERS, "web"), kind) or {}
    return condition.get("status", ""), condition.get("reason", "")


def message_of(world: World, kind: str) -> str:
    """What the condition of this type says."""
    condition = get_condition(world.need(HORIZONTAL_POD_AUTOSCALERS, "web"), kind) or {}
    return str(condition.get("message", ""))
