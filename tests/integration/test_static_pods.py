"""Static pods on a real runtime, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flotilla.api.objects import KubeObject, annotations_of, encode, uid_of
from nodeagent.assigned import PODS, Assignments, Held, Moment, ObjectKey
from nodeagent.pod_worker import PodWorker
from nodeagent.service_sync import ServiceSync
from nodeagent.static_pods.directory import ManifestDirectory
from nodeagent.static_pods.mirrors import Mirrors
from nodeagent.worker import Worker
from tests.directories import passable_directory
from tests.integration.agent_lab import Bench, Node, deleted, is_ready, pid_of, running_bench, shell

pytestmark = pytest.mark.root


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.chdir(tmp_path)
    with passable_directory() as directory:
        async with running_bench(directory) as bench:
            yield bench


@dataclass
class StaticNode:
    """The pod side of a node ``n1`` with a directory of manifests; ``offered`` is what a server was last told."""

    node: Node
    path: Path
    assignments: Assignments = field(default_factory=Assignments)
    offered: list[KubeObject] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        directory = ManifestDirectory(self.path, node="n1", changed=self._changed, warn=self.faults.append)
        context = self.node.context
        self.mirrors = Mirrors(self, self.node.reports.status)
        services = ServiceSync(self.assignments, zone_path=self.path / "../zone.json", executor=context.executor)
        self.worker = Worker(
            self.assignments,
            context,
            services,
            allocatable={"cpu": 2000, "memory": 1 << 30},
            mirrors=self.mirrors,
            static=directory,
        )
        self.node.tasks += [asyncio.create_task(self.worker.run()), asyncio.create_task(directory.run())]

    def _changed(self) -> None:
        self.worker.static_changed()

    def mirrors_wanted(self, pods: list[KubeObject]) -> None:
        self.offered = pods
        self.node.reports.changed.set()

    def write(self, name: str, script: str) -> None:
        staged = self.path / f".{name}"
        staged.write_text(
            f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 1\n"
            f"  containers: [{{name: main, image: busybox, command: [sh, -c, '{script}'], imagePullPolicy: Never}}]\n"
        )
        staged.rename(self.path / f"{name}.yaml")

    async def ready(self, name: str, *, other_than: str = "") -> PodWorker:
        def found() -> list[PodWorker]:
            named = [each for each in self.worker.pods() if each.pod["metadata"]["name"] == name]
            return [each for each in named if is_ready(each) and uid_of(each.pod) != other_than]

        await self.node.reports.until(found)
        return found()[0]

    def assign(self, revision: int, *pods: KubeObject) -> None:
        """What a server assigns: the mirrors, as it has stored them."""
        held = {ObjectKey(PODS, "default", pod["metadata"]["name"]): Held(revision, encode(pod)) for pod in pods}
        self.worker.applied(self.assignments.replace(held, Moment("h", revision), confirmed=True))
        self.worker.let_go()


def stored(mirror: KubeObject, uid: str) -> KubeObject:
    return {**mirror, "metadata": {**mirror["metadata"], "uid": uid}}


def static_node(bench: Bench, **arguments: Any) -> StaticNode:
    path = bench.directory / "manifests"
    path.mkdir(exist_ok=True)
    return StaticNode(bench.node(**arguments), path)


async def test_manifests_run_without_a_server(bench: Bench) -> None:
    """Files that come, change and go are pods that come, are replaced, one after the other, and go."""
    static = static_node(bench)
    static.write("web", "echo one > /tmp/is; sleep 1000")
    first = await static.ready("web-n1")
    assert await shell(static.node, first, "cat /tmp/is") == "one\n"
    static.write("web", "echo two > /tmp/is; sleep 1000")
    second = await static.ready("web-n1", other_than=uid_of(first.pod))
    assert first.over
    assert await shell(static.node, second, "cat /tmp/is") == "two\n"
    static.write("bad", "true")
    await static.ready("web-n1")
    (static.path / "web.yaml").write_text("kind: [")
    await static.node.reports.until(lambda: static.faults)
    assert not second.over and "web.yaml" in static.faults[0]
    (static.path / "web.yaml").unlink()
    await static.node.reports.until(lambda: second.over)


async def test_static_pods_outlive_the_agent(bench: Bench) -> None:
    """An agent that starts again finds the same container running; one without the directory ends its pods."""
    static = static_node(bench)
    static.write("web", "sleep 1000")
    before = pid_of(static.node, await static.ready("web-n1"))
    await static.node.stop()
    again = static_node(bench)
    worker = await again.ready("web-n1")
    await again.node.reports.until(lambda: again.offered)
    assert pid_of(again.node, worker) == before
    await again.node.stop()
    (again.path / "web.yaml").rename(again.path / ".web.yaml")
    last = static_node(bench)
    await last.node.reports.until(lambda: last.worker.pods() == [])


async def test_a_server_never_ends_a_static_pod(bench: Bench) -> None:
    """Assignments that lack it, its mirror's deletion and its mirror's absence leave the container as it is."""
    static = static_node(bench)
    static.write("web", "sleep 1000")
    worker = await static.ready("web-n1")
    before = pid_of(static.node, worker)
    static.assign(1)
    await static.node.reports.until(lambda: static.offered)
    mirror = static.offered[0]
    assert annotations_of(mirror)["kubernetes.io/config.mirror"] == uid_of(worker.pod)
    static.assign(2, stored(mirror, "mirror-1"))
    reports = static.node.reports
    assert reports.statuses["mirror-1"][-1]["phase"] == "Running"
    assert static.worker.pod("mirror-1") is worker
    assert [each.pod_uid for each in static.worker.running()] == ["mirror-1"]
    static.assign(3, deleted(stored(mirror, "mirror-1"), grace_s=30))
    assert "mirror-1" in reports.terminated
    static.offered = []
    static.assign(4)
    await reports.until(lambda: static.offered == [mirror])
    static.assign(5, stored(mirror, "mirror-2"))
    assert reports.statuses["mirror-2"][-1]["phase"] == "Running"
    assert pid_of(static.node, worker) == before and is_ready(worker)
    assert uid_of(worker.pod) not in reports.statuses
