"""Which pods end when, before a machine goes down, and how that is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from flotilla.api.objects import KubeObject
from nodeagent.node_shutdown import NodeShutdown, Period, ShutdownRequest, group_of, periods_of, total_s

PERIODS: list[Period] = [(0, 20.0), (1000, 5.0), (2_000_000_000, 10.0)]


@pytest.mark.parametrize(
    ("spec", "group"),
    [
        ({}, 0),
        ({"priority": -5}, 0),
        ({"priority": 999}, 0),
        ({"priority": 1000}, 1),
        ({"priority": 2_000_000_000}, 2),
        ({"priority": 2_000_001_000}, 2),
        ({"priorityClassName": "system-node-critical"}, 2),
    ],
)
def test_a_pod_belongs_to_the_group_of_its_priority(spec: dict[str, object], group: int) -> None:
    """A group begins at its priority and ends below the next; what is below the first belongs to it."""
    assert group_of({"spec": spec}, PERIODS) == group


def test_time_for_critical_pods_is_a_part_of_the_whole() -> None:
    """As shutdownGracePeriodCriticalPods is of shutdownGracePeriod."""
    periods = periods_of(30.0, 10.0)
    assert periods == [(0, 20.0), (2_000_000_000, 10.0)]
    assert total_s(periods) == 30.0


class Pods:
    """A node's pods, which end when they are told to."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[Sequence[Period]] = asyncio.Queue()
        self.resumed, self.may_end = asyncio.Event(), asyncio.Event()

    async def shut_down(self, periods: Sequence[Period]) -> None:
        self.asked.put_nowait(periods)
        await self.may_end.wait()

    def resume(self) -> None:
        self.resumed.set()


async def test_a_request_is_carried_out_withdrawn_and_repeated(tmp_path: Path) -> None:
    """The file starts it, done is noted at its end, and without the file the node is ready and takes pods again."""
    request, pods, said = ShutdownRequest(tmp_path), Pods(), list[KubeObject | None]()
    watching = asyncio.create_task(NodeShutdown(request, pods, unready=said.append).run())
    try:
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
            request.write(PERIODS)
            assert await pods.asked.get() == PERIODS
            assert [(each or {})["status"] for each in said] == ["False"]
            request.withdraw()
            await pods.resumed.wait()
            assert said[-1] is None
            pods.may_end.set()
            request.write(PERIODS[:1])
            assert await pods.asked.get() == PERIODS[:1]
            await asyncio.sleep(0)
        assert request.done
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_a_request_from_before_the_agent_counts(tmp_path: Path) -> None:
    """An agent that is started again while its machine goes down goes on with it; an unreadable request is none."""
    request = ShutdownRequest(tmp_path)
    request.write(PERIODS)
    assert ShutdownRequest(tmp_path).read() == PERIODS
    (tmp_path / "shutdown" / "request.json").write_text("{")
    assert request.read() is None
