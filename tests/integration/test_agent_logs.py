"""Logs of real containers: which run is meant, following one that restarts, rotation under a writer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator

import pytest

from flotilla.api.errors import ApiError
from nodeagent.log_rotation import rotate_if_large
from nodeagent.logs import LogOptions, read_log
from nodeagent.streams.container_logs import PodRunLogs, select_run
from tests.directories import passable_directory
from tests.integration.agent_lab import DEADLINE_S, Bench, is_ready, main_status, pid_of, pod_of, running_bench

pytestmark = pytest.mark.root


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    with passable_directory() as directory:
        async with running_bench(directory) as bench:
            yield bench


async def test_which_run_is_meant(bench: Bench) -> None:
    """The newest run, or the one before it; an error in the kubelet's words where there is none."""
    node = bench.node()
    worker = node.add(pod_of("echo hello; sleep 1000"))
    with pytest.raises(ApiError, match=r'container "main" in pod "web" is waiting to start: ContainerCreating'):
        select_run(worker, "main", previous=False)
    await node.reports.until(lambda: is_ready(worker))
    assert select_run(worker, "main", previous=False) == 0
    with pytest.raises(ApiError, match='previous terminated container "main" in pod "web" not found'):
        select_run(worker, "main", previous=True)
    with pytest.raises(ApiError, match="container other is not valid for pod web"):
        select_run(worker, "other", previous=False)
    os.kill(pid_of(node, worker), signal.SIGKILL)
    await node.reports.until(lambda: main_status(worker)["restartCount"] == 1)
    assert [select_run(worker, "main", previous=previous) for previous in (False, True)] == [1, 0]


async def test_a_crash_loop_shows_its_last_end(bench: Bench) -> None:
    """While a container waits in back-off, both questions mean the run that has just ended."""
    node = bench.node()
    worker = node.add(pod_of("echo run; exit 1"))
    await node.reports.until(
        lambda: main_status(worker)["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff"
    )
    attempt = main_status(worker)["restartCount"]
    assert [select_run(worker, "main", previous=previous) for previous in (False, True)] == [attempt, attempt]


async def test_a_follower_sees_the_next_run(bench: Bench) -> None:
    """Following goes on across a restart, and ends with the pod."""
    node = bench.node()
    worker = node.add(pod_of("echo run; sleep 1000"))
    await node.reports.until(lambda: is_ready(worker))
    logs = PodRunLogs(worker, "main", node.context.starter)
    received: list[bytes] = []

    async def follow() -> None:
        async for frame in read_log(logs, 0, LogOptions(follow=True)):
            received.append(frame)
            node.reports.changed.set()

    following = asyncio.create_task(follow())
    await node.reports.until(lambda: b"".join(received) == b"run\n")
    os.kill(pid_of(node, worker), signal.SIGKILL)
    await node.reports.until(lambda: b"".join(received) == b"run\nrun\n")
    worker.remove()
    os.kill(pid_of(node, worker), signal.SIGKILL)
    await asyncio.wait_for(following, DEADLINE_S)


async def test_rotation_loses_no_line(bench: Bench) -> None:
    """A log that has outgrown its limit is renamed under the writer, and a follower misses nothing."""
    node = bench.node()
    script = "i=0; while true; do echo $i; i=$((i+1)); sleep 0.01; done"
    worker = node.add(pod_of(script))
    await node.reports.until(lambda: is_ready(worker))
    run = worker.state.container("main").record.run
    assert run is not None
    log = node.context.starter.log_path(worker.pod, "main", 0)
    received = bytearray()

    async def follow() -> None:
        async for frame in read_log(PodRunLogs(worker, "main", node.context.starter), 0, LogOptions(follow=True)):
            received.extend(frame)

    following = asyncio.create_task(follow())
    assert not rotate_if_large(log, run.id, node.containers, limit_bytes=1 << 20)
    await node.reports.until(lambda: rotate_if_large(log, run.id, node.containers, limit_bytes=500))
    await node.reports.until(lambda: log.exists() and log.stat().st_size > 500)
    await node.reports.until(lambda: received.count(b"\n") > 30)
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following
    numbers = [int(line) for line in received.splitlines()]
    assert numbers == list(range(len(numbers)))
