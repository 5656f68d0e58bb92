"""Eviction of real pods on this machine's own figures: thresholds are set relative to what is there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flotilla.api.objects import KubeObject
from nodeagent.disk.filesystems import filesystem_of
from nodeagent.disk.meter import DiskMeter
from nodeagent.metrics.machine import memory_bytes, process_counts
from nodeagent.metrics.sampler import Sampler, TrackedContainer
from nodeagent.node_view import NodeView
from nodeagent.pod_worker import PodWorker
from nodeagent.pressure.evictor import Evictor
from nodeagent.pressure.storage_watch import StorageWatch
from nodeagent.pressure.thresholds import EvictionSettings, parse_settings
from nodeagent.volumes.fields import NodeResources
from nodeagent.volumes.volumes import Volumes
from tests.directories import passable_directory
from tests.integration.agent_lab import Bench, Node, is_ready, main_status, pod_of, running_bench

pytestmark = pytest.mark.root

MIB = 1 << 20
SAMPLE_PERIOD_S = 0.1


@dataclass
class Keeper:
    """A node that looks after its pods once ``watch`` has been called."""

    bench: Bench
    node: Node
    sampler: Sampler
    workers: list[PodWorker] = field(default_factory=list)
    conditions: list[dict[str, str]] = field(default_factory=list)
    image_rounds: list[float] = field(default_factory=list)
    evictor: Evictor | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def watch(self, settings: EvictionSettings, **more: Any) -> None:
        """Begin to sample, evict and look at bounds on disk."""
        meter = DiskMeter()
        view = NodeView(
            self.bench.directory / "data",
            workers=lambda: self.workers,
            newest=lambda: self.sampler.newest,
            recent=lambda: self.sampler.recent,
            starter=self.node.context.starter,
            pod_cgroup=self.bench.cgroups.known_path,
        )
        self.evictor = Evictor(
            settings,
            view,
            meter,
            node_name="n1",
            memory_bytes=_machine_bytes(),
            remove_images=lambda: self.image_rounds.append(time.time()),
            conditions_changed=lambda found: self.conditions.append({each["type"]: each["status"] for each in found}),
            events=self.node.reports.event,
            **more,
        )
        work = (self._sample(), self.evictor.run(), StorageWatch(view, meter, events=self.node.reports.event).run())
        self.tasks += [asyncio.get_running_loop().create_task(each) for each in work]

    async def _sample(self) -> None:
        assert self.evictor is not None
        while True:
            self.sampler.track(_tracked(self.node, self.workers))
            self.evictor.sampled(self.sampler.sample(now_unix_s=time.time()).machine)
            await asyncio.sleep(SAMPLE_PERIOD_S)

    def add(self, pod: KubeObject) -> PodWorker:
        """Take a pod as the agent's worker does."""
        worker = PodWorker(pod, self.node.context)
        if self.evictor is not None and (why := self.evictor.refusal(pod)):
            worker.refuse("Evicted", why)
        self.node.tasks.append(asyncio.get_running_loop().create_task(worker.run()))
        self.workers.append(worker)
        return worker

    async def ready(self, *workers: PodWorker) -> None:
        await self.node.reports.until(lambda: all(map(is_ready, workers)))

    async def evicted(self, worker: PodWorker) -> str:
        """The message of a pod that the node has ended and let go of."""
        await self.node.reports.until(lambda: worker.status.get("phase") == "Failed" and worker.released)
        assert worker.status["reason"] == "Evicted"
        assert "Evicted" in self.reasons()
        return str(worker.status["message"])

    def reasons(self) -> list[str]:
        return [event.reason for event in self.node.reports.events]


def _machine_bytes() -> int:
    return memory_bytes(Path("/proc/meminfo").read_text())["MemTotal"]


def _tracked(node: Node, workers: list[PodWorker]) -> list[TrackedContainer]:
    found = []
    for worker in workers:
        for name, state in worker.state.containers.items():
            run = state.record.run
            if run is not None and run.live:
                uid = worker.pod["metadata"]["uid"]
                path = node.context.cgroups.container_path(uid, run.id)
                found.append(TrackedContainer("default", uid, uid, name, run.id, run.image, path, run.started_unix_s))
    return found


