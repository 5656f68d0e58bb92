"""Pods that start in turn, on a real runtime."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from nodeagent.pacing import ANNOTATION, WAITS, StartPacer
from nodeagent.pod_worker import PodWorker
from tests.directories import passable_directory
from tests.integration.agent_lab import Bench, deleted, is_ready, main_status, pod_of, running_bench

pytestmark = pytest.mark.root


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.chdir(tmp_path)
    with passable_directory() as directory:
        async with running_bench(directory) as bench:
            yield bench


async def test_the_next_one_starts_when_the_first_is_ready(bench: Bench) -> None:
    """With one place never are two up that are not ready; others say what they wait for; who goes is passed over."""
    node = bench.node()
    node.context = replace(node.context, pacer=StartPacer(cores=1, idle=lambda: 0.0))
    probe = {"exec": {"command": ["test", "-f", "/ok"]}, "periodSeconds": 1}

    def add(number: int, *, priority: int = 0) -> PodWorker:
        pod = pod_of("sleep 0.2; touch /ok; sleep 1000", name=f"web-{number}", readinessProbe=probe)
        pod["metadata"]["annotations"] = {ANNOTATION: "true"}
        pod["spec"] |= {"priority": priority, "terminationGracePeriodSeconds": 0}
        return node.add(pod)

    workers = [add(0), add(1), add(2), add(3, priority=1000)]
    together: list[int] = []

    def done() -> bool:
        starting = [each for each in workers if "running" in main_status(each)["state"] and not is_ready(each)]
        together.append(len(starting))
        return all(is_ready(each) for each in (*workers[:2], workers[3]))

    await node.reports.until(lambda: main_status(workers[2])["state"].get("waiting", {}).get("message") == WAITS)
    workers[2].update(deleted(workers[2].pod, 0))
    await node.reports.until(done)
    assert max(together) == 1
    started = [event.involved["name"] for event in node.reports.events if event.reason == "Started"]
    assert started == ["web-3", "web-0", "web-1"]
    assert {event.involved["name"] for event in node.reports.events if event.reason == "StartPaced"} == {
        "web-0",
        "web-1",
        "web-2",
    }
