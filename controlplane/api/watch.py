"""WATCH: the events of a selection, from now or from any revision that is still retained.

Hundreds of watchers may wait for one event. Those that keep up get it from one callback of the event loop, the
:class:`Pump`, which encodes it once and writes it to one connection after the other, in slices; waking a task for each
would take three times as long. A watcher whose connection has filled up is left to its own task until it is empty
again, and one that falls behind by more than the cache queues for it is cut off: it starts again, as it would after any
broken connection.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable, Sequence

from aiohttp import HttpVersion11, web

from controlplane.api.call import Call
from controlplane.api.list_options import WatchOptions, read_watch_options
from controlplane.api.lists import Lister
from controlplane.api.responses import JSON_CONTENT, add_warnings
from controlplane.api.selection import candidates, read_selection, select
from controlplane.api.tables import check_include
from controlplane.api.turns import SLICE_S
from controlplane.api.watch_events import EventEncoder, error_event
from controlplane.store.cache import Cache, Entry, ResetError, Subscription, SubscriptionError
from controlplane.store.store import CompactedError, FutureRevisionError
from flotilla.api.errors import expired
from flotilla.api.registry import Resource

logger = logging.getLogger(__name__)

BOOKMARK_PERIOD_S = 60.0
WRITE_BYTES = 64 * 1024
_EVENTS_A_WRITE = 100
_LOOKS_AT_THE_CLOCK = 16


class Watches:
    """All watches of a server; :meth:`close` ends them cleanly."""

    def __init__(self, cache: Cache, lister: Lister) -> None:
        self._cache = cache
        self._lister = lister
        self._pump = Pump()
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
        revision = self._cache.revision
        try:
            since = options.revision if options.revision and not options.initial else None
            subscription = self._cache.subscribe([resource], since=since)
        except (CompactedError, FutureRevisionError):
            return await self._refuse(call, options.revision or 0)
        try:
            response = await _start(call)
            if call.request.method == "HEAD":
                return response
            watcher = Watcher(call.request, response, subscription, encoder, cache=self._cache, options=options)
            await self._run(call, watcher, await select(initial, selection), revision)
        except ConnectionResetError:
            pass
        finally:
            subscription.close()
        return response

    async def _run(self, call: Call, watcher: Watcher, initial: Sequence[Entry], revision: int) -> None:
        deadline = asyncio.timeout(0.0 if self._closing else watcher.options.timeout_s)
        try:
            async with deadline:
                self._deadlines.add(deadline)
                await watcher.send_initial(initial, revision)
                call.started()
                await watcher.follow(self._pump)
        except TimeoutError:
            await watcher.finish()
        finally:
            self._deadlines.discard(deadline)
        await watcher.end()

    async def _refuse(self, call: Call, revision: int) -> web.StreamResponse:
        response = await _start(call)
        await response.write(
            error_event(expired(f"too old resource version: {revision} ({self._cache.compact_floor})"))
        )
        await response.write_eof()
        return response


async def _start(call: Call) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": JSON_CONTENT, "Cache-Control": "no-cache, private"})
    add_warnings(response, call.warnings)
    if call.request.version >= HttpVersion11:
        response.enable_chunked_encoding()
    await response.prepare(call.request)
    return response


class Pump:
    """Has watchers with events write them, all that are ready one after the other."""

    def __init__(self) -> None:
        self._ready: deque[Watcher] = deque()
        self._scheduled = False

    def wake(self, watcher: Watcher) -> None:
        """Have it write soon."""
        self._ready.append(watcher)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        until_s = time.monotonic() + SLICE_S
        ready = self._ready
        while ready:
            for _ in range(min(len(ready), _LOOKS_AT_THE_CLOCK)):
                ready.popleft().push()
            if time.monotonic() > until_s:
                break
        self._scheduled = bool(ready)
        if ready:
            asyncio.get_running_loop().call_soon(self._run)


class Watcher:
    """One watcher: what it has been sent, and what comes next."""

    def __init__(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        subscription: Subscription,
        encoder: EventEncoder,
        *,
        cache: Cache,
        options: WatchOptions,
    ) -> None:
        self._request = request
        self._response = response
        self._subscription = subscription
        self._encoder = encoder
        self._cache = cache
        self._complete = False  # whether all that was taken from the subscription has been sent
        self._attention: asyncio.Future[None] | None = None
        self.options = options

    async def send_initial(self, entries: Iterable[Entry], revision: int) -> None:
        """The present state as ADDED events, and the bookmark that ends it."""
        pending: list[bytes] = []
        size_bytes = 0
        for entry in entries:
            pending.append(self._encoder.added(entry))
            size_bytes += len(pending[-1])
            if size_bytes >= WRITE_BYTES:
                await self._response.write(b"".join(pending))
                await asyncio.sleep(0)
                pending, size_bytes = [], 0
        if self.options.announce_end and self.options.bookmarks:
            pending.append(self._encoder.bookmark(revision, initial_events_end=True))
        if pending:
            await self._response.write(b"".join(pending))
        self._complete = True

    async def follow(self, pump: Pump) -> None:
        """Events as they come, with a bookmark each minute; returns when the subscription has ended."""
        try:
            while True:
                await self._write_waiting()
                try:
                    async with asyncio.timeout(BOOKMARK_PERIOD_S):
                        await self._be_pumped(pump)
                except TimeoutError:
                    await self.finish()
        except ResetError:
            await self._response.write(error_event(expired("the history of the store has changed")))
        except SubscriptionError as error:
            logger.info("watch_cut_off", extra={"reason": str(error)})

    async def finish(self) -> None:
        """A bookmark at what has been sent, for the client to resume from."""
        if self.options.bookmarks and self._complete and not self._subscription.pending:
            await self._response.write(self._encoder.bookmark(self._cache.revision))

    async def end(self) -> None:
        """Tell the client that nothing more comes."""
        await self._response.write_eof()

    async def _write_waiting(self) -> None:
        """Write until the connection and the subscription are both empty. SubscriptionError."""
        while True:
            await self._request.writer.drain()
            events = self._subscription.take()
            if not events:
                return
            self._complete = False
            for start in range(0, len(events), _EVENTS_A_WRITE):
                data = b"".join(map(self._encoder.encode, events[start : start + _EVENTS_A_WRITE]))
                if data:
                    await self._response.write(data)
                await asyncio.sleep(0)
            self._complete = True

    async def _be_pumped(self, pump: Pump) -> None:
        """Let the pump write; returns when this watcher's own task has to look after it."""
        self._attention = asyncio.get_running_loop().create_future()
        self._subscription.call_when_ready(lambda: pump.wake(self))
        try:
            await self._attention
        finally:
            self._attention = None
            self._subscription.call_when_ready(None)

    def push(self) -> None:
        """Write what waits, or leave it to the task where it is much or the connection is full; the pump calls this."""
        attention = self._attention
        if attention is None or attention.done():
            return
        try:
            if self._subscription.pending <= _EVENTS_A_WRITE:
                self._write(b"".join(map(self._encoder.encode, self._subscription.take())))
            if self._subscription.pending or self._request.protocol.writing_paused:
                attention.set_result(None)
        except Exception as error:
            attention.set_exception(error)

    def _write(self, data: bytes) -> None:
        """As the response's ``write``, which can't be called outside of a task."""
        transport = self._request.transport
        if data and transport is not None and not transport.is_closing():
            transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._response.chunked else data)
