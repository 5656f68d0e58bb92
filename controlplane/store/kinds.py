"""The tables of all kinds that the cache holds, while kinds come, change and go.

What is stored under keys of no known kind is kept as raw bytes, so that a kind that appears finds its objects there,
without a read that could disagree with the watch. A kind whose schema changes shows the objects that it has and reads
them again a few at a time, from what is stored where the old schema had changed that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping

from controlplane.store.entry import Entry, read_again
from controlplane.store.keys import REGISTRY_PREFIX, resource_prefix
from controlplane.store.store import Change, ChangeType, KeyValue, changed_item
from controlplane.store.subscription import CacheEvent, RedefinedError, Subscription
from controlplane.store.table import Indexes, Table
from flotilla.api.kinds.resource import Resource
from flotilla.api.registry import Registry

HOLD_LOOP_S = 0.005

Read = Callable[[Resource, KeyValue], Entry | None]


class Kinds:
    """Follows ``registry``. ``read`` gives the entry of a stored value, ``revision`` tells what the cache reflects."""

    def __init__(self, registry: Registry, *, read: Read, revision: Callable[[], int]) -> None:
        self._registry = registry
        self._read = read
        self._revision = revision
        self._outdated: dict[str, list[Entry]] = {}
        self._has_outdated = asyncio.Event()
        self.tables = {resource.storage: Table(resource) for resource in registry.stored()}
        self.indexes = Indexes()
        self.unclaimed: dict[str, KeyValue] = {}
        self.followers: list[Subscription] = []
        registry.listen(self._change)

    def table_of(self, key: str) -> Table | None:
        """The table of the kind that is stored under ``key``."""
        parts = key.split("/", 4)
        if len(parts) < 4 or parts[1] != "registry":
            return None
        return self.tables.get(parts[2]) or self.tables.get(f"{parts[2]}/{parts[3]}")

    def publish(self, event: CacheEvent) -> None:
        """Hand an event to those who follow its kind."""
        for subscription in tuple(self.tables[event.entry.resource.storage].subscribers):
            subscription.offer(event)

    def replace(self, fresh: Mapping[str, Mapping[str, Entry]]) -> None:
        """Hold exactly the entries ``fresh``, by storage and key, in key order."""
        self.indexes = Indexes()
        for storage, entries in fresh.items():
            self.tables[storage].replace(entries)
            for entry in entries.values():
                self.indexes.change(None, entry)

    def keep_unclaimed(self, change: Change) -> None:
        """Note a change under a key of no known kind."""
        if change.type is ChangeType.DELETE:
            self.unclaimed.pop(change.key, None)
        elif change.key.startswith(REGISTRY_PREFIX):
            self.unclaimed[change.key] = changed_item(change)

    async def run(self) -> None:
        """Read what another schema has outdated again, until cancelled."""
        while True:
            await self._has_outdated.wait()
            self._has_outdated.clear()
            held_since = time.monotonic()
            while self._outdated:
                storage, entries = self._outdated.popitem()
                while entries:
                    self._read_anew(storage, entries.pop())
                    if time.monotonic() - held_since > HOLD_LOOP_S:
                        await asyncio.sleep(0)
                        held_since = time.monotonic()

    def _read_anew(self, storage: str, entry: Entry) -> None:
        table = self.tables.get(storage)
        if table is not None and table.entries.get(entry.key) is entry:
            table.put(read_again(table.resource, entry))
            self.indexes.change(entry, table.entries[entry.key])

    def _change(self, removed: Collection[Resource], added: Collection[Resource]) -> None:
        stored = {resource.storage: resource for resource in added if resource.view is None}
        for storage, resource in stored.items():
            table = self.tables.get(storage)
            if table is not None:
                self._redefine(table, resource)
            else:
                self._claim(resource)
        for storage in {resource.storage for resource in removed} - stored.keys():
            if any(row.storage == storage for row in self._registry.stored()):
                self._cut_off(self.tables[storage])
            else:
                self._disown(self.tables.pop(storage))

    def _claim(self, resource: Resource) -> None:
        table = self.tables[resource.storage] = Table(resource, floor=self._revision())
        table.subscribers.extend(self.followers)
        prefix = resource_prefix(resource)
        items = [self.unclaimed.pop(key) for key in sorted(self.unclaimed) if key.startswith(prefix)]
        for entry in filter(None, (self._read(resource, item) for item in items)):
            table.put(entry)
            self.indexes.change(None, entry)
            self.publish(CacheEvent("ADDED", entry, None, entry.revision))

    def _redefine(self, table: Table, resource: Resource) -> None:
        if table.resource.shape != resource.shape:
            self._outdated[resource.storage] = list(table.entries.values())
            self._has_outdated.set()
        table.resource = resource
        table.floor = self._revision() + 1
        for entry in table.entries.values():
            entry.resource = resource
        self._cut_off(table)

    def _cut_off(self, table: Table) -> None:
        """End the subscriptions that were made for the kind as it was."""
        for subscription in tuple(table.subscribers):
            if subscription not in self.followers:
                subscription.cut_off(RedefinedError(f"{table.resource.storage} is defined anew"))

    def _disown(self, table: Table) -> None:
        self._cut_off(table)
        for entry in table.entries.values():
            value = entry.data if entry.unrestored is None else entry.unrestored
            self.unclaimed[entry.key] = KeyValue(entry.key, value, entry.created, entry.revision)
            self.indexes.change(entry, None)
