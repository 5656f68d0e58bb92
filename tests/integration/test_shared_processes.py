"""Containers that see each other's processes, and pods that see the node's, on a real runtime."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nodeagent.pod_worker import PodWorker
from nodeagent.runtime.processes import identify
from tests.directories import passable_directory
from tests.integration.agent_lab import Bench, Node, deleted, is_ready, pid_of, pod_of, running_bench, shell

pytestmark = pytest.mark.root

OTHER = {"name": "other", "image": "busybox", "command": ["sleep", "2222"]}


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    with passable_directory() as directory:
        monkeypatch.chdir(directory)
        async with running_bench(directory) as bench:
            yield bench


def sharing(script: str = "sleep 1111", *, name: str = "web", **spec: Any) -> dict[str, Any]:
    pod = pod_of(script, name=name, spec={"shareProcessNamespace": True, **spec})
    pod["spec"]["containers"].append(OTHER)
    return pod


async def ready(node: Node, pod: dict[str, Any]) -> PodWorker:
    worker = node.add(pod)
    await node.reports.until(lambda: is_ready(worker))
    return worker


def first_process(bench: Bench, name: str = "web") -> int:
    return int((bench.directory / f"run/pods/uid-{name}/first-process").read_text().split()[0])


def text_of(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


def namespace_of_node(kind: str) -> str:
    return str(Path(f"/proc/self/ns/{kind}").readlink())


def zombies_below(bench: Bench, name: str = "web") -> list[str]:
    """Dead processes whose parent is the pod's first process."""
    states = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == first_process(bench, name):
            states.append(fields[0])
    return [state for state in states if state == "Z"]


@pytest.mark.parametrize("host_users", [False, True])
async def test_containers_see_and_signal_each_other(bench: Bench, host_users: bool) -> None:
    """One process namespace, with users of the pod's own or the node's; each container keeps its own files."""
    node = bench.node()
    worker = await ready(node, sharing(hostUsers=host_users or None))
    shown = await shell(node, worker, "ps -o pid,args")
    assert {"sleep 1111", "sleep 2222", "pause"} <= {line.split(None, 1)[1] for line in shown.splitlines()}
    assert [line.split()[1] for line in shown.splitlines() if line.split()[0] == "1"] == ["pause"]
    await shell(node, worker, "kill -KILL $(ps -o pid,args | grep '[s]leep 2222' | awk '{print $1}')")
    await node.reports.until(lambda: worker.state.container("other").record.last is not None)
    assert worker.state.container("main").record.last is None


async def test_the_first_process_gives_nothing_away(bench: Bench) -> None:
    """Its file system is empty and read-only, its user nobody's, its capabilities none; nobody inside can end it."""
    node = bench.node()
    worker = await ready(node, sharing(hostUsers=True))
    status = text_of(f"/proc/{first_process(bench)}/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    assert fields["Uid"].split() == ["65535"] * 4
    assert (int(fields["CapEff"], 16), fields["NoNewPrivs"], fields["Seccomp"]) == (0, "1", "2")
    assert os.listdir(f"/proc/{first_process(bench)}/root") == ["pause"]
    assert (await shell(node, worker, "kill -KILL 1; echo $?")).strip() == "0"
    assert "denied" in await shell(node, worker, "ls /proc/1/root/ 2>&1; true")
    assert identify(first_process(bench)).alive


async def test_orphans_are_buried(bench: Bench) -> None:
    """Processes whose parent ended leave no zombies, though the pod's programs never wait for them."""
    node = bench.node()
    worker = await ready(node, sharing())
    await shell(node, worker, "for i in 1 2 3 4 5; do (sleep 0.05 & ) ; done; sleep 0.3")
    assert not zombies_below(bench)


async def test_a_container_takes_its_processes_along(bench: Bench) -> None:
    """A container that ends leaves none of its processes to the others, though the namespace lives on."""
    node = bench.node()
    worker = await ready(node, sharing("sleep 3333 & sleep 4444 & wait"))
    os.kill(pid_of(node, worker), signal.SIGKILL)
    await node.reports.until(lambda: worker.state.container("main").record.last is not None and is_ready(worker))
    shown = await shell(node, worker, "ps -o args", container="other")
    assert sorted(line for line in shown.splitlines() if line.startswith("sleep")) == [
        "sleep 2222",
        "sleep 3333",
        "sleep 4444",
    ]


async def test_the_namespace_outlives_the_agent_but_not_the_pod(bench: Bench) -> None:
    """A restarted agent starts containers in the same namespace, makes a lost one anew, and leaves nothing."""
    pod = sharing()
    node = bench.node()
    await ready(node, pod)
    first = first_process(bench)
    await node.stop()
    again = bench.node()
    (worker,) = again.resume()
    os.kill(pid_of(again, worker), signal.SIGKILL)
    await again.reports.until(lambda: worker.state.container("main").record.last is not None and is_ready(worker))
    assert first_process(bench) == first
    os.kill(first, signal.SIGKILL)
    await again.reports.until(
        lambda: (
            all(worker.state.container(each).record.last is not None for each in ("main", "other")) and is_ready(worker)
        )
    )
    second = first_process(bench)
    process = identify(second)
    assert second != first and "sleep 2222" in await shell(again, worker, "ps -o args")
    worker.update(deleted(pod, grace_s=0))
    await again.reports.until(lambda: "uid-web" in again.reports.terminated)
    assert not process.alive


async def test_an_ephemeral_container_joins_the_pods_processes(bench: Bench) -> None:
    """Whatever its target, a debugger of such a pod sees all of its processes."""
    node = bench.node()
    pod = sharing()
    worker = await ready(node, pod)
    debugger = {"name": "debug", "image": "busybox", "command": ["sleep", "5555"], "targetContainerName": "main"}
    worker.update({**pod, "spec": {**pod["spec"], "ephemeralContainers": [debugger]}})
    await node.reports.until(lambda: worker.state.container("debug").live)
    assert {"sleep 1111", "sleep 2222", "sleep 5555"} <= set(
        (await shell(node, worker, "ps -o args", container="debug")).splitlines()
    )


async def test_the_nodes_namespaces_by_demand(bench: Bench) -> None:
    """hostPID, hostIPC and hostNetwork are the node's own; without them a pod has others."""
    node = bench.node()
    plain = await ready(node, pod_of("sleep 1000", name="plain"))
    spec = {"hostPID": True, "hostIPC": True, "hostNetwork": True}
    host = await ready(node, pod_of("sleep 1000", name="host", spec=spec))
    for kind in ("pid", "ipc", "net"):
        own = namespace_of_node(kind)
        assert (await shell(node, host, f"readlink /proc/self/ns/{kind}")).strip() == own
        assert (await shell(node, plain, f"readlink /proc/self/ns/{kind}")).strip() != own


async def test_a_process_made_while_the_agent_died_is_found(bench: Bench) -> None:
    """The first process is noted by who makes it: the next agent uses it, and it ends with its pod."""
    pod = sharing()
    node = bench.node()
    worker = await ready(node, pod)
    made = identify(first_process(bench))
    await node.stop()
    sandbox = worker.state.sandbox
    assert sandbox is not None
    again = bench.node()
    namespace = again.context.sandboxes.process_namespace(pod, sandbox)
    assert namespace == Path(f"/proc/{made.pid}/ns/pid")
    again.context.sandboxes.remove_files("uid-web")
    assert not made.alive
