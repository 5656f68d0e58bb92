"""A thousand autoscalers and ten thousand pods' samples a second in one process: what that costs, and how late it is.

    python -m tests.benchmarks.many_autoscalers [--autoscalers 1000] [--pods 10] [--nodes 100] [--seconds 20]

The autoscaler runs as the server runs it, on an in-memory store. Every node's samples arrive once a second, spread over
the second; all workloads are on their target, a few go to one and a half times of it each second. The average over five
seconds leaves the tolerance a second after that; latency is from the change of load to the write of the replica count.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections import deque
from contextlib import closing

import numpy as np
import uvloop

from controlplane.api.operations import Operations
from controlplane.autoscaler import build_autoscaler
from controlplane.autoscaler.figures import Figures
from controlplane.reconcile.clock import utc_now
from controlplane.reconcile.events import EventRecorder
from controlplane.store.cache import Cache, CacheEvent
from controlplane.store.memory import MemoryStore
from flotilla.api.objects import KubeObject, format_time, uid_of
from flotilla.api.registry import REGISTRY
from flotilla.api.resources import DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS, NAMESPACES, PODS
from protos import dispatcher_pb2 as pb

NAMESPACE = "benchmark"
REQUEST_CORES = 0.1
ON_TARGET, OVER = 0.05, 0.075
CROSSING_A_SECOND = 10
SETTLED_S = 12.0
LAST_S = 6.0


class World:
    """All objects, and the CPU that each workload's pods use now."""

    def __init__(self, autoscalers: int, pods: int, nodes: int) -> None:
        self.store = MemoryStore()
        self.cache = Cache(self.store, REGISTRY.all())
        self.operations = Operations(self.store, self.cache)
        self.figures = Figures()
        self.count, self.pods, self.nodes = autoscalers, pods, nodes
        self.cores = np.full(autoscalers, ON_TARGET)
        self.changed_s: dict[str, float] = {}
        self.latencies_s: deque[float] = deque()
        self.status_writes = 0
        self.second = 0
        self._keys: list[list[pb.ContainerKey]] = [[] for _ in range(nodes)]
        self._owners: list[list[int]] = [[] for _ in range(nodes)]
        self._used: list[np.ndarray[tuple[int], np.dtype[np.float64]]] = []
        self._begun = time.time() - 600

    async def create(self) -> None:
        """Every Deployment with its pods, ready for ten minutes, and an autoscaler."""
        await self.operations.create(NAMESPACES, {"metadata": {"name": NAMESPACE}}, manager="benchmark")
        for number in range(self.count):
            await self._create_workload(number)
        self._used = [np.zeros(len(keys)) for keys in self._keys]

    async def _create_workload(self, number: int) -> None:
        name = f"web-{number}"
        resources = {"requests": {"cpu": "100m"}, "limits": {"cpu": "500m"}}
        spec = {"containers": [{"name": "app", "image": "app:1", "resources": resources}]}
        labels = {"app": name}
        template = {"metadata": {"labels": labels}, "spec": spec}
        body: KubeObject = {
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"replicas": self.pods, "selector": {"matchLabels": labels}, "template": template},
        }
        owner = await self.operations.create(DEPLOYMENTS, body, manager="benchmark")
        reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": uid_of(owner)}
        for index in range(self.pods):
            node = (number * self.pods + index) % self.nodes
            await self._create_pod(f"{name}-{index}", node, number, labels, spec, reference)
        metric = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}
        metric["resource"]["target"]["averageUtilization"] = 50  # type: ignore[index]
        scaler: KubeObject = {
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                "minReplicas": 1,
                "maxReplicas": 100,
                "metrics": [metric],
            },
        }
        await self.operations.create(HORIZONTAL_POD_AUTOSCALERS, scaler, manager="benchmark")

    async def _create_pod(
        self, name: str, node: int, number: int, labels: KubeObject, spec: KubeObject, owner: KubeObject
    ) -> None:
        metadata = {"name": name, "namespace": NAMESPACE, "labels": labels, "ownerReferences": [owner]}
        pod: KubeObject = {"metadata": metadata, "spec": {**spec, "nodeName": f"node-{node}"}}
        stored = await self.operations.create(PODS, pod, manager="benchmark")
        started = format_time(utc_now().replace(year=2025))
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": started}

        def change(obj: KubeObject) -> KubeObject:
            return {**obj, "status": {"phase": "Running", "startTime": started, "conditions": [ready]}}

        await self.operations.mutate(PODS, NAMESPACE, name, change, manager="benchmark", subresource="status")
        key = pb.ContainerKey(namespace=NAMESPACE, pod=name, pod_uid=uid_of(stored), container="app")
        self._keys[node].append(key)
        self._owners[node].append(number)

    def note(self, event: CacheEvent) -> None:
        """Measure the way of a change of load to a change of replicas."""
        if event.entry.resource is HORIZONTAL_POD_AUTOSCALERS:
            self.status_writes += 1
        if event.entry.resource is DEPLOYMENTS and (since := self.changed_s.pop(event.entry.name, None)) is not None:
            self.latencies_s.append(time.monotonic() - since)

    def sample(self, node: int) -> None:
        """One node's round."""
        owners, used = np.array(self._owners[node]), self._used[node]
        used += self.cores[owners]
        size = len(used)
        round_ = pb.Samples(
            time_unix_s=self._begun + self.second + node / self.nodes,
            containers=self._keys[node] if self.second == 0 else [],
            generation=1,
            cpu_usage_ns=(used * 1e9).astype("<u8").tobytes(),
            cpu_throttled_ns=np.zeros(size, "<u8").tobytes(),
            memory_working_set_bytes=np.full(size, 1 << 20, "<u8").tobytes(),
            start_time_unix_s=np.full(size, self._begun - 600.0).tobytes(),
        )
        self.figures.samples.ingest(f"node-{node}", round_)


