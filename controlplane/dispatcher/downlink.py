"""Everything that goes down one session, written by one task.

Control messages go first, then the complete set or whatever has changed since. Changes are only marked here; the
difference is computed when the stream takes the next message, so that a slow agent gets one increment for many events,
and nothing waits for a timer. A set is sent once the cache has synced and has reached what the agent has already
applied: a lagging server waits instead of offering an older state.

A message's revision is the cache's at the moment the difference was computed. It may be ahead of an event that has yet
to be marked, never behind what the message contains: an agent that compares revisions refuses too much for an instant,
never too little.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection

from controlplane.dispatcher.assignments import Assigned, NodeAssignments, ObjectKey, Stored
from controlplane.dispatcher.ending import slow_agent
from controlplane.dispatcher.messages import Moment, increment_messages, set_messages
from controlplane.dispatcher.metrics import ASSIGNMENTS
from controlplane.store.cache import Cache
from flotilla.api.objects import annotations_of
from flotilla.api.resources import NODES, PODS
from protos import dispatcher_pb2 as pb

logger = logging.getLogger(__name__)

WRITE_TIMEOUT_S = 15.0
CATCH_UP_REPORT_S = 10.0
CONFIRMED_HISTORY = "flotilla.dev/confirmed-history"


class Downlink:
    """The server's side of a session's conversation. ``write`` returns once the stream has taken a message."""

    def __init__(
        self,
        node: str,
        cache: Cache,
        write: Callable[[pb.ServerMessage], Awaitable[None]],
        *,
        renderer: Callable[[Stored], Assigned],
        warn: Callable[[str, str], None],
    ) -> None:
        self.assignments = NodeAssignments(node, cache, renderer=renderer)
        self._node = node
        self._cache = cache
        self._write = write
        self._warn = warn
        self._wake = asyncio.Event()
        self._behind = asyncio.Event()
        self._outbox: deque[pb.ServerMessage] = deque()
        self._acknowledged = 0
        self._needs_set = False
        self._sequence = 0
        self._applied = Moment("", 0)
        self._trusted_history = ""
        self._running: set[str] = set()
        self._unconfirmed: set[str] = set()

    def begin(self, applied: Moment, running: Collection[str]) -> None:
        """Start with a complete set, for an agent that has applied that much and runs the pods of these uids."""
        self._applied = applied
        self._trusted_history = applied.history_id
        self._running = set(running)
        self.restart()

    def restart(self) -> None:
        """Send a complete set next."""
        self._needs_set = True
        self._wake.set()

    def mark(self, key: ObjectKey) -> None:
        """The object may concern the node and may have changed."""
        self.assignments.mark(key)
        self._wake.set()

    def send(self, message: pb.ServerMessage) -> None:
        """Queue a control message."""
        self._outbox.append(message)
        self._wake.set()

    def acknowledge(self, sequence: int) -> None:
        """Tell the agent that its statuses are stored up to ``sequence``; only the newest such word is sent."""
        self._acknowledged = sequence
        self._wake.set()

    def confirm_if_awaited(self) -> None:
        """The Node has changed: an operator may have confirmed the new history."""
        if self._unconfirmed and self._confirmed_by_operator():
            self.restart()

    async def run(self) -> None:
        """Write until cancelled. StreamEndedError when the agent does not read."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write_all(), name=f"downlink {self._node}")
            tasks.create_task(self._catch_up(), name=f"catch up {self._node}")

    async def _write_all(self) -> None:
        told = 0
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._acknowledged != told:
                told = self._acknowledged
                await self._put(pb.ServerMessage(status_ack=pb.StatusAck(sequence=told)))
            while self._outbox:
                await self._put(self._outbox.popleft())
            if not self._needs_set:
                await self._send_increment()
            elif self._cache.synced and not self._lags():
                await self._send_set()
            else:
                self._behind.set()

    def _lags(self) -> bool:
        return self._applied.history_id == self._cache.history_id and self._cache.revision < self._applied.revision

    async def _catch_up(self) -> None:
        while True:
            await self._behind.wait()
            self._behind.clear()
            try:
                await self._cache.wait_synced()
                if self._lags():
                    await self._cache.wait_for(self._applied.revision, timeout_s=CATCH_UP_REPORT_S)
            except TimeoutError:
                extra = {"node": self._node, "applied": self._applied.revision, "cached": self._cache.revision}
                logger.warning("cache_behind_node", extra=extra)
            self._wake.set()

    async def _send_set(self) -> None:
        self._needs_set = False
        self._sequence += 1
        objects = self.assignments.complete()
        moment = self._moment()
        confirmed = self._confirm()
        ASSIGNMENTS.labels("set").inc()
        for message in set_messages(objects, moment, sequence=self._sequence, confirmed=confirmed):
            await self._put(message)
        self._applied = moment

    async def _send_increment(self) -> None:
        if not self._sequence:
            return  # the agent has not introduced itself yet
        change = self.assignments.increment()
        if not change:
            return
        moment = self._moment()
        if any(key.resource == PODS.plural for key in (*(each.key for each in change.changed), *change.removed)):
            self._running = self._assigned_uids() | self._unconfirmed
        for message in increment_messages(change, moment, sequence=self._sequence + 1):
            self._sequence += 1
            ASSIGNMENTS.labels("increment").inc()
            await self._put(message)
        self._applied = moment

    def _moment(self) -> Moment:
        return Moment(self._cache.history_id, self._cache.revision)

    def _assigned_uids(self) -> set[str]:
        return {entry.uid for entry in self._cache.pods_on_node(self._node)}

    def _confirm(self) -> bool:
        """Whether the agent may remove what the set does not contain."""
        assigned = self._assigned_uids()
        history = self._cache.history_id
        missing = self._running - assigned
        if self._trusted_history in ("", history) or not missing or self._confirmed_by_operator():
            self._trusted_history = history
            self._running, self._unconfirmed = assigned, set()
            return True
        self._running, self._unconfirmed = assigned | missing, missing
        self._warn(
            "HistoryChanged",
            f"the store's history is new (a restored backup?) and lacks {len(missing)} pods that this node runs; they "
            f"keep running until the Node is annotated with {CONFIRMED_HISTORY}={history}",
        )
        return False

    def _confirmed_by_operator(self) -> bool:
        entry = self._cache.get(NODES, "", self._node)
        return entry is not None and annotations_of(entry.obj).get(CONFIRMED_HISTORY) == self._cache.history_id

    async def _put(self, message: pb.ServerMessage) -> None:
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await self._write(message)
        except TimeoutError as error:
            raise slow_agent(self._node, WRITE_TIMEOUT_S) from error