@pytest.fixture
async def keeper() -> AsyncIterator[Keeper]:
    with passable_directory() as directory:
        async with running_bench(directory) as bench:
            volumes = Volumes(directory / "data/pods", files_dir=directory / "files", node=NodeResources(1000, 1 << 30))
            made = Keeper(bench, bench.node(volumes=volumes), Sampler(bench.cgroups.layout))
            yield made
            for task in made.tasks:
                task.cancel()
            await asyncio.gather(*made.tasks, return_exceptions=True)
            made.sampler.close()


def _holding(name: str, megabytes: int, *, priority: int = 0, request: str = "") -> KubeObject:
    """A pod that holds so much memory in a directory of its own."""
    script = f"head -c {megabytes * MIB} /dev/zero > /held/file; sleep 1000"
    resources = {"requests": {"memory": request}} if request else {}
    spec = {"priority": priority, "volumes": [{"name": "held", "emptyDir": {"medium": "Memory"}}]}
    mounts = [{"name": "held", "mountPath": "/held"}]
    return pod_of(script, name=name, spec=spec, resources=resources, volumeMounts=mounts)


def _all_pods_have(keeper: Keeper, megabytes: int) -> dict[str, Any]:
    """Bounds what all pods use together: the machine's own memory is others' too."""
    return {"pods_memory_bytes": megabytes * MIB, "all_pods": keeper.bench.cgroups.reader_of_all}


async def test_memory_is_taken_from_those_beyond_their_request(keeper: Keeper) -> None:
    """Of three pods the one beyond its request is killed at once; conditions, events and status tell why."""
    keeper.watch(parse_settings(hard="memory.available<80Mi", transition_s=0.5), **_all_pods_have(keeper, 200))
    modest = keeper.add(_holding("modest", 10, request="64Mi"))
    critical = keeper.add(_holding("critical", 15, priority=2_000_000_000))
    await keeper.ready(modest, critical)
    hog = keeper.add(_holding("hog", 110, request="10Mi"))
    message = await keeper.evicted(hog)
    assert message.startswith("The node was low on resource: memory. Threshold quantity: 80Mi, available: ")
    assert "Container main was using " in message
    assert ", request is 10Mi, has larger consumption of memory. " in message
    conditions = {each["type"]: each for each in hog.status["conditions"]}
    assert conditions["DisruptionTarget"]["reason"] == "TerminationByKubelet"
    assert main_status(hog)["state"]["terminated"]["exitCode"] == 137
    assert keeper.conditions[0] == {"MemoryPressure": "True", "DiskPressure": "False", "PIDPressure": "False"}
    assert keeper.reasons().count("EvictionThresholdMet") == 1
    assert "NodeHasInsufficientMemory" in keeper.reasons()
    await keeper.node.reports.until(lambda: keeper.conditions[-1]["MemoryPressure"] == "False")
    assert all(is_ready(each) for each in (modest, critical))
    assert keeper.image_rounds == []


async def test_soft_threshold_gives_grace(keeper: Keeper) -> None:
    """A soft threshold evicts only after its grace period, and gives the pod time to end by itself."""
    worker = keeper.add(pod_of("trap 'exit 7' TERM; echo > /tmp/set; while :; do sleep 0.1; done", name="polite"))
    await keeper.ready(worker)
    began_s = time.monotonic()
    soft = f"memory.available<{_machine_bytes()}"
    keeper.watch(parse_settings(hard="", soft=soft, soft_grace="memory.available=1s", maximum_grace_s=5))
    await keeper.evicted(worker)
    assert time.monotonic() - began_s >= 1
    assert main_status(worker)["state"]["terminated"]["exitCode"] == 7


async def test_pods_without_requests_are_refused_under_memory_pressure(keeper: Keeper) -> None:
    """While memory is short a pod that requests nothing fails at once with the reason, and one that does runs."""
    keeper.watch(parse_settings(hard="memory.available<80Mi"), **_all_pods_have(keeper, 150))
    await keeper.evicted(keeper.add(_holding("hog", 90)))
    refused = keeper.add(pod_of("sleep 1000", name="effort"))
    assert await keeper.evicted(refused) == "The node had condition: [MemoryPressure]. "
    await keeper.ready(keeper.add(pod_of("sleep 1000", name="asking", resources={"requests": {"cpu": "1m"}})))