async def _feed(world: World, seconds: int, *, crossing: bool) -> float:
    """Let seconds pass; returns the CPU seconds of this process."""
    before, began = time.process_time(), time.monotonic()
    crossed = iter(range(0, world.count, max(1, world.count // max(1, CROSSING_A_SECOND * seconds))))
    for second in range(seconds):
        for node in range(world.nodes):
            due = began + second + node / world.nodes
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            world.sample(node)
        world.second += 1
        for _ in range(CROSSING_A_SECOND if crossing else 0):
            if (number := next(crossed, None)) is not None:
                world.cores[number] = OVER
                world.changed_s[f"web-{number}"] = time.monotonic()
    return time.process_time() - before


async def measure(options: argparse.Namespace) -> None:
    """Print one line a figure."""
    world = World(options.autoscalers, options.pods, options.nodes)
    recorder = EventRecorder(world.operations, world.cache, component="benchmark")
    autoscaler = build_autoscaler(world.cache, world.operations, recorder, world.figures)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(world.cache.run())]
        await world.cache.wait_synced()
        await world.create()
        await world.cache.barrier()
        tasks += [group.create_task(recorder.run()), group.create_task(autoscaler.run())]
        tasks.append(group.create_task(_follow(world)))
        idle_s = await _feed(world, int(SETTLED_S), crossing=False)
        world.status_writes = 0
        busy_s = await _feed(world, options.seconds, crossing=True)
        await _feed(world, int(LAST_S), crossing=False)
        for task in tasks:
            task.cancel()
    samples = options.autoscalers * options.pods
    print(f"{options.autoscalers} autoscalers, {samples} pods' samples a second from {options.nodes} nodes")
    print(f"{'CPU of the whole process, steady load':<52} {100 * idle_s / SETTLED_S:6.1f} % of a core")
    print(f"{'CPU with ' + str(CROSSING_A_SECOND) + ' scale-ups a second':<52} {100 * busy_s / options.seconds:6.1f} %")
    print(f"{'writes of autoscalers a second':<52} {world.status_writes / options.seconds:6.1f}        <= 100")
    latencies = sorted(world.latencies_s)
    if latencies:
        worst = latencies[int(len(latencies) * 0.99)]
        print(f"{'load changed to replicas written, median':<52} {statistics.median(latencies) * 1000:6.0f} ms")
        print(f"{'load changed to replicas written, 99th percentile':<52} {worst * 1000:6.0f} ms")
    print(f"{'changes not answered':<52} {len(world.changed_s):6}")


async def _follow(world: World) -> None:
    with closing(world.cache.subscribe((DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS))) as subscription:
        while True:
            for event in await subscription.batch():
                world.note(event)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--autoscalers", type=int, default=1000)
    parser.add_argument("--pods", type=int, default=10, help="for each autoscaler")
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=20)
    uvloop.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
