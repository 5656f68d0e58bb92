"""What this server has just written and its cache does not show yet, so that the next write starts from that.

A client that patches an object twice in a row sends the second patch before the watch has brought the first one back. A
write that started from the cached state then would be refused by the store, and had to be done again.
"""

from __future__ import annotations

from collections import OrderedDict

from controlplane.store.store import KeyValue

MOST = 4096


class RecentWrites:
    """Values by key, in the order of writing. An entry is of use until the cache has reached its revision."""

    def __init__(self) -> None:
        self._values: OrderedDict[str, KeyValue] = OrderedDict()

    def note(self, key: str, value: bytes, revision: int, *, shown: int) -> None:
        """``value`` was stored at ``revision``; the cache shows revision ``shown``."""
        self._values.pop(key, None)
        if revision > shown:
            self._values[key] = KeyValue(key, value, revision, revision)
        while self._values:
            oldest = next(iter(self._values.values()))
            if oldest.mod_revision > shown and len(self._values) <= MOST:
                return
            del self._values[oldest.key]

    def newest(self, key: str, *, shown: int) -> KeyValue | None:
        """What was written to ``key`` after the revision that the cache shows."""
        found = self._values.get(key)
        if found is None or found.mod_revision > shown:
            return found
        del self._values[key]
        return None

    def forget(self, key: str) -> None:
        """Somebody else has written or removed it."""
        self._values.pop(key, None)
