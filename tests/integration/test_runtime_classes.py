"""Pods of RuntimeClasses, each with the runtime of its handler."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flotilla.api.objects import KubeObject
from nodeagent.runtime.runtimes import Handler, find_runtimes
from nodeagent.runtime_classes import RuntimeHandlers
from tests.directories import passable_directory
from tests.integration.agent_lab import Bench, Node, deleted, is_ready, pid_of, pod_of, running_bench, shell

pytestmark = pytest.mark.root


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    with passable_directory() as directory:
        monkeypatch.chdir(directory)
        async with running_bench(directory) as bench:
            yield bench


def classed_node(bench: Bench, classes: dict[str, KubeObject]) -> Node:
    """A node with a handler ``sandboxed`` of its own, beside what is installed."""
    program = shutil.which("runc") or shutil.which("crun") or ""
    handler = Handler("sandboxed", program, ("--log-format=json",))
    node = bench.node()
    found = find_runtimes(
        bench.cgroups.layout, bench.directory / "run", directories=(bench.directory,), handlers=[handler]
    )
    node.containers.runtimes.close()
    node.containers.runtimes = found
    found.open()
    node.context.sandboxes.use_handlers(RuntimeHandlers(classes.get, found.handlers))
    return node


def runtime_class(handler: str) -> KubeObject:
    return {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "c"}, "handler": handler}


async def test_a_pod_runs_with_its_classs_runtime(bench: Bench) -> None:
    """Create, exec, restart and end go to the handler's program, with its options, also under another agent."""
    classes = {"fast": runtime_class("sandboxed")}
    node = classed_node(bench, classes)
    pod = pod_of("sleep 1000", spec={"runtimeClassName": "fast"})
    worker = node.add(pod)
    await node.reports.until(lambda: is_ready(worker))
    states = bench.directory / "run/handlers/sandboxed"
    run = worker.state.container("main").record.run
    assert run is not None and os.listdir(states) == [run.id]
    conmon = run.conmon
    assert conmon is not None
    words = command_line(conmon.pid)
    assert "--log-format=json" in words and str(states) in words
    assert await shell(node, worker, "echo hello") == "hello\n"
    await node.stop()
    again = classed_node(bench, classes)
    (resumed,) = again.resume()
    os.kill(pid_of(again, resumed), signal.SIGKILL)
    await again.reports.until(lambda: resumed.state.container("main").record.last is not None and is_ready(resumed))
    second = resumed.state.container("main").record.run
    assert second is not None and second.id in os.listdir(states)
    resumed.update(deleted(pod, grace_s=0))
    await again.reports.until(lambda: "uid-web" in again.reports.terminated)
    assert not os.listdir(states)


def command_line(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").split("\0")


async def test_a_handler_that_the_node_lacks_is_explained(bench: Bench) -> None:
    """The pod waits, says what is missing and what the node has, and starts once its class is there."""
    classes = {"strong": runtime_class("kata")}
    node = classed_node(bench, classes)
    worker = node.add(pod_of("sleep 1000", spec={"runtimeClassName": "strong"}))
    lost = node.add(pod_of("sleep 1000", name="lost", spec={"runtimeClassName": "nowhere"}))

    def told() -> set[str]:
        return {event.message for event in node.reports.events if event.reason == "FailedCreatePodSandBox"}

    await node.reports.until(lambda: len(told()) == 2)
    complaint, missing = sorted(told(), key=len, reverse=True)
    assert missing == 'RuntimeClass "nowhere" not found'
    assert complaint.startswith('no runtime for handler "kata" of RuntimeClass "strong" is configured on this node')
    assert complaint.endswith("start its agent with --runtime-handler kata=PROGRAM")
    waiting = worker.status["containerStatuses"][0]["state"]["waiting"]
    assert (waiting["reason"], waiting["message"]) == ("ContainerCreating", complaint)
    classes["nowhere"] = runtime_class(node.containers.runtimes.default.name)
    lost.objects_changed()
    await node.reports.until(lambda: is_ready(lost))
