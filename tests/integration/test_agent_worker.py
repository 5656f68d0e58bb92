"""From assignments to pods, on a real runtime."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from flotilla.api.objects import KubeObject, encode
from nodeagent.assigned import PODS, Assignments, Held, Moment, ObjectKey
from nodeagent.pod_context import PodContext
from nodeagent.service_sync import ServiceSync
from nodeagent.static_pods.mirrors import Mirrors
from nodeagent.upward import Uplink
from nodeagent.worker import Worker
from tests.directories import passable_directory
from tests.integration.agent_lab import DEADLINE_S, Bench, deleted, is_ready, pod_of, running_bench

pytestmark = pytest.mark.root


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.chdir(tmp_path)
    with passable_directory() as directory:
        async with running_bench(directory) as bench:
            yield bench


def worker_of(bench: Bench, context: PodContext, assignments: Assignments) -> Worker:
    zone_path = bench.directory / "zone.json"
    services = ServiceSync(assignments, zone_path=zone_path, executor=context.executor)
    mirrors = Mirrors(Uplink(), context.report)
    return Worker(assignments, context, services, allocatable={"cpu": 2000, "memory": 1 << 30}, mirrors=mirrors)


async def test_an_end_is_told_again_to_a_server_that_deletes_later(bench: Bench) -> None:
    """A server that did not take an ended pod back, because nobody had deleted it yet, hears of the end once more."""
    node = bench.node()
    assignments = Assignments()
    agent = worker_of(bench, node.context, assignments)
    pod, key = pod_of("sleep 1000"), ObjectKey(PODS, "default", "web")
    node.tasks.append(asyncio.create_task(agent.run()))

    def assign(revision: int, pods: dict[ObjectKey, Held]) -> None:
        agent.applied(assignments.replace(pods, Moment("history", revision), confirmed=True))
        agent.let_go()

    await asyncio.sleep(0)
    assign(1, {key: Held(1, encode(pod))})
    await node.reports.until(lambda: agent.pods() and is_ready(agent.pods()[0]))
    assign(2, {})
    await node.reports.until(lambda: "uid-web" in node.reports.terminated and not agent.pods())
    node.reports.terminated.clear()
    assign(3, {key: Held(3, encode(pod))})
    assert not agent.pods() and not node.reports.terminated
    assign(4, {key: Held(4, encode(deleted(pod)))})
    assert node.reports.terminated == {"uid-web"}


async def test_a_pod_that_is_only_in_the_checkpoint_waits(bench: Bench) -> None:
    """It may have ended right before the agent died, so it begins once a server has said that it is still assigned."""
    node = bench.node()
    pods = {ObjectKey(PODS, "default", "web"): Held(1, encode(pod_of("sleep 1000")))}
    assignments = Assignments.restored(Moment("history", 1), pods)
    agent = worker_of(bench, node.context, assignments)
    node.tasks.append(asyncio.create_task(agent.run()))
    await asyncio.sleep(0)
    assert not agent.pods()
    agent.applied(assignments.replace(pods, Moment("history", 1), confirmed=True))
    agent.let_go()
    await node.reports.until(lambda: is_ready(agent.pods()[0]))


async def test_a_failing_pod_can_be_cancelled(bench: Bench) -> None:
    """An agent that is told to stop while a pod's worker fails stops, instead of beginning the worker anew."""
    node = bench.node()
    failed: list[asyncio.Task[None]] = []

    def cancel_and_fail(pod: KubeObject, status: KubeObject, *, terminated: bool) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        failed.append(task)
        raise RuntimeError("the worker's own defect")

    assignments = Assignments()
    agent = worker_of(bench, replace(node.context, report=cancel_and_fail), assignments)
    node.tasks.append(asyncio.create_task(agent.run()))
    await asyncio.sleep(0)
    pods = {ObjectKey(PODS, "default", "web"): Held(1, encode(pod_of("true")))}
    agent.applied(assignments.replace(pods, Moment("h", 1), confirmed=True))
    await node.reports.until(lambda: failed)
    await asyncio.wait({failed[0]}, timeout=DEADLINE_S)
    assert failed[0].cancelled() and len(failed) == 1
