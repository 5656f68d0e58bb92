"""Pods that change while they run: containers added to look into them, requests and limits that grow and shrink."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nodeagent.pod_worker import PodWorker
from nodeagent.runtime.processes import lowest_oom_score
from tests.directories import passable_directory
from tests.integration.agent_lab import Bench, is_ready, main_status, pid_of, pod_of, running_bench

pytestmark = pytest.mark.root


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    with passable_directory() as directory:
        async with running_bench(directory) as bench:
            yield bench


async def test_an_ephemeral_container_sees_its_target(bench: Bench) -> None:
    """A container added to a running pod shares its target's processes, runs once, and has a status of its own."""
    node = bench.node()
    pod = pod_of("sleep 987")
    worker = node.add(pod)
    await node.reports.until(lambda: is_ready(worker))
    command = ["sh", "-c", "ps | grep -c 'sleep 98[7]'; exit 3"]
    debugger = {"name": "debug", "image": "busybox", "command": command, "targetContainerName": "main"}
    worker.update({**pod, "spec": {**pod["spec"], "ephemeralContainers": [debugger]}})

    def state() -> dict[str, Any]:
        statuses = worker.status.get("ephemeralContainerStatuses") or [{"state": {}}]
        found: dict[str, Any] = statuses[0]["state"]
        return found

    await node.reports.until(lambda: state().get("terminated", {}).get("exitCode") == 3)
    log = node.context.starter.log_path(worker.pod, "debug", 0).read_text()
    assert log.split()[-1] == "1"
    assert is_ready(worker)
    assert main_status(worker)["restartCount"] == 0


async def test_resize_in_place(bench: Bench) -> None:
    """A container's new limits are in force without a restart; one below what is in use is refused and told."""
    node = bench.node()
    limits = {"cpu": "200m", "memory": "64Mi"}
    pod = pod_of("dd if=/dev/zero of=/dev/shm/held bs=1M count=20; sleep 1000", resources={"limits": limits})
    worker = node.add(pod)
    await node.reports.until(lambda: is_ready(worker))
    cgroups, run = bench.cgroups, worker.state.container("main").record.run
    assert run is not None
    await node.reports.until(
        lambda: cgroups.read_stats(cgroups.container_path("uid-web", run.id)).memory_usage_bytes > 20 << 20
    )

    def resize(cpu: str, memory: str) -> None:
        container = {**pod["spec"]["containers"][0], "resources": {"limits": {"cpu": cpu, "memory": memory}}}
        worker.update({**pod, "spec": {**pod["spec"], "containers": [container]}})

    def is_shown(cpu: str) -> bool:
        return bool(main_status(worker).get("resources", {}).get("limits", {}).get("cpu") == cpu)

    for cpu, memory, quota, bound in (("400m", "128Mi", 40_000, 128 << 20), ("100m", "32Mi", 10_000, 32 << 20)):
        resize(cpu, memory)
        await node.reports.until(partial(is_shown, cpu))
        assert limits_in_force(bench, run.id) == (quota, bound)
    resize("100m", "4Mi")
    told = "is above the new limit"
    await node.reports.until(lambda: told in conditions(worker).get("PodResizeInProgress", {}).get("message", ""))
    resize("300m", "96Mi")
    await node.reports.until(lambda: "PodResizeInProgress" not in conditions(worker))
    assert limits_in_force(bench, run.id) == (30_000, 96 << 20)
    assert main_status(worker)["restartCount"] == 0


def conditions(worker: PodWorker) -> dict[str, Any]:
    return {each["type"]: each for each in worker.status.get("conditions") or ()}


def limits_in_force(bench: Bench, container_id: str) -> tuple[int, int]:
    """The CPU quota in microseconds and the memory limit in bytes."""
    layout, path = bench.cgroups.layout, bench.cgroups.container_path("uid-web", container_id)
    quota, memory = ("cpu.cfs_quota_us", "memory.limit_in_bytes") if layout.version == 1 else ("cpu.max", "memory.max")
    return (
        int((layout.directory("cpu", path) / quota).read_text().split()[0]),
        int((layout.directory("memory", path) / memory).read_text()),
    )


async def test_a_guaranteed_pod_starts_with_what_the_agent_may_give(bench: Bench) -> None:
    """An agent that may not lower OOM scores gives its own least to pods that should have less."""
    node = bench.node()
    worker = node.add(pod_of("sleep 1000", resources={"limits": {"cpu": "100m", "memory": "64Mi"}}))
    await node.reports.until(lambda: is_ready(worker))
    assert oom_score(pid_of(node, worker)) == max(-997, lowest_oom_score())


def oom_score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())
