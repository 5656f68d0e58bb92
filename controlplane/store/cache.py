"""The present state of all objects in memory, fed by one watch over the whole key space.

Because every revision of the store arrives on that one watch, "the cache has reached revision R" is always decidable,
which is what consistent reads rest on. It starts by listing everything at one revision, page by page, and watches from
there. A watch that breaks is resumed from the last revision applied; nothing is lost or repeated then. Where the store
has been compacted past it, everything is listed again and subscribers get the difference between the old and the new
state as events. Where the store's history is another one (a restored backup, an emptied store), they get ResetError.

Reads need neither the store nor a lock: while the store is away they show the last known state.

Kinds may appear, change and go while it runs (:mod:`controlplane.store.kinds`). Objects of :class:`Definitions` are
handed over as they arrive, and before all others in a list, so that an instance never comes before its kind.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import time
from collections.abc import Sequence
from contextlib import aclosing
from typing import Protocol

import msgspec

from controlplane.store.bounds import CacheCounters, CacheOptions
from controlplane.store.entry import DecodedObjects, Entry, deleted_entry, read_entry
from controlplane.store.keys import HISTORY_KEY, REGISTRY_PREFIX, SOLE_KEY, after, object_key, resource_prefix
from controlplane.store.kinds import Kinds
from controlplane.store.progress import Barrier, Progress
from controlplane.store.sole import SoleStore
from controlplane.store.store import (
    Backend,
    Change,
    ChangeType,
    CompactedError,
    FutureRevisionError,
    KeyValue,
    StoreError,
    StoreUnavailableError,
    changed_item,
)
from controlplane.store.subscription import (
    CacheEvent,
    EventType,
    RedefinedError,
    ResetError,
    SlowSubscriberError,
    Subscription,
    SubscriptionClosedError,
    SubscriptionError,
)
from controlplane.store.table import Slice, Table
from controlplane.store.window import EventWindow
from flotilla.api.kinds.resource import Resource
from flotilla.api.registry import Registry

__all__ = [
    "Cache",
    "CacheCounters",
    "CacheEvent",
    "CacheOptions",
    "Definitions",
    "Entry",
    "RedefinedError",
    "ResetError",
    "SlowSubscriberError",
    "Subscription",
    "SubscriptionClosedError",
    "SubscriptionError",
]

logger = logging.getLogger(__name__)

PAGE_OBJECTS = 500
HOLD_LOOP_S = 0.005
FIRST_RETRY_S = 0.02
LONGEST_RETRY_S = 1.0

Entries = list[Entry]
Events = list[CacheEvent]


class Definitions(Protocol):
    """Keeps the registry in step with the stored objects of ``resource``, each of which defines kinds."""

    resource: Resource

    def define(self, entries: Sequence[Entry]) -> None:
        """These are all definitions that there are."""

    def follow(self, event: CacheEvent) -> None:
        """One definition changed."""


class Cache:
    """Entries by key, index and event. Used from one event loop only.

    ``sole`` is what writes go through where servers may answer alone. ``registry`` starts with ``resources``; its rows
    may change at any time. Entries carry the row that is stored, never a view of it.
    """

    def __init__(
        self,
        store: Backend,
        resources: Sequence[Resource],
        *,
        options: CacheOptions | None = None,
        sole: SoleStore | None = None,
    ) -> None:
        options = options or CacheOptions()
        self._store = store
        self._sole = sole
        self.registry = Registry(resources)
        self._kinds = Kinds(self.registry, read=self._readable_entry, revision=lambda: self.revision)
        self._tables = self._kinds.tables
        self._definitions: Definitions | None = None
        self._window = EventWindow(maximum_events=options.window_events, maximum_bytes=options.window_bytes)
        self._decoded = DecodedObjects(maximum_bytes=options.decoded_bytes)
        self._progress = Progress()
        self._barrier = Barrier(store.revision, self._progress, timeout_s=options.barrier_timeout_s)
        self._synced = asyncio.Event()
        self._must_list = True
        self._compacted = 0
        self.history_id = ""
        self.connected = False
        self.counters = CacheCounters()

    @property
    def synced(self) -> bool:
        """Whether the whole state has been read once; stays True from then on."""
        return self._synced.is_set()

    @property
    def revision(self) -> int:
        """The store's revision that the cache reflects."""
        return self._progress.revision

    @property
    def compact_floor(self) -> int:
        """The oldest revision from which a subscription can start."""
        return self._window.floor

    def define_kinds_by(self, definitions: Definitions) -> None:
        """Have ``definitions`` told of its objects, before :meth:`run`."""
        self._definitions = definitions

    async def run(self) -> None:
        """List, watch, and do so again forever, until cancelled. ``connected`` tells whether the watch runs."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._barrier.run())
            tasks.create_task(self._kinds.run())
            tasks.create_task(self._follow())

    async def wait_synced(self) -> None:
        await self._synced.wait()

    async def wait_for(self, revision: int, *, timeout_s: float) -> None:
        """Return once the cache reflects ``revision``; TimeoutError when it does not in time."""
        await self._progress.wait_for(revision, timeout_s=timeout_s)

    def is_current(self) -> bool:
        """Whether the cache certainly reflects every write acknowledged up to now; False where it can't tell."""
        return 0 < self._acknowledged() <= self.revision

    async def barrier(self) -> None:
        """Return once the cache reflects every write acknowledged before the call. StoreUnavailableError."""
        known = self._acknowledged()
        if known:
            await self._barrier.wait_for(known)
        else:
            await self._barrier.wait()
        while self._sole is not None and self._sole.overtaken:
            await self._barrier.wait()

    def get(self, resource: Resource, namespace: str, name: str) -> Entry | None:
        table = self._tables.get(resource.storage)
        return table.entries.get(object_key(resource, namespace, name)) if table is not None else None

    def list(self, resource: Resource, namespace: str = "") -> Entries:
        """The entries of a namespace, of all where it is empty, in key order; the caller's own list."""
        table = self._tables.get(resource.storage)
        return table.in_order(namespace) if table is not None else []

    def list_at(
        self, resource: Resource, revision: int, *, namespace: str = "", start_key: str = "", limit: int = 0
    ) -> Slice:
        """The entries from ``start_key`` on (at most ``limit`` if not 0) as they were at ``revision``, in key order.

        CompactedError when what has changed since is not known any more, FutureRevisionError for what is to come.
        """
        if revision > self.revision:
            raise FutureRevisionError(f"revision {revision} is after {self.revision}")
        table = self._tables.get(resource.storage)
        floor = max(self._compacted, table.floor if table is not None else self.revision)
        if table is None or revision < floor:
            raise CompactedError(floor)
        replaced = self._window.replaced_since(revision, resource.storage)
        return table.at(replaced, namespace, start_key=start_key, limit=limit)

    def forget_before(self, revision: int) -> None:
        """The store has been compacted to ``revision``: show no list from before it either, as other servers can't."""
        self._compacted = max(self._compacted, revision)

    def count(self, resource: Resource) -> int:
        table = self._tables.get(resource.storage)
        return len(table.entries) if table is not None else 0

    def by_owner(self, uid: str) -> Entries:
        """The objects of any kind with an owner reference to ``uid``."""
        return self._kinds.indexes.by_owner.find(uid)

    def pods_on_node(self, node: str) -> Entries:
        """The pods with this ``spec.nodeName``."""
        return self._kinds.indexes.by_node.find(node)

    def read(self, resource: Resource, item: KeyValue) -> Entry:
        """The entry of an object read from the store directly, at whatever revision. ``msgspec.DecodeError``."""
        return read_entry(resource, item, self._decoded)

    def subscribe(
        self,
        resources: Sequence[Resource],
        *,
        since: int | None = None,
        maximum: int = 10_000,
        later_kinds: bool = False,
    ) -> Subscription:
        """Follow the events of ``resources``; at most ``maximum`` may wait untaken.

        With ``later_kinds`` also those of kinds that appear later, whose objects then come as ADDED; a subscription
        without it is cut off with RedefinedError when one of its kinds is defined anew.

        From now on, which is after the state that ``list`` shows at this moment, or after the revision ``since``:
        CompactedError when the window has lost events since then, FutureRevisionError when the cache is not there yet.
        """
        storages = {resource.storage for resource in resources}
        tables = {storage: self._tables[storage] for storage in storages if storage in self._tables}
        past: Events = []
        if since is not None:
            if since > self.revision:
                raise FutureRevisionError(f"revision {since} is after {self.revision}")
            past = self._window.since(since, tables)

        def on_end(ended: Subscription) -> None:
            for table in self._tables.values() if later_kinds else tables.values():
                if ended in table.subscribers:
                    table.subscribers.remove(ended)
            if later_kinds:
                self._kinds.followers.remove(ended)

        subscription = Subscription(past, maximum=maximum, on_end=on_end)
        for table in tables.values():
            table.subscribers.append(subscription)
        if later_kinds:
            self._kinds.followers.append(subscription)
        return subscription

    def _acknowledged(self) -> int:
        """The revision that a consistent read has to show at least, 0 where the store must be asked."""
        return self._sole.acknowledged() if self._sole is not None and self.connected else 0

    async def _follow(self) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            try:
                await self._catch_up()
                retry_s = FIRST_RETRY_S
                await self._watch()
            except (CompactedError, FutureRevisionError):
                self._must_list = True
            except StoreError as error:
                if self.connected or retry_s >= LONGEST_RETRY_S:
                    logger.warning("store_watch_broken", extra={"error": str(error), "revision": self.revision})
            self.connected = False
            await asyncio.sleep(retry_s * random.uniform(0.5, 1.0))
            retry_s = min(LONGEST_RETRY_S, retry_s * 2)

    async def _catch_up(self) -> None:
        """Make sure that a watch from here on continues what the cache holds: list where it would not."""
        if not self.synced:
            self.history_id = await self._store.history_id()
            await self._list_everything()
        elif not await self._same_history():
            await self._start_over(await self._store.new_history(self.history_id))
        elif self._must_list:
            await self._list_everything()
        else:
            self.counters.resumes += 1

    async def _same_history(self) -> bool:
        page = await self._store.list(HISTORY_KEY, limit=1)
        stored = page.items[0].value.decode() if page.items else ""
        return stored == self.history_id and page.revision >= self.revision

    async def _start_over(self, history_id: str) -> None:
        """Take over the state of another history; no event leads there from the old state."""
        logger.warning("store_history_changed", extra={"history_id": history_id, "revision": self.revision})
        fresh, revision = await self._read_everything(reuse=False)
        self.history_id = history_id
        self.counters.resets += 1
        for table in self._tables.values():
            for subscription in tuple(table.subscribers):
                subscription.cut_off(ResetError("the store has another history"))
        self._swap(fresh, revision)

    async def _list_everything(self) -> None:
        fresh, revision = await self._read_everything(reuse=True)
        if revision < self.revision:
            raise StoreUnavailableError(f"the store went back from revision {self.revision} to {revision}")
        differences = self._differences(fresh, self.revision + 1)
        self._swap(fresh, revision)
        for event in differences:
            self._kinds.publish(event)
        if not self.synced:
            self._synced.set()
            gc.collect()
            gc.freeze()

    async def _read_everything(self, *, reuse: bool) -> tuple[dict[str, dict[str, Entry]], int]:
        """All entries by storage and key in key order, as of one revision, and that revision."""
        self.counters.lists += 1
        revision = await self._read_definitions(reuse=reuse)
        fresh: dict[str, dict[str, Entry]] = {storage: {} for storage in self._tables}
        unclaimed: dict[str, KeyValue] = {}
        page = await self._store.list(REGISTRY_PREFIX, limit=PAGE_OBJECTS, revision=revision)
        while True:
            for item in page.items:
                table = self._kinds.table_of(item.key)
                if table is None:
                    unclaimed[item.key] = item
                elif entry := self._listed_entry(table, item, reuse=reuse):
                    fresh[table.resource.storage][item.key] = entry
            if not page.more:
                self._kinds.unclaimed = unclaimed
                if self._sole is not None:
                    held = await self._store.get(SOLE_KEY, revision=page.revision)
                    self._sole.observe(held)
                return fresh, page.revision
            start_key = after(page.items[-1].key)
            revision = page.revision
            page = await self._store.list(REGISTRY_PREFIX, limit=PAGE_OBJECTS, revision=revision, start_key=start_key)

    async def _read_definitions(self, *, reuse: bool) -> int:
        """Bring the registry up to date; the revision as of which it is, 0 where no kinds are defined by objects."""
        if self._definitions is None:
            return 0
        table = self._tables[self._definitions.resource.storage]
        prefix, revision, start_key = resource_prefix(table.resource), 0, ""
        found: Entries = []
        while True:
            page = await self._store.list(prefix, limit=PAGE_OBJECTS, revision=revision, start_key=start_key)
            found += filter(None, (self._listed_entry(table, item, reuse=reuse) for item in page.items))
            if not page.more:
                self._definitions.define(found)
                return page.revision
            revision, start_key = page.revision, after(page.items[-1].key)

    def _listed_entry(self, table: Table, item: KeyValue, *, reuse: bool) -> Entry | None:
        held = table.entries.get(item.key) if reuse else None
        if held is not None and held.revision == item.mod_revision:
            return held
        return self._readable_entry(table.resource, item)

    def _differences(self, fresh: dict[str, dict[str, Entry]], deleted_at: int) -> Events:
        """The events that lead from the present entries to the ``fresh`` ones.

        What happened between is not known, only its outcome: deletions come first, at the first revision missed, then
        the objects that are there in the order of their revisions. A subscriber that ends in the middle can't resume
        from any of these but the last, for the window starts anew after them.
        """
        deletions: Events = []
        others: Events = []
        for storage, entries in fresh.items():
            held = self._tables[storage].entries
            for key, old in held.items():
                new = entries.get(key)
                if new is None or new.created != old.created:
                    deletions.append(CacheEvent("DELETED", deleted_entry(old, deleted_at), old, deleted_at))
            for key, new in entries.items():
                last = held.get(key)
                if last is None or last.created != new.created:
                    others.append(CacheEvent("ADDED", new, None, new.revision))
                elif last.revision != new.revision:
                    others.append(CacheEvent("MODIFIED", new, last, new.revision))
        others.sort(key=lambda event: event.revision)
        return deletions + others

    def _swap(self, fresh: dict[str, dict[str, Entry]], revision: int) -> None:
        self._must_list = False
        self._kinds.replace(fresh)
        self._window.restart(revision)
        self._progress.reach(revision)

    async def _watch(self) -> None:
        held_since = time.monotonic()
        async with aclosing(self._store.watch(start_revision=self.revision + 1)) as stream:
            self.connected = True
            async for changes in stream:
                for change in changes:
                    self._apply(change)
                self._progress.reach(changes[0].mod_revision)
                if time.monotonic() - held_since > HOLD_LOOP_S:
                    await asyncio.sleep(0)
                    held_since = time.monotonic()

    def _apply(self, change: Change) -> None:
        table = self._kinds.table_of(change.key)
        if table is None:
            self._kinds.keep_unclaimed(change)
            if change.key == SOLE_KEY and self._sole is not None:
                self._sole.observe(changed_item(change) if change.type is ChangeType.PUT else None)
            return
        held = table.entries.get(change.key)
        event = self._deletion(held, change) if change.type is ChangeType.DELETE else self._arrival(table, held, change)
        if event is None:
            return
        if event.type == "DELETED":
            table.remove(change.key)
            self._kinds.indexes.change(held, None)
        else:
            table.put(event.entry)
            self._kinds.indexes.change(held, event.entry)
        self.counters.events += 1
        self._window.append(event)
        if self._definitions is not None and self._definitions.resource is table.resource:
            self._definitions.follow(event)
        self._kinds.publish(event)
        if held is not None:
            self._decoded.supersede(held)
        if event.type == "DELETED":
            self._decoded.supersede(event.entry)

    @staticmethod
    def _deletion(held: Entry | None, change: Change) -> CacheEvent | None:
        if held is None:
            return None
        return CacheEvent("DELETED", deleted_entry(held, change.mod_revision), held, change.mod_revision)

    def _arrival(self, table: Table, held: Entry | None, change: Change) -> CacheEvent | None:
        entry = self._readable_entry(table.resource, changed_item(change))
        if entry is None:
            return None
        event_type: EventType = "ADDED" if held is None else "MODIFIED"
        return CacheEvent(event_type, entry, held, change.mod_revision)

    def _readable_entry(self, resource: Resource, item: KeyValue) -> Entry | None:
        """A value that is no object is left out, and the state before it, if any, stays: it has not been deleted."""
        try:
            return read_entry(resource, item, self._decoded)
        except msgspec.DecodeError as error:
            self.counters.unreadable += 1
            logger.error("stored_object_unreadable", extra={"key": item.key, "error": str(error)})
            return None
