"""The loop around a reconciler: events become keys, workers reconcile keys, four outcomes are handled here alone.

Done; again after a while; failed for now (back-off); failed for good (logged, until something changes). A conflict is
no failure: the key comes again at once with the newest state, without a line in the log. Nor is a write that was
refused because another server leads: that server does what is to be done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Generic, Protocol

from controlplane.reconcile import metrics
from controlplane.reconcile.failures import Failure, classify
from controlplane.reconcile.informer import RESYNC_S, Informer, Kinds
from controlplane.reconcile.queue import K, WorkQueue
from controlplane.reconcile.result import Result
from controlplane.store.cache import Cache, CacheEvent

logger = logging.getLogger(__name__)

ObjectKey = tuple[str, str]
"""Namespace (``""`` for cluster-scoped objects) and name."""

DEADLINE_S = 60.0
TRANSIENT_MAXIMUM_S = 2.0  # how long after an outage of the store nothing may be done about what it held up


class Reconciler(Protocol[K]):
    """Reads all it needs anew for a key and writes the difference; may be repeated and interrupted anywhere."""

    def keys(self, event: CacheEvent) -> Iterable[K]:
        """The keys that this change concerns. May keep indexes; must not block."""

    def reset(self) -> None:
        """Forget indexes built by :meth:`keys`: every object is about to come again as ADDED."""

    async def reconcile(self, key: K) -> Result:
        """Bring the world behind the key closer to what is desired."""


class Runnable(Protocol):
    """What the server runs in its task group while it is the leader."""

    name: str

    async def run(self) -> None:
        """Work until cancelled."""


class Controller(Generic[K]):
    """Runs one reconciler with several workers; never two of them on one key."""

    def __init__(
        self,
        name: str,
        reconciler: Reconciler[K],
        *,
        cache: Cache,
        resources: Kinds,
        queue: WorkQueue[K] | None = None,
        workers: int = 4,
        resync_s: float = RESYNC_S,
    ) -> None:
        self.name = name
        self.queue: WorkQueue[K] = WorkQueue() if queue is None else queue
        self._reconciler = reconciler
        self._workers = workers
        self._informer = Informer(
            name, cache, resources=resources, observe=self._observe, reset=reconciler.reset, resync_s=resync_s
        )
        self._duration = metrics.DURATION.labels(name)
        metrics.DEPTH.labels(name).set_function(self.queue.__len__)

    async def run(self) -> None:
        """Feed and work until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._informer.run(), name=f"{self.name}-informer")
                for number in range(self._workers):
                    group.create_task(self._work(), name=f"{self.name}-{number}")
        finally:
            self.queue.close()

    def _observe(self, event: CacheEvent) -> None:
        for key in self._reconciler.keys(event):
            self.queue.add(key)

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                await self._reconcile(key)
            finally:
                self.queue.done(key)
            # A long queue of reconciles that change nothing must not keep the loop from everything else.
            await asyncio.sleep(0)

    async def _reconcile(self, key: K) -> None:
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            async with asyncio.timeout(DEADLINE_S):
                result = await self._reconciler.reconcile(key)
        except Exception as error:
            outcome = self._failed(key, error)
        else:
            outcome = self._succeeded(key, result)
        self._duration.observe(clock() - started)
        metrics.RECONCILES.labels(self.name, outcome).inc()

    def _succeeded(self, key: K, result: Result) -> str:
        self.queue.forget(key)
        if result.after_s is None:
            return "done"
        self.queue.add_after(key, result.after_s)
        return "after"

    def _failed(self, key: K, error: Exception) -> str:
        failure = classify(error)
        facts = {"controller": self.name, "key": key, "error": describe(error)}
        match failure:
            case Failure.STALE:
                self.queue.retry(key, at_once_first=True)
            case Failure.TRANSIENT:
                delay_s = self.queue.retry(key, maximum_s=TRANSIENT_MAXIMUM_S)
                logger.warning("reconcile_failed_for_now", extra=facts | {"retry_after_s": delay_s})
            case Failure.UNEXPECTED:
                delay_s = self.queue.retry(key)
                logger.error("reconcile_broke", extra=facts | {"retry_after_s": delay_s}, exc_info=error)
            case Failure.PERMANENT:
                self.queue.forget(key)
                logger.error("reconcile_failed_for_good", extra=facts)
            case Failure.DEPOSED:
                self.queue.forget(key)
                logger.debug("reconcile_came_too_late", extra=facts)
        return failure.value


def describe(error: BaseException) -> str:
    """An exception in one line, the members of a group one by one."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(describe(inner) for inner in error.exceptions)
    return f"{type(error).__name__}: {error}"
