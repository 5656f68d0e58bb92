"""What must be the same with either OCI runtime, and what holds when a node's runtime is changed."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from nodeagent.runtime.runtimes import RuntimeName
from tests.directories import passable_directory
from tests.integration.agent_lab import (
    Bench,
    deleted,
    is_ready,
    main_status,
    pid_of,
    pod_of,
    running_bench,
    shell,
)
from tests.integration.test_user_namespaces import with_volumes

pytestmark = pytest.mark.root

_MS_PRIVATE = 1 << 18


@pytest.fixture(params=["runc", "crun"])
def runtime(request: pytest.FixtureRequest) -> RuntimeName:
    name: RuntimeName = request.param
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    return name


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    with passable_directory() as directory:
        monkeypatch.chdir(directory)
        async with running_bench(directory) as bench:
            yield bench


@pytest.fixture
def tmpfs() -> Iterator[Path]:
    """A directory of the machine's with a mount of its own, which nothing propagates."""
    libc = ctypes.CDLL(None, use_errno=True)
    with passable_directory() as directory:
        assert libc.mount(b"none", os.fsencode(directory), b"tmpfs", 0, None) == 0
        assert libc.mount(None, os.fsencode(directory), None, _MS_PRIVATE, None) == 0
        yield directory


def other(runtime: RuntimeName) -> RuntimeName:
    return "crun" if runtime == "runc" else "runc"


async def test_a_pod_with_everything(bench: Bench, runtime: RuntimeName) -> None:
    """A pod with its own users, a volume, limits and another user runs, is resized, killed for memory, and goes."""
    node, _ = with_volumes(bench, runtime=runtime)
    spec = {"volumes": [{"name": "config", "configMap": {"name": "settings"}}, {"name": "plain", "emptyDir": {}}]}
    mounts = [{"name": "config", "mountPath": "/config"}, {"name": "plain", "mountPath": "/plain", "subPath": "a"}]
    limits = {"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"cpu": "200m", "memory": "32Mi"}}
    pod = pod_of("sleep 1000", spec=spec, volumeMounts=mounts, resources=limits, securityContext={"runAsUser": 1234})
    worker = node.add(pod)
    await node.reports.until(lambda: is_ready(worker))
    assert main_status(worker)["containerID"].startswith(f"{runtime}://")
    assert await shell(node, worker, "id -u; cat /config/color; echo said >/dev/stdout") == "1234\nredsaid\n"
    assert (await shell(node, worker, "echo x >/config/no")).endswith(": Read-only file system\n")
    first = await shell(node, worker, "head -c 60000000 /dev/zero | tail; echo after")
    assert first == "" or "after" not in first
    await node.reports.until(lambda: main_status(worker)["restartCount"] == 1 and is_ready(worker))
    assert main_status(worker)["lastState"]["terminated"]["reason"] == "OOMKilled"
    worker.update(deleted(worker.pod, 1))
    await node.reports.until(lambda: worker.over)
    assert not node.containers.known()


async def test_a_pod_is_in_its_cgroup(bench: Bench, runtime: RuntimeName) -> None:
    """A container is in its cgroup in every hierarchy that limits or counts, cgroup2's of a hybrid machine included."""
    node = bench.node(runtime=runtime)
    worker = node.add(pod_of("sleep 1000"))
    await node.reports.until(lambda: is_ready(worker))
    run = worker.state.container("main").record.run
    assert run is not None
    path = bench.cgroups.container_path("uid-web", run.id)
    lines = (line.strip().split(":", 2) for line in _text(f"/proc/{pid_of(node, worker)}/cgroup").splitlines())
    found = {name: place for _, names, place in lines for name in names.split(",")}
    wanted = set(bench.cgroups.layout.mounts) - {"unified"} | {""}
    assert {name: place for name, place in found.items() if name in wanted} == dict.fromkeys(
        found.keys() & wanted, path
    )


async def test_a_changed_runtime_keeps_what_runs(bench: Bench, runtime: RuntimeName) -> None:
    """An agent with the other runtime adopts, enters and removes containers, and makes new ones with its own."""
    node = bench.node(runtime=runtime)
    worker = node.add(pod_of("echo made >/first; sleep 1000"))
    await node.reports.until(lambda: is_ready(worker))
    pid = pid_of(node, worker)
    await node.stop()
    second = bench.node(runtime=other(runtime))
    [adopted] = second.resume()
    await second.reports.until(lambda: is_ready(adopted))
    assert pid_of(second, adopted) == pid
    assert await shell(second, adopted, "cat /first") == "made\n"
    os.kill(pid, signal.SIGKILL)
    await second.reports.until(lambda: main_status(adopted)["restartCount"] == 1 and is_ready(adopted))
    assert second.containers.runtimes.default.name == other(runtime)
    run = adopted.state.container("main").record.run
    assert run is not None
    assert second.containers.runtimes.of(run.id).name == other(runtime)
    assert await shell(second, adopted, "cat /first") == "made\n"
    adopted.update(deleted(adopted.pod, 0))
    await second.reports.until(lambda: adopted.over)
    assert not second.containers.known()


async def test_mounts_of_the_machine_that_came_later(bench: Bench, runtime: RuntimeName, tmpfs: Path) -> None:
    """A hostPath shows what the machine has mounted since the agent was started, wherever programs are started."""
    node, _ = with_volumes(bench, runtime=runtime)
    before = _text("/proc/self/mountinfo")
    later = tmpfs / "later"
    later.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mount(b"none", os.fsencode(later), b"tmpfs", 0, None) == 0
    (later / "file").write_text("seen")
    spec = {"volumes": [{"name": "node", "hostPath": {"path": str(later)}}]}
    worker = node.add(pod_of("sleep 1000", spec=spec, volumeMounts=[{"name": "node", "mountPath": "/node"}]))
    await node.reports.until(lambda: is_ready(worker))
    assert await shell(node, worker, "cat /node/file") == "seen"
    assert [
        line for line in before.splitlines() if "cgroup" in line and line not in _text("/proc/self/mountinfo")
    ] == []


def _text(path: str) -> str:
    return Path(path).read_text()


async def test_an_unknown_program_is_explained(bench: Bench, runtime: RuntimeName) -> None:
    """A program that is not there ends the run with 127, and the runtime's own sentence says so."""
    node = bench.node(runtime=runtime)
    worker = node.add(pod_of("", command=["no-such-program"]))
    async with asyncio.timeout(10):
        await node.reports.until(lambda: main_status(worker)["restartCount"] > 0)
    ended = main_status(worker)["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (127, "StartError")
    assert "no-such-program" in ended["message"]