async def test_process_ids_are_taken_from_those_with_most(keeper: Keeper) -> None:
    """When process ids run out, the pod with most processes among those of the lowest priority has to go first."""
    forks = "for i in $(seq 40); do sleep 1000 & done; wait"
    important = keeper.add(pod_of(forks, name="important", spec={"priority": 100}))
    few, many = keeper.add(pod_of("sleep 1000", name="few")), keeper.add(pod_of(forks, name="many"))
    await keeper.ready(important, few, many)
    await keeper.node.reports.until(lambda: min(_processes(keeper, each) for each in (important, many)) > 40)
    running, most = process_counts()
    # Met until the 41 processes of one pod have gone.
    keeper.watch(parse_settings(hard=f"pid.available<{most - running + 15}"))
    message = await keeper.evicted(many)
    assert message.startswith("The node was low on resource: pids. Threshold quantity: ")
    assert "NodeHasInsufficientPID" in keeper.reasons()
    assert is_ready(important)


def _processes(keeper: Keeper, worker: PodWorker) -> int:
    return keeper.bench.cgroups.read_stats(keeper.bench.cgroups.pod_path(worker.pod["metadata"]["uid"])).pids


async def test_ended_containers_and_images_go_before_pods(keeper: Keeper) -> None:
    """For want of disk, what ended containers wrote and unused images go first; then the pod with most on the disk."""
    leaving = [{"name": "init", "image": "busybox", "command": ["sh", "-c", "head -c 5242880 /dev/urandom > /file"]}]
    small = keeper.add(pod_of("sleep 1000", name="small", spec={"initContainers": leaving}))
    large = keeper.add(pod_of("head -c 9437184 /dev/urandom > /file; sleep 1000", name="large"))
    await keeper.ready(small, large)
    run = small.state.container("init").record.run
    assert run is not None
    layer = keeper.node.context.starter.rootfs(run.id) / "upper/file"
    assert layer.exists()
    data = filesystem_of(keeper.bench.directory)
    keeper.watch(parse_settings(hard=f"nodefs.available<{data.capacity_bytes}", transition_s=0))
    message = await keeper.evicted(large)
    assert message.startswith("The node was low on resource: ephemeral-storage. Threshold quantity: ")
    assert "request is 0, has larger consumption of ephemeral-storage. " in message
    assert not layer.exists()
    assert len(keeper.image_rounds) == 1
    assert keeper.conditions[0]["DiskPressure"] == "True"
    refused = keeper.add(pod_of("sleep 1000", name="late", resources={"requests": {"cpu": "1m"}}))
    assert await keeper.evicted(refused) == "The node had condition: [DiskPressure]. "


@pytest.mark.parametrize("part", ["directory", "layer", "logs"])
async def test_own_bounds_on_disk(keeper: Keeper, part: str) -> None:
    """A pod that writes more than its limits say, wherever, is evicted in the kubelet's words; its neighbour is not."""
    scripts = {
        "directory": "head -c 3145728 /dev/urandom > /scratch/file; sleep 1000",
        "layer": "head -c 3145728 /dev/urandom > /file; sleep 1000",
        "logs": "head -c 3145728 /dev/zero | tr '\\0' 'x' | fold; sleep 1000",
    }
    bounded = part != "directory"
    words = 'Usage of EmptyDir volume "scratch" exceeds the limit "1Mi". '
    if bounded:
        words = "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. "
    spec = {"volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "1Mi"}}]}
    more = {
        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
        "resources": {"limits": {"ephemeral-storage": "2Mi"}} if bounded else {},
    }
    keeper.watch(parse_settings(hard=""))
    neighbour = keeper.add(pod_of("sleep 1000", name="modest", spec=spec, **more))
    await keeper.ready(neighbour)
    hog = keeper.add(pod_of(scripts[part], name="hog", spec=spec, **more))
    assert await keeper.evicted(hog) == words
    assert "DisruptionTarget" not in {each["type"] for each in hog.status["conditions"]}
    assert is_ready(neighbour)
