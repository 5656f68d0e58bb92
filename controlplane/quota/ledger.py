"""What this server has promised to objects that are being stored, so that nobody counts it as unused meanwhile.

Between the write of a quota's status and the moment when the cache shows the object that it was for, a count of the
objects misses that one. The server's own promises are known here exactly. Those of other servers are not: a count that
falls into such a moment of theirs is put right when their object arrives, by the next count.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from controlplane.quota.amounts import Amounts
from controlplane.store.cache import Cache
from flotilla.api.registry import Resource

UNSURE_S = 30.0


@dataclass(slots=True, eq=False)
class Charge:
    """One write on its way. ``amounts`` are by the quota's name; ``new`` says that the object is being created.

    ``charged`` says that every quota's status has them; ``stored_at`` is 0 until the object is stored;
    ``expires_s`` is when a write of which nobody knows how it ended has certainly ended.
    """

    resource: Resource
    namespace: str
    name: str
    uid: str
    new: bool
    amounts: dict[str, Amounts] = field(default_factory=dict)
    charged: bool = False
    stored_at: int = 0
    expires_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Promised:
    """What a quota's status holds beyond the objects that the cache shows: at least, and at most."""

    least: Mapping[str, int]
    most: Mapping[str, int]

    def __bool__(self) -> bool:
        return bool(self.most)


class Ledger:
    """The promises of one server. Used from one event loop only."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._charges: set[Charge] = set()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def lock(self, namespace: str) -> asyncio.Lock:
        """To be held while the quotas of a namespace are charged: so that this server's writes don't collide."""
        lock = self._locks.get(namespace)
        if lock is None:
            lock = self._locks[namespace] = asyncio.Lock()
        return lock

    def open(self, charge: Charge) -> None:
        """Note a charge, before the first quota is written. It is forgotten once the cache shows what was stored."""
        self._forget_shown()
        self._charges.add(charge)

    def failed(self, charge: Charge, *, for_sure: bool) -> None:
        """The object was not stored, or nobody knows whether it was."""
        if for_sure:
            self._charges.discard(charge)
        else:
            charge.expires_s = time.monotonic() + UNSURE_S

    def promised(self, namespace: str, quota: str) -> Promised:
        """The promises of one quota, as the cache stands now."""
        self._forget_shown()
        least: dict[str, int] = {}
        most: dict[str, int] = {}
        for charge in self._of(namespace, quota):
            for name, amount in charge.amounts[quota].items():
                most[name] = most.get(name, 0) + amount
                if charge.charged and charge.new and not charge.expires_s:
                    least[name] = least.get(name, 0) + amount
        return Promised(least, most)

    def _of(self, namespace: str, quota: str) -> Iterator[Charge]:
        for charge in self._charges:
            if charge.namespace == namespace and quota in charge.amounts and not self._is_shown(charge):
                yield charge

    def _is_shown(self, charge: Charge) -> bool:
        entry = self._cache.get(charge.resource, charge.namespace, charge.name) if charge.new else None
        return entry is not None and entry.uid == charge.uid

    def _forget_shown(self) -> None:
        now = time.monotonic()
        shown = self._cache.revision
        self._charges = {
            charge
            for charge in self._charges
            if not 0 < charge.stored_at <= shown and not 0.0 < charge.expires_s <= now
        }
