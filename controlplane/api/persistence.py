"""Objects in and out of the store, with the store's errors turned into those of the API.

Values are stored without ``metadata.resourceVersion``: it is the key's revision, so that it can't disagree with it.
Callers see objects in the form of the row that they name; what is stored is the form of the row that it is a view of.
The state to start a write from comes from the cache, without asking the store; when that state turns out to be old, the
store's refusal carries the newest one.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

from controlplane.api.recent_writes import RecentWrites
from controlplane.api.views import served_object, stored_object, viewed_entry
from controlplane.store.cache import Cache
from controlplane.store.entry import restored
from controlplane.store.keys import object_key
from controlplane.store.store import (
    FencedError,
    KeyExistsError,
    KeyValue,
    OutOfSpaceError,
    Store,
    StoreError,
)
from flotilla.api.errors import DEPOSED, ApiError, already_exists, too_large, unavailable
from flotilla.api.objects import KubeObject, decode, encode, in_order
from flotilla.api.registry import Resource

MAXIMUM_OBJECT_BYTES = 1024 * 1024


class StoreFullError(ApiError):
    """507: the store's quota is exhausted. Reads go on; a write works again once space was made."""

    def __init__(self) -> None:
        message = (
            "the store has run out of space: reads work, writes don't. Delete what is not needed or raise etcd's "
            "--quota-backend-bytes; space is recovered by compaction and defragmentation, which the server repeats"
        )
        super().__init__(507, "InsufficientStorage", message, details={"causes": [{"reason": "StoreOutOfSpace"}]})

    @property
    def transient(self) -> bool:
        return True


class DeposedError(ApiError):
    """503: this server decided on the write as the leader and no longer leads. Only its own controllers see it."""

    def __init__(self) -> None:
        super().__init__(503, DEPOSED, "this server is no longer the leader: the write was refused")


@dataclass(frozen=True, slots=True)
class Current:
    """The state that a write starts from. ``obj`` may be shared with the cache: read-only."""

    obj: KubeObject
    revision: int
    fresh: bool  # read from the store just now, not from the cache
    data: bytes

    def copy(self) -> KubeObject:
        """A private copy with its resourceVersion."""
        return stamped(decode(self.data), self.revision)


class _StoreErrors:
    """Turns a store's failure into the ApiError that a client or a reconciler can act upon. Has no state."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, StoreError):
            return
        if isinstance(error, OutOfSpaceError):
            raise StoreFullError from error
        if isinstance(error, FencedError):
            raise DeposedError from error
        if error.transient:
            raise unavailable(f"the store can't be reached: {error}") from error


_STORE_ERRORS = _StoreErrors()


def store_errors() -> AbstractContextManager[None]:
    """The context that every access to the store stands in."""
    return _STORE_ERRORS


class Persistence:
    """Reads and writes single objects. Methods raise ApiError."""

    def __init__(self, store: Store, cache: Cache) -> None:
        self._store = store
        self._cache = cache
        self._recent = RecentWrites()

    def cached(self, resource: Resource, namespace: str, name: str) -> Current | None:
        """The state that the cache has, or the one that was written here since; may be old."""
        written = self._recent.newest(object_key(resource, namespace, name), shown=self._cache.revision)
        if written is not None:
            return current_of(resource, written, fresh=False)
        entry = self._cache.get(resource, namespace, name)
        if entry is None:
            return None
        entry = viewed_entry(resource, entry)
        return Current(entry.obj, entry.revision, fresh=False, data=entry.data)

    async def read(self, resource: Resource, namespace: str, name: str) -> Current | None:
        """The state that the store has."""
        with store_errors():
            found = await self._store.get(object_key(resource, namespace, name))
        return current_of(resource, found)

    async def find(self, resource: Resource, namespace: str, name: str) -> Current | None:
        """The cached state, or the stored one where the cache knows none yet."""
        return self.cached(resource, namespace, name) or await self.read(resource, namespace, name)

    async def create(self, resource: Resource, obj: KubeObject, *, lease: int = 0) -> KubeObject:
        """Store a new object; it returns with its resourceVersion. AlreadyExists."""
        key, stored = _key_of(resource, obj), stored_object(resource, obj)
        data = encode_stored(stored)
        with store_errors():
            try:
                revision = await self._store.create(key, data, lease=lease)
            except KeyExistsError as error:
                raise already_exists(resource.plural, obj["metadata"]["name"], group=resource.group) from error
        self._recent.note(key, data, revision, shown=self._cache.revision)
        return stamped(served_object(resource, stored), revision)

    async def replace(self, resource: Resource, obj: KubeObject, *, expected: int, lease: int = 0) -> KubeObject:
        """Store over the state of revision ``expected``. RevisionConflictError holds what is there instead."""
        key, stored = _key_of(resource, obj), stored_object(resource, obj)
        data = encode_stored(stored)
        self._recent.forget(key)
        with store_errors():
            revision = await self._store.update(key, data, expected=expected, lease=lease)
        self._recent.note(key, data, revision, shown=self._cache.revision)
        return stamped(served_object(resource, stored), revision)

    async def remove(self, resource: Resource, obj: KubeObject, *, expected: int) -> KubeObject:
        """Remove the state of revision ``expected``. RevisionConflictError holds what is there instead."""
        key = _key_of(resource, obj)
        self._recent.forget(key)
        with store_errors():
            revision = await self._store.delete(key, expected=expected)
        return stamped(obj, revision)


def _key_of(resource: Resource, obj: KubeObject) -> str:
    metadata = obj["metadata"]
    return object_key(resource, metadata.get("namespace") or "", metadata["name"])


def current_of(resource: Resource, found: KeyValue | None, *, fresh: bool = True) -> Current | None:
    """The state that a read or a RevisionConflictError found, as ``resource`` shows it, None for nothing."""
    if found is None:
        return None
    data = restored(resource.hub, found.value)
    obj: KubeObject = decode(data)
    if resource.view is not None:
        obj = resource.view.from_stored(obj)
        data = encode(obj)
    return Current(stamped(obj, found.mod_revision), found.mod_revision, fresh=fresh, data=data)


def encode_stored(obj: KubeObject) -> bytes:
    """The bytes to store. RequestEntityTooLarge past the limit of one object."""
    obj["metadata"].pop("resourceVersion", None)
    data = encode(in_order(obj))
    if len(data) > MAXIMUM_OBJECT_BYTES:
        raise too_large(MAXIMUM_OBJECT_BYTES)
    return data


def stamped(obj: KubeObject, revision: int) -> KubeObject:
    """``obj`` with its resourceVersion."""
    obj["metadata"]["resourceVersion"] = str(revision)
    return obj
