"""WATCH: the events of a selection, from now or from any revision that is still retained.

Watchers of one form share the encoded events (:meth:`CacheEvent.encoded`). A change that moves an object into or out of
the selection is an ADDED or a DELETED to that watcher. A watcher that does not read fast enough is cut off and starts
again, as it would after any broken connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from aiohttp import web

from controlplane.api.call import Call
from controlplane.api.list_options import WatchOptions, read_watch_options
from controlplane.api.lists import Lister
from controlplane.api.negotiation import Form
from controlplane.api.responses import JSON_CONTENT, add_warnings
from controlplane.api.selection import Selection, candidates, read_selection, select
from controlplane.api.tables import assemble_table, check_include, render_one, table_row
from controlplane.api.views import viewed_entry
from controlplane.store.cache import Cache, CacheEvent, Entry, ResetError, Subscription, SubscriptionError
from controlplane.store.entry import deleted_entry
from controlplane.store.store import CompactedError, FutureRevisionError
from flotilla.api.errors import expired
from flotilla.api.objects import KubeObject, encode
from flotilla.api.registry import Resource

logger = logging.getLogger(__name__)

BOOKMARK_PERIOD_S = 60.0
WRITE_BYTES = 64 * 1024
_EVENTS_A_WRITE = 100
INITIAL_EVENTS_END = "k8s.io/initial-events-end"


class EventEncoder:
    """Turns cache events into the bytes of one watcher's form and selection."""

    def __init__(self, selection: Selection, form: Form, include: str) -> None:
        self._selection = selection
        self._resource = selection.resource
        self._form = form
        self._include = include
        self._cache_key = (
            f"{form.kind}/{form.version}/{include}/{self._resource.version if self._resource.view else ''}"
        )
        self._headed = form.kind != "Table"

    def encode(self, event: CacheEvent) -> bytes:
        """The event as this watcher has to see it, ``b""`` if it does not concern it."""
        type_ = self._type_for(event)
        if not type_:
            return b""
        if not self._headed:
            return self._render(type_, _entry_for(type_, event))
        return event.encoded(self._cache_key + type_, lambda shared: self._render(type_, _entry_for(type_, shared)))

    def added(self, entry: Entry) -> bytes:
        """The ADDED event of an object that was there before the watch."""
        return self._render("ADDED", entry)

    def bookmark(self, revision: int, *, initial_events_end: bool = False) -> bytes:
        """A BOOKMARK: everything up to ``revision`` has been sent."""
        metadata: KubeObject = {"resourceVersion": str(revision), "creationTimestamp": None}
        if initial_events_end:
            metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
        if self._form.kind == "Table":
            rows = [b'{"cells":[],"object":' + encode(self._bookmark_object(metadata)) + b"}"]
            return _event("BOOKMARK", assemble_table(self._form, {"resourceVersion": str(revision)}, None, rows))
        return _event("BOOKMARK", encode(self._bookmark_object(metadata)))

    def _bookmark_object(self, metadata: KubeObject) -> KubeObject:
        if self._form.kind:
            return {"kind": "PartialObjectMetadata", "apiVersion": self._form.api_version, "metadata": metadata}
        return {"kind": self._resource.kind, "apiVersion": self._resource.api_version, "metadata": metadata}

    def _type_for(self, event: CacheEvent) -> str:
        now = self._selection.matches(event.entry)
        if event.type == "ADDED":
            return "ADDED" if now else ""
        before = event.previous is not None and self._selection.matches(event.previous)
        if event.type == "DELETED":
            return "DELETED" if before else ""
        if now:
            return "MODIFIED" if before else "ADDED"
        return "DELETED" if before else ""

    def _render(self, type_: str, entry: Entry) -> bytes:
        entry = viewed_entry(self._resource, entry)
        if self._form.kind != "Table":
            data = entry.data if not self._form.kind else self._one(entry)
            return _event(type_, data)
        columns = self._resource.columns
        row = table_row(columns, entry.obj, entry.data, include=self._include, version=self._form.version)
        header = None if self._headed else columns
        self._headed = True
        return _event(type_, assemble_table(self._form, {"resourceVersion": str(entry.revision)}, header, [row]))

    def _one(self, entry: Entry) -> bytes:
        return render_one(self._resource, {}, entry.data, self._form, include=self._include)


def _event(type_: str, data: bytes) -> bytes:
    return b'{"type":"' + type_.encode() + b'","object":' + data + b"}\n"


def _entry_for(type_: str, event: CacheEvent) -> Entry:
    """An object that leaves a selection is shown as it last was in it, at the revision at which it left."""
    if type_ == "DELETED" and event.type != "DELETED" and event.previous is not None:
        return deleted_entry(event.previous, event.revision)
    return event.entry


