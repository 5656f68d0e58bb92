"""Waiting for revisions."""

from __future__ import annotations

import asyncio
import gc

import pytest

from controlplane.store import progress as module
from controlplane.store.progress import Progress


def _waiting() -> int:
    return sum(isinstance(each, module._Waiters) for each in gc.get_objects())


async def test_those_who_wait_in_vain_leave_nothing_behind() -> None:
    """A client may ask for a revision that never comes, and may leave: neither is remembered; others still wait."""
    progress = Progress()
    before = _waiting()
    staying = asyncio.create_task(progress.wait_for(5, timeout_s=60.0))
    leaving = asyncio.create_task(progress.wait_for(2**60, timeout_s=60.0))
    await asyncio.sleep(0)
    leaving.cancel()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await progress.wait_for(2**60, timeout_s=0.001)
    await asyncio.wait({leaving})
    del leaving
    gc.collect()
    assert _waiting() == before + 1
    progress.reach(5)
    await staying
