"""What a node looks after slowly: its own condition and memory, its images on disk, its standing network rules.

None of it lies in the way of anything a user waits for.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from flotilla.api.objects import KubeObject
from nodeagent.images.store import ImageStore
from nodeagent.node_facts import IMAGES_SHOWN, conditions

logger = logging.getLogger(__name__)

PERIOD_S = 10.0
IMAGE_CHECK_EVERY = 6
DISK_HIGH = 0.85
DISK_LOW = 0.80
_libc = ctypes.CDLL(None)


class NodeNetwork(Protocol):
    """The part of the network that belongs to the node itself."""

    def ensure_bridge(self) -> None: ...


def image_list(images: ImageStore) -> list[KubeObject]:
    """``status.images`` of the node: the largest images with their names."""
    found = sorted(images.list(), key=lambda image: -image.size_bytes)[:IMAGES_SHOWN]
    return [{"names": list(image.references), "sizeBytes": image.size_bytes} for image in found if image.references]


def tidy_memory() -> None:
    """Free what pods have left behind in reference cycles (a cancelled task group is one), and give it to the kernel.

    The agent makes few objects that last, so the collector by itself would come round once in some hundred pods, at
    ten times the cost: what was there at the start is frozen, and a collection takes a few milliseconds.
    """
    gc.collect()
    _libc.malloc_trim(0)


class Housekeeping:
    """Rounds every ten seconds. ``report`` gets the parts of the node's status that have changed."""

    def __init__(
        self,
        data_dir: Path,
        *,
        images: ImageStore,
        in_use: Callable[[], set[str]],
        network: Callable[[], NodeNetwork | None],
        report: Callable[[KubeObject], None],
    ) -> None:
        self._data_dir, self._images, self._in_use = data_dir, images, in_use
        self._network, self._report = network, report
        self._reported: KubeObject = {}

    async def run(self) -> None:
        """Work until cancelled."""
        rounds = 0
        while True:
            try:
                await self._round(thorough=rounds % IMAGE_CHECK_EVERY == 0)
            except Exception:
                logger.exception("housekeeping_failed")
            rounds += 1
            await asyncio.sleep(PERIOD_S)

    async def _round(self, *, thorough: bool) -> None:
        keep = self._in_use()
        status = await asyncio.to_thread(self._look, keep, thorough=thorough)
        changed = {name: value for name, value in status.items() if self._reported.get(name) != value}
        if changed:
            self._reported |= changed
            self._report(changed)

    def _look(self, keep: set[str], *, thorough: bool) -> KubeObject:
        status: KubeObject = {"conditions": conditions(self._data_dir)}
        if thorough:
            tidy_memory()
            self._free_disk(keep)
            status["images"] = image_list(self._images)
            network = self._network()
            if network is not None:
                network.ensure_bridge()
        return status

    def _free_disk(self, keep: set[str]) -> None:
        usage = shutil.disk_usage(self._data_dir)
        if usage.used < usage.total * DISK_HIGH:
            return
        report = self._images.prune(keep=keep, free_bytes=int(usage.used - usage.total * DISK_LOW))
        logger.info("images_pruned", extra={"count": len(report.references), "freed_bytes": report.freed_bytes})
