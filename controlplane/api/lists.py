"""LIST: which state is shown, and how it is cut into pages.

Without a resourceVersion a list reflects every write acknowledged before it; ``0`` takes what the cache has; a number
asks for that state or a newer one, or with ``resourceVersionMatch=Exact`` for exactly that one. Pages are cut from one
revision. The cache shows a past revision for as long as it knows what has changed since; an older one is read from the
store, and what is compacted there is 410: the token in that answer goes on from the same place in the present state,
for clients that prefer an inconsistent list to none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from controlplane.api.call import Call
from controlplane.api.list_options import Continuation, ListOptions, read_list_options
from controlplane.api.persistence import store_errors
from controlplane.api.selection import Selection, indexed, read_selection, select
from controlplane.api.turns import Breather
from controlplane.api.views import viewed_entry
from controlplane.store.cache import Cache, Entry
from controlplane.store.keys import after, resource_prefix
from controlplane.store.store import CompactedError, FutureRevisionError, Page, Store
from flotilla.api.errors import ApiError, expired, too_large_resource_version
from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource

NEWER_REVISION_WAIT_S = 3.0
READ_OBJECTS = 500


@dataclass(frozen=True, slots=True)
class Listing:
    """Some objects of one revision, and what the list's metadata says about them."""

    entries: Sequence[Entry]
    metadata: KubeObject


@dataclass(frozen=True, slots=True)
class _Place:
    """A revision and the first key, given without the prefix, of a page of at most ``limit`` objects (0: no limit)."""

    revision: int
    start: str
    limit: int
    continued: bool


class Lister:
    """Answers lists from the cache and, where they ask for the past, from the store."""

    def __init__(self, store: Store, cache: Cache) -> None:
        self._store = store
        self._cache = cache

    async def list(self, call: Call, resource: Resource) -> Listing:
        """The objects that a request asks for."""
        selection = read_selection(call, resource)
        options = read_list_options(call)
        if options.continuation:
            return await self._continue(selection, options.continuation, options.limit)
        await self.reach(options.revision)
        if options.exact and options.revision:
            return await self._page(selection, _Place(options.revision, "", options.limit, False))
        return await self._present(selection, options)

    async def reach(self, revision: int | None) -> None:
        """Return once the cache is new enough for a read of ``revision``; None stands for everything acknowledged."""
        if revision is None:
            if not self._cache.is_current():
                with store_errors():
                    await self._cache.barrier()
        elif revision > self._cache.revision:
            try:
                await self._cache.wait_for(revision, timeout_s=NEWER_REVISION_WAIT_S)
            except TimeoutError as error:
                raise too_large_resource_version(revision, self._cache.revision) from error

    async def _present(self, selection: Selection, options: ListOptions) -> Listing:
        revision = self._cache.revision
        limit = options.limit if options.revision != 0 else 0
        found = indexed(self._cache, selection)
        if limit and (found is None or len(found) > limit):
            return await self._page(selection, _Place(revision, "", limit, False))
        if found is None:
            found = self._cache.list(selection.resource, selection.namespace)
        return Listing(await select(found, selection), {"resourceVersion": str(revision)})

    async def _continue(self, selection: Selection, continuation: Continuation, limit: int) -> Listing:
        await self.reach(continuation.revision)
        revision = self._cache.revision if continuation.revision is None else continuation.revision
        return await self._page(selection, _Place(revision, continuation.start, limit, True))

    async def _page(self, selection: Selection, place: _Place) -> Listing:
        prefix = resource_prefix(selection.resource, selection.namespace)
        try:
            found = self._cache.list_at(
                selection.resource,
                place.revision,
                namespace=selection.namespace,
                start_key=prefix + place.start,
                limit=place.limit if selection.everything else 0,
            )
        except CompactedError:
            return await self._stored_page(selection, place)
        if selection.everything and selection.resource.view is None:
            return Listing(found.entries, _metadata(selection, place, found.entries, found.remaining))
        return await self._selected(selection, place, found.entries, found.remaining)

    async def _selected(self, selection: Selection, place: _Place, entries: Sequence[Entry], more: int) -> Listing:
        """The page of those that match; ``more`` objects follow ``entries``."""
        breather = Breather()
        matching: list[Entry] = []
        for index, entry in enumerate(entries):
            if selection.matches(entry):
                matching.append(viewed_entry(selection.resource, entry))
                if len(matching) == place.limit:
                    return Listing(matching, _metadata(selection, place, matching, len(entries) - index - 1 + more))
            await breather.breathe()
        return Listing(matching, _metadata(selection, place, matching, 0))

    async def _stored_page(self, selection: Selection, place: _Place) -> Listing:
        """As :meth:`_page`, from the store."""
        resource = selection.resource
        prefix = resource_prefix(resource, selection.namespace)
        start_key = prefix + place.start
        breather = Breather()
        entries: list[Entry] = []
        while True:
            page = await self._read(prefix, start_key, place)
            for index, item in enumerate(page.items):
                entry = self._cache.read(resource.hub, item)
                await breather.breathe()
                if not selection.matches(entry):
                    continue
                entries.append(viewed_entry(resource, entry))
                if len(entries) == place.limit:
                    return Listing(entries, _metadata(selection, place, entries, page.count - index - 1))
            if not page.more:
                return Listing(entries, _metadata(selection, place, entries, 0))
            start_key = after(page.items[-1].key)

    async def _read(self, prefix: str, start_key: str, place: _Place) -> Page:
        try:
            with store_errors():
                return await self._store.list(prefix, revision=place.revision, limit=READ_OBJECTS, start_key=start_key)
        except CompactedError as error:
            raise _too_old(place) from error
        except FutureRevisionError as error:
            raise too_large_resource_version(place.revision, self._cache.revision) from error


def _metadata(selection: Selection, place: _Place, entries: Sequence[Entry], remaining: int) -> KubeObject:
    """The list's metadata; ``remaining`` objects follow the last of ``entries``, whether they match or not."""
    metadata: KubeObject = {"resourceVersion": str(place.revision)}
    if remaining:
        prefix = resource_prefix(selection.resource, selection.namespace)
        start = after(entries[-1].key).removeprefix(prefix)
        metadata["continue"] = Continuation(place.revision, start).encode()
        if selection.everything:
            metadata["remainingItemCount"] = remaining
    return metadata


def _too_old(place: _Place) -> ApiError:
    if not place.continued:
        return expired("The resourceVersion for the provided list is too old.")
    error = expired(
        "The provided continue parameter is too old to display a consistent list result. Start a new list without it, "
        "or go on with the token in this response: what was written since the first page may then show or be missing."
    )
    error.list_metadata = {"continue": Continuation(None, place.start).encode()}
    return error
