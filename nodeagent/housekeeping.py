"""What a node looks after slowly: its own memory, its images on disk, its standing network rules.

None of it lies in the way of anything a user waits for.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from flotilla.api.objects import KubeObject
from nodeagent.images.disk import Complaint, DiskThresholds, keep_room
from nodeagent.images.store import ImageStore
from nodeagent.node_facts import IMAGES_SHOWN

logger = logging.getLogger(__name__)

PERIOD_S = 10.0
IMAGE_CHECK_EVERY = 6
NAMES_SHOWN = 5
_libc = ctypes.CDLL(None)


class NodeNetwork(Protocol):
    """The part of the network that belongs to the node itself."""

    def ensure_bridge(self) -> None: ...


def image_list(images: ImageStore) -> list[KubeObject]:
    """``status.images`` of the node: the largest images with their names, digests first, as the kubelet lists them."""
    named = [(image, [*image.repo_digests, *image.references][:NAMES_SHOWN]) for image in images.images()]
    found = sorted((pair for pair in named if pair[1]), key=lambda pair: -pair[0].size_bytes)[:IMAGES_SHOWN]
    return [{"names": names, "sizeBytes": image.size_bytes} for image, names in found]


def tidy_memory() -> None:
    """Free what pods have left behind in reference cycles (a cancelled task group is one), and give it to the kernel.

    The agent makes few objects that last, so the collector by itself would come round once in some hundred pods, at
    ten times the cost: what was there at the start is frozen, and a collection takes a few milliseconds.
    """
    gc.collect()
    _libc.malloc_trim(0)


class Housekeeping:
    """Rounds every ten seconds. ``report`` gets what has changed of the node's status, ``warn`` complaints."""

    def __init__(
        self,
        data_dir: Path,
        *,
        images: ImageStore,
        in_use: Callable[[], set[str]],
        network: Callable[[], NodeNetwork | None],
        report: Callable[[KubeObject], None],
        warn: Callable[[Complaint], None],
        thresholds: DiskThresholds,
    ) -> None:
        self._data_dir, self._images, self._in_use = data_dir, images, in_use
        self._network, self._report = network, report
        self._warn, self._thresholds = warn, thresholds
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
        needed = self._in_use()
        status = await asyncio.to_thread(self._look, thorough=thorough)
        complaint = await asyncio.to_thread(self._keep_room, needed) if thorough else None
        if thorough:
            status["images"] = await asyncio.to_thread(image_list, self._images)
        if complaint is not None:
            logger.warning("disk_not_freed", extra={"reason": complaint.reason, "complaint": complaint.message})
            self._warn(complaint)
        changed = {name: value for name, value in status.items() if self._reported.get(name) != value}
        if changed:
            self._reported |= changed
            self._report(changed)

    def _look(self, *, thorough: bool) -> KubeObject:
        status: KubeObject = {}
        if thorough:
            tidy_memory()
            network = self._network()
            if network is not None:
                network.ensure_bridge()
        return status

    def _keep_room(self, needed: set[str]) -> Complaint | None:
        try:
            self._images.hold(needed)
            return keep_room(self._images, self._data_dir, self._thresholds)
        except OSError as error:
            return Complaint("ImageGCFailed", f"failed to garbage collect images: {error}")
