"""Keeping the store small, and getting it out of the mode in which it has no space left.

Every revision of every object stays readable until it is compacted away; lists that go on over several pages and
watchers that come back need the last few minutes of them. A mark is written each period by whichever server comes
first; once a mark is old enough everything before it is forgotten. An idle store is left alone.

A store out of space refuses writes, leader election included, so every server runs this and recovery waits for no
leader: compact to the present, defragment, disarm the alarm, and prove with a write that it helped.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from controlplane.store.keys import COMPACTION_KEY
from controlplane.store.store import (
    Backend,
    KeyExistsError,
    OutOfSpaceError,
    RevisionConflictError,
    StoreError,
)
from flotilla.api.objects import format_time

if TYPE_CHECKING:
    from controlplane.store.cache import Cache

logger = logging.getLogger(__name__)

FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 30.0


class Compactor:
    """Forgets revisions older than ``keep_s``, looking every ``period_s``; recovers from a full store."""

    def __init__(self, store: Backend, cache: Cache, *, period_s: float = 60.0, keep_s: float = 300.0) -> None:
        self._store = store
        self._cache = cache
        self._period_s = period_s
        self._keep_s = keep_s
        self._marks: deque[tuple[float, int]] = deque()
        self._newest_mark = 0
        self.read_only = False
        self.compacted_to = 0
        self.recoveries = 0

    async def run(self) -> None:
        """Until cancelled. ``read_only`` is True while the store has no space for writes."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._compact_old())
            tasks.create_task(self._recover_when_full())

    async def _compact_old(self) -> None:
        while True:
            await asyncio.sleep(self._period_s * random.uniform(0.9, 1.0))
            try:
                await self._compact_once(asyncio.get_running_loop().time())
            except OutOfSpaceError:
                continue
            except StoreError as error:
                logger.warning("compaction_failed", extra={"error": str(error)})

    async def _compact_once(self, now: float) -> None:
        mark = await self._mark()
        if mark != self._newest_mark:
            self._newest_mark = mark
            self._marks.append((now, mark))
        target = 0
        while self._marks and now - self._marks[0][0] >= self._keep_s:
            target = self._marks.popleft()[1]
        if target:
            await self._store.compact(target)
            self._cache.forget_before(target)
            self.compacted_to = target
            logger.debug("store_compacted", extra={"revision": target})

    async def _mark(self) -> int:
        """The revision of the newest mark, written now unless another server has, or nothing else was written."""
        seen = self._newest_mark
        held = await self._store.get(COMPACTION_KEY)
        if held is not None and (held.mod_revision != seen or self._cache.revision == seen):
            return held.mod_revision
        return await self._write_mark(held.mod_revision if held is not None else 0)

    async def _write_mark(self, expected: int) -> int:
        value = format_time(datetime.now(UTC)).encode()
        try:
            if expected:
                return await self._store.update(COMPACTION_KEY, value, expected=expected)
            return await self._store.create(COMPACTION_KEY, value)
        except (RevisionConflictError, KeyExistsError):
            return expected

    async def _recover_when_full(self) -> None:
        while True:
            await self._store.wait_out_of_space()
            self.read_only = True
            logger.error("store_out_of_space", extra={"remedy": "compacting; delete objects or raise etcd's quota"})
            retry_s = FIRST_RETRY_S
            while not await self._recovered():
                await asyncio.sleep(retry_s * random.uniform(0.5, 1.0))
                retry_s = min(LONGEST_RETRY_S, retry_s * 2)
            self.read_only = False
            self.recoveries += 1
            logger.warning("store_has_space_again")

    async def _recovered(self) -> bool:
        try:
            await self._store.compact(self._cache.revision or await self._store.revision())
            await self._store.recover_space()
            held = await self._store.get(COMPACTION_KEY)
            await self._write_mark(held.mod_revision if held is not None else 0)
        except StoreError as error:
            logger.warning("store_still_out_of_space", extra={"error": str(error)})
            return False
        return True
