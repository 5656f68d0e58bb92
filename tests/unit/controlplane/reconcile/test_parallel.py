"""Many writes are brought to their end, a few at a time."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.reconcile.parallel import AT_ONCE, settle, settle_or_raise


class Writes:
    """Writes that take a round of the loop; every tenth fails."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0

    async def write(self, number: int) -> int:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        if number % 10 == 0:
            raise ValueError(number)
        return number


async def test_all_end_in_order_and_few_run_at_once() -> None:
    """Outcomes stand in the order of the writes, and never more than the bound run together."""
    writes = Writes()
    outcomes = await settle(writes.write(number) for number in range(200))
    assert [outcome.args[0] if isinstance(outcome, ValueError) else outcome for outcome in outcomes] == [*range(200)]
    assert writes.most == AT_ONCE


async def test_failures_come_together() -> None:
    """One group of all failures, once every write has ended."""
    writes = Writes()
    with pytest.raises(BaseExceptionGroup) as caught:
        await settle_or_raise([writes.write(number) for number in range(100)])
    assert len(caught.value.exceptions) == 10
    assert writes.running == 0


async def test_what_has_not_begun_is_dropped_when_cancelled() -> None:
    """A reconciler that is stopped leaves no write behind that nobody awaits."""
    writes = Writes()
    task = asyncio.create_task(settle([writes.write(number) for number in range(AT_ONCE * 3)]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert writes.running <= AT_ONCE