class Watches:
    """All watches of a server; :meth:`close` ends them cleanly."""

    def __init__(self, cache: Cache, lister: Lister) -> None:
        self._cache = cache
        self._lister = lister
        self._deadlines: set[asyncio.Timeout] = set()
        self._closing = False

    @property
    def count(self) -> int:
        """Watches that run now."""
        return len(self._deadlines)

    def close(self) -> None:
        """End every watch now and each later one at once."""
        self._closing = True
        for deadline in self._deadlines:
            deadline.reschedule(asyncio.get_running_loop().time())

    async def serve(self, call: Call, resource: Resource) -> web.StreamResponse:
        """Stream events until the time is over, the client leaves or the server shuts down."""
        options = read_watch_options(call)
        selection = read_selection(call, resource)
        encoder = EventEncoder(selection, call.form, check_include(call.query.get("includeObject", "")))
        await self._lister.reach(options.revision)
        initial: Sequence[Entry] = candidates(self._cache, selection) if options.initial else ()
        start_revision = self._cache.revision
        try:
            since = options.revision if options.revision and not options.initial else None
            subscription = self._cache.subscribe([resource], since=since)
        except (CompactedError, FutureRevisionError):
            return await self._refuse(call, options.revision or 0)
        stream = _Stream(self._cache, subscription, encoder, options)
        response = await _start(call)
        try:
            await self._run(stream, response, initial, selection, start_revision)
        except ConnectionResetError:
            pass
        finally:
            subscription.close()
        return response

    async def _run(
        self,
        stream: _Stream,
        response: web.StreamResponse,
        initial: Sequence[Entry],
        selection: Selection,
        start_revision: int,
    ) -> None:
        timeout_s = 0.0 if self._closing else stream.options.timeout_s
        deadline = asyncio.timeout(timeout_s)
        try:
            async with deadline:
                self._deadlines.add(deadline)
                await stream.send_initial(response, await select(initial, selection), start_revision)
                await stream.follow(response)
        except TimeoutError:
            await stream.finish(response)
        finally:
            self._deadlines.discard(deadline)
        await response.write_eof()

    async def _refuse(self, call: Call, revision: int) -> web.StreamResponse:
        response = await _start(call)
        error = expired(f"too old resource version: {revision} ({self._cache.compact_floor})")
        await response.write(_event("ERROR", encode(error.status())))
        await response.write_eof()
        return response


async def _start(call: Call) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": JSON_CONTENT, "Cache-Control": "no-cache, private"})
    add_warnings(response, call.warnings)
    response.enable_chunked_encoding()
    await response.prepare(call.request)
    return response


class _Stream:
    """One watcher: what it has been sent, and what comes next."""

    def __init__(self, cache: Cache, subscription: Subscription, encoder: EventEncoder, options: WatchOptions) -> None:
        self._cache = cache
        self._subscription = subscription
        self._encoder = encoder
        self._complete = False  # whether all that was taken from the subscription has been sent
        self.options = options

    async def send_initial(self, response: web.StreamResponse, entries: Sequence[Entry], revision: int) -> None:
        """The present state as ADDED events, and the bookmark that ends it."""
        pending: list[bytes] = []
        size_bytes = 0
        for entry in entries:
            pending.append(self._encoder.added(entry))
            size_bytes += len(pending[-1])
            if size_bytes >= WRITE_BYTES:
                await response.write(b"".join(pending))
                await asyncio.sleep(0)
                pending, size_bytes = [], 0
        if self.options.announce_end and self.options.bookmarks:
            pending.append(self._encoder.bookmark(revision, initial_events_end=True))
        if pending:
            await response.write(b"".join(pending))
        self._complete = True

    async def follow(self, response: web.StreamResponse) -> None:
        """Events as they come, with a bookmark in each quiet minute; returns when the subscription has ended."""
        while True:
            try:
                async with asyncio.timeout(BOOKMARK_PERIOD_S):
                    events = await self._subscription.batch()
            except TimeoutError:
                await self.finish(response)
                continue
            except ResetError:
                error = expired("the history of the store has changed")
                await response.write(_event("ERROR", encode(error.status())))
                return
            except SubscriptionError as error:
                logger.info("watch_cut_off", extra={"reason": str(error)})
                return
            self._complete = False
            for start in range(0, len(events), _EVENTS_A_WRITE):
                data = b"".join(map(self._encoder.encode, events[start : start + _EVENTS_A_WRITE]))
                if data:
                    await response.write(data)
                await asyncio.sleep(0)
            self._complete = True

    async def finish(self, response: web.StreamResponse) -> None:
        """A bookmark at what has been sent, for the client to resume from."""
        if self.options.bookmarks and self._complete and not self._subscription.pending:
            await response.write(self._encoder.bookmark(self._cache.revision))
