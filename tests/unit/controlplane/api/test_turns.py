"""Long work takes turns."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.api.turns import Breather


async def test_one_slice_has_a_turn_in_each_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much long work there is, a round of the loop holds one slice of it, and the works alternate."""
    monkeypatch.setattr("controlplane.api.turns.SLICE_S", -1.0)
    log: list[str] = []

    async def work(name: str) -> None:
        breather = Breather()
        for _ in range(5):
            log.append(name)
            await breather.breathe()

    def round_() -> None:
        log.append("|")
        if not all(task.done() for task in tasks):
            asyncio.get_running_loop().call_soon(round_)

    tasks = [asyncio.create_task(work(name)) for name in "abc"]
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(round_)
    await asyncio.gather(*tasks)
    slices = [part for part in "".join(log[3:]).split("|") if part]
    assert all(len(part) == 1 for part in slices)
    assert "".join(slices) == "abc" * 4


async def test_short_work_does_not_wait() -> None:
    """Who is done within a slice never gives up the loop."""
    other = asyncio.create_task(asyncio.sleep(0))
    await Breather().breathe()
    assert not other.done()
    await other


async def test_a_cancelled_work_does_not_hold_up_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that is given up while it waits for its turn leaves the turn to the next."""
    monkeypatch.setattr("controlplane.api.turns.SLICE_S", -1.0)
    first, second = (asyncio.create_task(Breather().breathe()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    async with asyncio.timeout(5):
        await second
    assert first.cancelled()
