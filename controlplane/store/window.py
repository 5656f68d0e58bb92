"""The recent past: events that a watcher may still resume from.

Bounded by count and by bytes, whichever is reached first; what an event and its entry take beside their data counts.
``floor`` is the revision from which on nothing is missing; whoever wants to resume from before it has to read the
present state again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from itertools import takewhile

from controlplane.store.entry import Entry
from controlplane.store.store import CompactedError
from controlplane.store.subscription import CacheEvent

SHARED_FORMS = 256
EVENT_BYTES = 500


class EventWindow:
    """Events in the order of their revisions."""

    def __init__(self, *, maximum_events: int, maximum_bytes: int) -> None:
        self._maximum_events = maximum_events
        self._maximum_bytes = maximum_bytes
        self._events: deque[CacheEvent] = deque()
        self._bytes = 0
        self.floor = 0

    def append(self, event: CacheEvent) -> None:
        """Add the newest event, dropping the oldest that no longer fit."""
        events = self._events
        events.append(event)
        self._bytes += len(event.entry.data) + EVENT_BYTES
        if len(events) > SHARED_FORMS:
            events[-SHARED_FORMS].forget_encoded()
        while len(events) > self._maximum_events or self._bytes > self._maximum_bytes:
            oldest = events.popleft()
            self._bytes -= len(oldest.entry.data) + EVENT_BYTES
            self.floor = oldest.revision

    def restart(self, revision: int) -> None:
        """Forget everything; nothing before ``revision`` can be resumed from any more."""
        self._events.clear()
        self._bytes = 0
        self.floor = revision

    def since(self, revision: int, storages: Collection[str]) -> list[CacheEvent]:
        """Events of those resources after ``revision``. CompactedError when some are gone."""
        if revision < self.floor:
            raise CompactedError(self.floor)
        recent = takewhile(lambda event: event.revision > revision, reversed(self._events))
        found = [event for event in recent if event.entry.resource.storage in storages]
        found.reverse()
        return found

    def replaced_since(self, revision: int, storage: str) -> dict[str, Entry | None]:
        """The keys of a resource that changed after ``revision``, each with what stood there then. CompactedError."""
        if revision < self.floor:
            raise CompactedError(self.floor)
        replaced: dict[str, Entry | None] = {}
        for event in takewhile(lambda event: event.revision > revision, reversed(self._events)):
            if event.entry.resource.storage == storage:
                replaced[event.entry.key] = event.previous
        return replaced
