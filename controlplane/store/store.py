"""The seam between the control plane and what keeps its state.

Two back-ends implement it, etcd and an in-memory one for tests, and one contract suite runs on both. Revisions are
etcd's: one counter for the whole key space, one object a transaction, so that a revision names exactly one change.
Values are opaque bytes here; :mod:`controlplane.store.encryption` wraps a store to keep Secrets encrypted.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Protocol, Self


@dataclass(frozen=True, slots=True)
class KeyValue:
    key: str
    value: bytes
    create_revision: int
    mod_revision: int


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the key-values under a prefix in key order, all as of ``revision``."""

    items: list[KeyValue]
    revision: int
    more: bool
    count: int  # under the prefix, from the page's first key on, at that revision


class ChangeType(Enum):
    PUT = "PUT"
    DELETE = "DELETE"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one key. A DELETE carries the delete's revision and, in ``previous``, the last state."""

    type: ChangeType
    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    previous: KeyValue | None


Changes = list[Change]


def changed_item(change: Change) -> KeyValue:
    """What a PUT has made of its key."""
    return KeyValue(change.key, change.value, change.create_revision, change.mod_revision)


@dataclass(frozen=True, slots=True)
class Fence:
    """Refuses a write unless ``key`` still has this ``create_revision``, 0 for a key that must not be there.

    ``also`` is a further condition of the same kind.
    """

    key: str
    create_revision: int
    also: Fence | None = None

    def chain(self) -> Iterator[Fence]:
        """This one and all further ones."""
        fence: Fence | None = self
        while fence is not None:
            yield fence
            fence = fence.also


class StoreError(Exception):
    """A store operation failed. ``transient`` tells whether the same call may succeed later."""

    transient = False


class KeyExistsError(StoreError):
    """A create found the key present."""


class RevisionConflictError(StoreError):
    """The key's revision is not the expected one; ``current`` is what is there now, None if the key is gone."""

    def __init__(self, key: str, current: KeyValue | None) -> None:
        super().__init__(f"{key} is at revision {current.mod_revision if current else 0}, not at the expected one")
        self.current = current


class FencedError(StoreError):
    """A fence did not hold: its ``key`` is not what the writer took it for (any more)."""

    def __init__(self, key: str, create_revision: int) -> None:
        super().__init__(f"{key} is no longer what it was at revision {create_revision}")
        self.key = key


class CompactedError(StoreError):
    """The revision asked for is gone; ``compact_revision`` is the oldest that can be read."""

    def __init__(self, compact_revision: int) -> None:
        super().__init__(f"compacted up to revision {compact_revision}")
        self.compact_revision = compact_revision


class FutureRevisionError(StoreError):
    """The revision asked for has not happened yet."""


class StoreUnavailableError(StoreError):
    """The store can't be reached or did not answer in time; whether a write took effect is unknown."""

    transient = True


class LeaseNotFoundError(StoreError):
    """A write named a lease that has ended."""


class OutOfSpaceError(StoreError):
    """The store's quota is exhausted: reads work, writes don't until it is compacted and defragmented."""

    transient = True


class Store(Protocol):
    """Keys are strings, values bytes. Every method may raise StoreUnavailableError."""

    async def start(self) -> None:
        """Connect. Returns once the store answers."""

    async def close(self) -> None:
        """Release connections. Idempotent."""

    async def history_id(self) -> str:
        """An id of this history of revisions, made when the store was first used; a restored backup gets a new one."""

    async def revision(self) -> int:
        """The store's current revision, linearizable."""

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        """The key's state, now (linearizable) or as of ``revision``. CompactedError, FutureRevisionError."""

    async def list(self, prefix: str, *, revision: int = 0, limit: int = 0, start_key: str = "") -> Page:
        """Key-values under ``prefix`` from ``start_key`` on; ``limit`` 0: all. CompactedError, FutureRevisionError."""

    async def create(self, key: str, value: bytes, *, lease: int = 0, fence: Fence | None = None) -> int:
        """Write a key that must not exist; its revision. KeyExistsError, FencedError, OutOfSpaceError."""

    async def update(self, key: str, value: bytes, *, expected: int, lease: int = 0, fence: Fence | None = None) -> int:
        """Replace a key whose mod revision must be ``expected``; the new one. RevisionConflictError, FencedError.

        ValueError for ``expected`` 0, which is no revision that a key can have.
        """

    async def delete(self, key: str, *, expected: int = 0, fence: Fence | None = None) -> int:
        """Remove a key, at ``expected`` if not 0; the delete's revision. RevisionConflictError (also if absent)."""

    def watch(self, *, start_revision: int) -> AsyncIterator[Changes]:
        """Changes of the whole key space from ``start_revision`` on, in order, none left out, one list a revision.

        Ends only by an exception: CompactedError when ``start_revision`` is not above the revision compacted to, or
        StoreUnavailableError when the stream broke for any reason.
        """

    async def compact(self, revision: int) -> None:
        """Forget what was before ``revision``; nothing if that is forgotten already. FutureRevisionError."""

    async def recover_space(self) -> None:
        """Defragment and disarm the out-of-space alarm, after a compaction."""

    async def grant_lease(self, ttl_s: int) -> int:
        """A lease that ends ``ttl_s`` seconds after its last renewal, taking its keys along; its id."""

    async def renew_lease(self, lease: int) -> bool:
        """Renew once; False if the lease is gone."""

    async def revoke_lease(self, lease: int) -> None:
        """End a lease and its keys now. A lease that is gone is no error."""


class LeaseKeeper(Protocol):
    """Renews one lease while it is entered; leaving it neither revokes nor waits for the lease."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def remaining_s(self) -> float:
        """Seconds for which the lease certainly lives on, 0 or less if that is no longer sure.

        Counts from the sending of the last renewal that succeeded, so that it ends before the lease can.
        """

    def touch(self) -> None:
        """Say that the event loop still runs. The keeper stops renewing for a loop that has hung for long."""

    async def wait_lost(self) -> None:
        """Return once the lease is gone or ``remaining_s`` is used up."""


class Backend(Store, Protocol):
    """What keeps the state itself, with what only the machinery around it uses: cache, election, compaction."""

    @property
    def seen_revision(self) -> int:
        """The highest revision that any answer has named since the history began: what the caller may know of."""

    async def shares_clock(self) -> bool:
        """Whether leases end by the clock of this very machine, so that neither can run while the other stands."""

    async def new_history(self, known: str) -> str:
        """Replace the history id ``known``, after revisions went backwards; the id now. Another's replacement wins."""

    def watch(self, *, start_revision: int, key: str = "") -> AsyncGenerator[Changes, None]:
        """As the store's, of the whole key space or of ``key`` alone; to be closed when left."""

    async def wait_out_of_space(self) -> None:
        """Return when a write is refused for lack of space from now on."""

    def lease_time_s(self) -> float:
        """Now, on the clock by which :meth:`keep_lease` counts; it runs on while the machine sleeps."""

    def keep_lease(self, lease: int, *, ttl_s: int, asked_at_s: float) -> LeaseKeeper:
        """Keep a lease alive, undisturbed by short stalls of the event loop.

        ``asked_at_s`` is a :meth:`lease_time_s` from before it was last asked to be granted or renewed.
        """
