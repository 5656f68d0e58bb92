"""Who starts when many want to."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from nodeagent.pacing import IdleShare, StartPacer


def _pod(uid: str, *, priority: int = 0, paced: bool = True) -> dict[str, Any]:
    annotations = {"flotilla.dev/start-pacing": "true"} if paced else {}
    return {"metadata": {"name": uid, "uid": uid, "annotations": annotations}, "spec": {"priority": priority}}


class Herd:
    """Pods that ask; ``may`` are those that may start, ``wait`` those that were told to wait, in order."""

    def __init__(self, **options: Any) -> None:
        self.pacer = StartPacer(**{"cores": 2, "idle": lambda: 0.0, **options})
        self.may: list[str] = []
        self.wait: list[str] = []

    def ask(self, uid: str, **traits: Any) -> bool:
        return self.pacer.may_start(_pod(uid, **traits), lambda waits: (self.wait if waits else self.may).append(uid))


async def test_who_has_not_asked_never_waits() -> None:
    """Without the annotation a pod starts at once, however many are starting."""
    herd = Herd()
    assert [herd.ask(f"paced-{number}") for number in range(3)] == [False] * 3
    assert herd.ask("other", paced=False)


async def test_as_many_start_as_there_are_cores() -> None:
    """Two of five; each that gets ready, or ends, lets one more start; nobody is told twice."""
    herd = Herd()
    for uid in "abcde":
        herd.ask(uid)
    await asyncio.sleep(0)
    assert (herd.may, herd.wait) == (["a", "b"], ["c", "d", "e"])
    assert herd.ask("a")
    assert not herd.ask("c")
    herd.pacer.settled("a")
    herd.pacer.settled("a")
    assert herd.may == ["a", "b", "c"]
    herd.pacer.settled("d")
    herd.pacer.settled("b")
    assert herd.may == ["a", "b", "c", "e"]
    herd.pacer.settled("c")
    herd.pacer.settled("e")


async def test_the_highest_priority_goes_first() -> None:
    """Of those that ask in the same moment, and of those that wait."""
    herd = Herd(cores=1)
    for uid, priority in (("low", 0), ("high", 1000), ("middle", 10)):
        herd.ask(uid, priority=priority)
    await asyncio.sleep(0)
    assert herd.may == ["high"]
    herd.pacer.settled("high")
    herd.pacer.settled("middle")
    assert herd.may == ["high", "middle", "low"]


@pytest.mark.parametrize("idle", [0.5, 0.1])
async def test_more_start_while_there_is_cpu_to_spare(idle: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that is not busy takes more each time it looks; a busy one does not."""
    monkeypatch.setattr("nodeagent.pacing.LOOK_EVERY_S", 0.01)
    looks = asyncio.Event()
    seen: list[float] = []

    def look() -> float:
        seen.append(idle)
        if len(seen) > 4:
            looks.set()
        return idle

    herd = Herd(idle=look)
    for uid in "abcdefghi":
        herd.ask(uid)
    async with asyncio.timeout(20):
        await looks.wait()
    assert (len(herd.may) > 2) == (idle >= 0.2)
    for uid in "abcdefghi":
        herd.pacer.settled(uid)


async def test_who_never_gets_ready_gives_up_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pods that hang must not keep all others from starting."""
    monkeypatch.setattr("nodeagent.pacing.LOOK_EVERY_S", 0.01)
    monkeypatch.setattr("nodeagent.pacing.HOLD_S", 0.02)
    herd, begun = Herd(), asyncio.Event()
    for uid in "abcd":
        herd.ask(uid)
    herd.pacer.may_start(_pod("e"), lambda waits: None if waits else begun.set())
    async with asyncio.timeout(20):
        await begun.wait()
    assert herd.may == ["a", "b", "c", "d"]


def test_the_idle_share_is_that_since_the_last_call(tmp_path: Path) -> None:
    """Idle and waiting for disks count as idle."""
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1\n", encoding="ascii")
    idle = IdleShare(stat)
    assert idle() == pytest.approx(0.8)
    stat.write_text("cpu  180 0 100 710 110 0 0 0 0 0\ncpu0 1\n", encoding="ascii")
    assert idle() == pytest.approx(0.2)
