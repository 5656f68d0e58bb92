"""What a node looks after slowly."""

from __future__ import annotations

import asyncio
import gc
import weakref
from pathlib import Path

from flotilla.api.objects import KubeObject
from nodeagent.housekeeping import Housekeeping
from nodeagent.images.disk import DiskThresholds
from nodeagent.images.store import ImageStore


class _Knot:
    def __init__(self) -> None:
        self.itself = self


async def test_a_round_frees_what_holds_itself(tmp_path: Path) -> None:
    """What ended pods leave in reference cycles goes though the collector's own thresholds are far away."""
    reported: asyncio.Queue[KubeObject] = asyncio.Queue()
    housekeeping = Housekeeping(
        tmp_path,
        images=ImageStore(tmp_path / "images"),
        in_use=set,
        network=lambda: None,
        report=reported.put_nowait,
        warn=lambda complaint: None,
        thresholds=DiskThresholds(),
    )
    gc.disable()
    try:
        left_behind = weakref.ref(_Knot())
        assert left_behind() is not None
        rounds = asyncio.create_task(housekeeping.run())
        async with asyncio.timeout(10):
            status = await reported.get()
        rounds.cancel()
        assert left_behind() is None
    finally:
        gc.enable()
    assert "images" in status
