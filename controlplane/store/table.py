"""The cache's rows of one resource, and the indexes over all of them."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from controlplane.store.entry import Entry
from controlplane.store.keys import prefix_end, resource_prefix
from controlplane.store.subscription import Subscription
from flotilla.api.kinds.resource import Resource


@dataclass(frozen=True, slots=True)
class Slice:
    """Some entries in key order; ``remaining`` more follow them."""

    entries: list[Entry]
    remaining: int


class Table:
    """Entries of one resource in key order. Replacing one is a dictionary write; only new and gone keys move others.

    ``floor`` is the revision from which on its past can be told from events.
    """

    def __init__(self, resource: Resource, *, floor: int = 0) -> None:
        self.resource = resource
        self.floor = floor
        self.entries: dict[str, Entry] = {}
        self.subscribers: list[Subscription] = []
        self._keys: list[str] = []

    def put(self, entry: Entry) -> None:
        if entry.key not in self.entries:
            insort(self._keys, entry.key)
        self.entries[entry.key] = entry

    def remove(self, key: str) -> None:
        del self.entries[key]
        del self._keys[bisect_left(self._keys, key)]

    def replace(self, entries: Mapping[str, Entry]) -> None:
        """Hold exactly ``entries``, which come in key order."""
        self.entries = dict(entries)
        self._keys = list(entries)

    def in_order(self, namespace: str) -> list[Entry]:
        """The entries of a namespace, of all where it is empty."""
        keys = self._keys_from(resource_prefix(self.resource, namespace), "") if namespace else self._keys
        return list(map(self.entries.__getitem__, keys))

    def at(self, replaced: Mapping[str, Entry | None], namespace: str, *, start_key: str, limit: int) -> Slice:
        """Entries from ``start_key`` on before their keys' states were ``replaced``; ``limit`` 0 stands for all."""
        prefix = resource_prefix(self.resource, namespace)
        keys = self._keys_from(prefix, start_key)
        gone = [
            key
            for key, entry in replaced.items()
            if entry is not None and key not in self.entries and key.startswith(prefix) and key >= start_key
        ]
        if gone:
            keys = sorted(keys + gone)
        if None in replaced.values():
            keys = [key for key in keys if key not in replaced or replaced[key] is not None]
        shown = keys[:limit] if limit else keys
        entries = [replaced.get(key) or self.entries[key] for key in shown]
        return Slice(entries, len(keys) - len(shown))

    def _keys_from(self, prefix: str, start_key: str) -> list[str]:
        first = bisect_left(self._keys, max(prefix, start_key))
        return self._keys[first : bisect_left(self._keys, prefix_end(prefix), first)]


class Index:
    """Entries by a word that they carry: an owner's uid, a node's name."""

    def __init__(self) -> None:
        self._entries: dict[str, dict[str, Entry]] = {}

    def find(self, word: str) -> list[Entry]:
        """The entries that carry ``word``, in key order."""
        found = self._entries.get(word)
        return [found[key] for key in sorted(found)] if found else []

    def add(self, words: Iterable[str], entry: Entry) -> None:
        for word in words:
            self._entries.setdefault(word, {})[entry.key] = entry

    def discard(self, words: Iterable[str], key: str) -> None:
        for word in words:
            held = self._entries.get(word)
            if held is not None:
                held.pop(key, None)
                if not held:
                    del self._entries[word]


class Indexes:
    """By owner, over all resources, and pods by node."""

    def __init__(self) -> None:
        self.by_owner = Index()
        self.by_node = Index()

    def change(self, previous: Entry | None, entry: Entry | None) -> None:
        """Have ``entry`` stand where ``previous`` stood; either may be missing."""
        owners = entry.owners if entry is not None else ()
        node = (entry.node,) if entry is not None and entry.node else ()
        if previous is not None:
            if previous.owners and previous.owners != owners:
                self.by_owner.discard(previous.owners, previous.key)
            if previous.node and (previous.node,) != node:
                self.by_node.discard((previous.node,), previous.key)
        if entry is not None:
            if owners:
                self.by_owner.add(owners, entry)
            if node:
                self.by_node.add(node, entry)
