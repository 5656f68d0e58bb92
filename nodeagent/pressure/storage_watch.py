"""Evicting pods that exceed their own bounds on disk.

Only pods that have bounds are measured, and of these only those that have run since; a round that took long is followed
by a pause in proportion, so that measuring never takes more than a fiftieth of a core.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

from nodeagent.disk.meter import DiskMeter
from nodeagent.disk.places import is_bounded
from nodeagent.node_view import NodeView
from nodeagent.pod_events import EventSink
from nodeagent.pressure.evictor import evict
from nodeagent.pressure.ranking import is_critical
from nodeagent.pressure.storage import excess

logger = logging.getLogger(__name__)

PERIOD_S = 2.0
PAUSE_PER_COST = 50


class StorageWatch:
    """For the agent's loop."""

    def __init__(self, view: NodeView, meter: DiskMeter, *, events: EventSink) -> None:
        self._view, self._meter, self._events = view, meter, events

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            began_s = time.monotonic()
            try:
                walked = await self._round()
            except Exception:
                logger.exception("disk_usage_not_checked")
                walked = False
            cost_s = time.monotonic() - began_s if walked else 0.0
            await asyncio.sleep(max(PERIOD_S, PAUSE_PER_COST * cost_s))

    async def _round(self) -> bool:
        """Measure and evict; whether there was anything to measure."""
        self._meter.keep(self._view.uids())
        pods = [pod for pod in self._view.pods(_is_watched) if pod.active]
        await self._meter.measure([pod.places for pod in pods])
        for pod in pods:
            disk = self._meter.disk(pod.uid)
            text = excess(pod.pod["spec"], disk) if disk is not None else ""
            if text and pod.active:
                evict(pod.worker, text, self._events)
                logger.warning("pod_evicted", extra={"pod_uid": pod.uid, "why": text})
        return bool(pods)


def _is_watched(pod: Mapping[str, Any]) -> bool:
    return is_bounded(pod["spec"]) and not is_critical(pod)
