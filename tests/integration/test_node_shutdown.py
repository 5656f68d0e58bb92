"""A node's pods before its machine goes down, on a real runtime."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flotilla.api.objects import KubeObject, encode
from nodeagent.assigned import PODS, Assignments, Held, Moment, ObjectKey
from nodeagent.node_shutdown import periods_of
from nodeagent.service_sync import ServiceSync
from nodeagent.static_pods.directory import ManifestDirectory
from nodeagent.static_pods.mirrors import Mirrors
from nodeagent.upward import Uplink
from nodeagent.worker import Worker
from tests.directories import passable_directory
from tests.integration.agent_lab import Bench, Node, deleted, is_ready, pod_of, running_bench

pytestmark = pytest.mark.root

CRITICAL = {"priority": 2_000_001_000}


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.chdir(tmp_path)
    with passable_directory() as directory:
        async with running_bench(directory) as bench:
            yield bench


@dataclass
class Shutting:
    """The pod side of a node with pods assigned to it, and a directory of manifests."""

    node: Node
    manifests: Path
    assignments: Assignments = field(default_factory=Assignments)
    revision: int = 0

    def __post_init__(self) -> None:
        context = self.node.context
        self.manifests.mkdir(exist_ok=True)
        static = ManifestDirectory(self.manifests, node="n1", changed=self._changed, warn=print)
        self.worker = Worker(
            self.assignments,
            context,
            ServiceSync(self.assignments, zone_path=self.manifests / "../zone.json", executor=context.executor),
            allocatable={"cpu": 2000, "memory": 1 << 30},
            mirrors=Mirrors(Uplink(), self.node.reports.status),
            static=static,
        )
        self.node.tasks += [asyncio.create_task(self.worker.run()), asyncio.create_task(static.run())]

    def _changed(self) -> None:
        self.worker.static_changed()
        self.node.reports.changed.set()

    def assign(self, *pods: KubeObject) -> None:
        self.revision += 1
        held = {ObjectKey(PODS, "default", pod["metadata"]["name"]): Held(self.revision, encode(pod)) for pod in pods}
        self.worker.applied(self.assignments.replace(held, Moment("h", self.revision), confirmed=True))
        self.worker.let_go()

    async def ready(self, count: int) -> None:
        await self.node.reports.until(lambda: sum(is_ready(each) for each in self.worker.pods()) == count)

    def status(self, name: str) -> KubeObject:
        statuses = self.node.reports.statuses.get(f"uid-{name}") or [{}]
        return statuses[-1]

    def ended_unix_s(self, name: str) -> float:
        worker = self.worker.pod(f"uid-{name}")
        assert worker is not None
        run = worker.state.container("main").record.run
        assert run is not None and run.ended is not None
        return run.ended.finished_unix_s


async def shutting(bench: Bench) -> Shutting:
    node = Shutting(bench.node(), bench.directory / "manifests")
    await asyncio.sleep(0)
    return node


async def test_pods_end_in_the_order_of_their_priority(bench: Bench) -> None:
    """Ordinary pods have their hooks and their part of the time, then critical ones; each says why it ended."""
    node = await shutting(bench)
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo hook > /tmp/hook; sleep 0.3"]}}}
    polite = "trap 'cat /tmp/hook > /dev/termination-log; exit 0' TERM; while :; do sleep 0.05; done"
    stubborn = "trap '' TERM; while :; do sleep 0.05; done"
    node.assign(
        pod_of(polite, name="plain", lifecycle=hook),
        pod_of(stubborn, name="stubborn", spec={"terminationGracePeriodSeconds": 600}),
        pod_of("trap 'exit 0' TERM; while :; do sleep 0.05; done", name="critical", spec=CRITICAL),
        pod_of("true", name="done", spec={"restartPolicy": "Never"}),
    )
    await node.ready(3)
    await node.node.reports.until(lambda: node.status("done").get("phase") == "Succeeded")
    began = time.time()
    await node.worker.shut_down(periods_of(2.5, 1.0))
    assert began + 0.3 <= node.ended_unix_s("plain") < began + 1.4
    assert began + 1.4 <= node.ended_unix_s("stubborn") <= node.ended_unix_s("critical")
    for name in ("plain", "stubborn", "critical"):
        status = node.status(name)
        assert (status["phase"], status["reason"]) == ("Failed", "Terminated")
        assert status["message"] == "Pod was terminated in response to imminent node shutdown."
        (disruption,) = [each for each in status["conditions"] if each["type"] == "DisruptionTarget"]
        assert (disruption["status"], disruption["reason"]) == ("True", "TerminationByKubelet")
    assert node.status("plain")["containerStatuses"][0]["state"]["terminated"]["message"] == "hook\n"
    assert node.status("stubborn")["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137
    assert "reason" not in node.status("done")


async def test_new_pods_are_rejected_meanwhile(bench: Bench) -> None:
    """A pod that comes too late fails at once with the reason, can be deleted, and later ones are taken again."""
    node = await shutting(bench)
    first = pod_of("sleep 1000", name="first", spec={"terminationGracePeriodSeconds": 0})
    node.assign(first)
    await node.ready(1)
    await node.worker.shut_down(periods_of(1.0, 0.5))
    late = pod_of("sleep 1000", name="late")
    node.assign(first, late)
    await node.node.reports.until(lambda: node.status("late").get("phase") == "Failed")
    assert node.status("late")["reason"] == "NodeShutdown"
    assert node.status("late")["message"] == "Pod was rejected as the node is shutting down."
    assert "NodeShutdown" in {event.reason for event in node.node.reports.events}
    node.worker.resume()
    node.assign(first, deleted(late), pod_of("sleep 1000", name="again"))
    await node.ready(1)
    await node.node.reports.until(lambda: "uid-late" in node.node.reports.terminated)
    assert node.status("first")["phase"] == "Failed"


async def test_static_pods_begin_anew_after_a_shutdown(bench: Bench) -> None:
    """A static pod that a shutdown has ended runs again when the node does, also under another agent."""
    node = await shutting(bench)
    spec = "{terminationGracePeriodSeconds: 0, containers: [{name: main, image: busybox, command: [sleep, '1000']}]}"
    (node.manifests / "web.yaml").write_text(f"apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec: {spec}\n")
    await node.ready(1)
    await node.worker.shut_down(periods_of(1.0, 0.5))
    (worker,) = node.worker.pods()
    assert worker.status["reason"] == "Terminated"
    await node.node.stop()
    again = await shutting(bench)
    await again.ready(1)
    await again.worker.shut_down(periods_of(1.0, 0.5))
    again.worker.resume()
    await again.ready(1)


async def test_an_agent_that_just_stops_leaves_pods_alone(bench: Bench) -> None:
    """A restart of the agent is no shutdown: the same container goes on."""
    node = await shutting(bench)
    node.assign(pod_of("sleep 1000"))
    await node.ready(1)
    worker = node.worker.pods()[0]
    await node.node.stop()
    again = await shutting(bench)
    await again.ready(1)
    assert again.worker.pods()[0].state.container("main").record.run == worker.state.container("main").record.run
