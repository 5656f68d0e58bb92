"""Events: what happened to an object, for people to read, written in the background.

Recording costs a few microseconds and never waits: occurrences gather for a moment, are counted together, and go out a
few at a time, so that they don't compete with the writes that bring a pod up. Events are best effort: they outlive
nothing and decide nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from controlplane.reconcile import metrics
from controlplane.reconcile.clock import Clock, utc_now
from controlplane.reconcile.event_correlation import Correlator, Occurrence, event_namespace, new_event
from controlplane.reconcile.failures import Failure, classify
from controlplane.reconcile.objects import Objects
from controlplane.reconcile.parallel import settle
from controlplane.store.cache import Cache
from flotilla.api.errors import ApiError
from flotilla.api.objects import KubeObject, format_time, object_reference
from flotilla.api.resources import EVENTS

logger = logging.getLogger(__name__)

GATHER_S = 0.25
REPEAT_S = 1.0
RETRY_S = 1.0
_AT_ONCE = 4
_MOST_PENDING = 4096

_EventKey = tuple[str, str]


@dataclass(slots=True)
class _Pending:
    occurrence: Occurrence
    message: str
    first: datetime
    last: datetime
    due_s: float
    count: int = 1


class EventRecorder:
    """Counts and writes Events. :meth:`record` works before :meth:`run` does; what it gathers waits."""

    def __init__(self, objects: Objects, cache: Cache, *, component: str, clock: Clock = utc_now) -> None:
        self._objects = objects
        self._cache = cache
        self._component = component
        self._clock = clock
        self._correlator = Correlator()
        self._pending: dict[_EventKey, _Pending] = {}
        self._written_s: OrderedDict[_EventKey, float] = OrderedDict()
        self._wake = asyncio.Event()

    def record(
        self,
        obj_or_reference: Mapping[str, Any],
        type_: str,
        reason: str,
        message: str,
        *,
        component: str = "",
        host: str = "",
    ) -> None:
        """Note that something happened to an object (or to what an ObjectReference names); never blocks or raises.

        ``type_`` is ``Normal`` or ``Warning``; ``component`` defaults to the recorder's.
        """
        about = object_reference(obj_or_reference) if "metadata" in obj_or_reference else obj_or_reference
        occurrence = Occurrence(about, type_, reason, message, component or self._component, host)
        now_s = asyncio.get_running_loop().time()
        name, shown = self._correlator.correlate(occurrence, now_s=now_s)
        self._gather((event_namespace(about), name), occurrence, shown, now_s=now_s)

    def _gather(self, key: _EventKey, occurrence: Occurrence, message: str, *, now_s: float) -> None:
        now = self._clock()
        pending = self._pending.get(key)
        if pending is not None:
            pending.count += 1
            pending.last = now
            pending.message = message
            return
        if len(self._pending) >= _MOST_PENDING:
            metrics.EVENTS.labels("dropped").inc()
            return
        due_s = max(now_s + GATHER_S, self._written_s.get(key, 0.0) + REPEAT_S)
        self._pending[key] = _Pending(occurrence, message, now, now, due_s)
        self._wake.set()

    async def run(self) -> None:
        """Write what is recorded until cancelled; what has not been written then is lost."""
        loop = asyncio.get_running_loop()
        while True:
            if not self._pending:
                self._wake.clear()
                await self._wake.wait()
            due_s = min(pending.due_s for pending in self._pending.values())
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            await self._flush(loop.time())

    async def _flush(self, now_s: float) -> None:
        due = [key for key, pending in self._pending.items() if pending.due_s <= now_s]
        for start in range(0, len(due), _AT_ONCE):
            await settle(self._flush_one(key) for key in due[start : start + _AT_ONCE])

    async def _flush_one(self, key: _EventKey) -> None:
        pending = self._pending.pop(key)
        now_s = asyncio.get_running_loop().time()
        try:
            await self._write(key, pending)
        except Exception as error:
            self._failed(key, pending, error)
            return
        metrics.EVENTS.labels("written").inc()
        self._written_s.pop(key, None)
        self._written_s[key] = now_s
        while now_s - next(iter(self._written_s.values())) > REPEAT_S:
            self._written_s.popitem(last=False)

    async def _write(self, key: _EventKey, pending: _Pending) -> None:
        if self._cache.get(EVENTS, *key) is not None and await self._count_up(key, pending):
            return
        occurrence = pending.occurrence
        event = new_event(
            key[1], occurrence, pending.message, count=pending.count, first=pending.first, last=pending.last
        )
        try:
            await self._objects.create(EVENTS, event, manager=occurrence.component)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            await self._count_up(key, pending)

    async def _count_up(self, key: _EventKey, pending: _Pending) -> bool:
        def change(event: KubeObject) -> KubeObject:
            event["count"] = (event.get("count") or 0) + pending.count
            event["lastTimestamp"] = format_time(pending.last)
            event["message"] = pending.message
            return event

        stored = await self._objects.mutate(EVENTS, *key, change, manager=pending.occurrence.component)
        return stored is not None

    def _failed(self, key: _EventKey, pending: _Pending, error: Exception) -> None:
        if classify(error) is Failure.TRANSIENT and len(self._pending) < _MOST_PENDING:
            pending.due_s = asyncio.get_running_loop().time() + RETRY_S
            newer = self._pending.get(key)
            if newer is not None:
                pending.count += newer.count
                pending.last = newer.last
                pending.message = newer.message
            self._pending[key] = pending
            return
        # A namespace that is being deleted, or has gone, takes no new events; that is nothing to warn about.
        metrics.EVENTS.labels("refused").inc()
        logger.debug("event_refused", extra={"event": key, "error": str(error)})
