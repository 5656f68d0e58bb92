"""Connections: accepted one by one within limits, watched for clients that stall, and closed in order at the end.

The server accepts its connections itself, because only so can the TLS handshakes that run at once be counted and a
client that opens a connection and says nothing be left behind: a listener of the event loop accepts without bound. At
a limit the oldest connection that has not asked for anything makes room; if there is none, nothing is accepted, and the
kernel's queue holds whoever comes next. A sweep every few seconds closes connections whose first request does not
arrive, and those whose client has stopped to read its answer; between requests the web server's own time limit holds.
Nothing of this costs a request anything.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from controlplane.api.responses import status_response
from flotilla.api.errors import ApiError, internal

logger = logging.getLogger(__name__)

LONGEST_LINE_BYTES = 32 * 1024
MOST_HEADERS = 128
SWEEP_S = 2.0
SEND_S = 1.0
ACCEPT_RETRY_S = 0.1
BACKLOG = 1024
RESERVED_DESCRIPTORS = 256

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def _most_connections() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 20_000 if soft == resource.RLIM_INFINITY else max(64, min(20_000, soft - RESERVED_DESCRIPTORS))


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Counts, and seconds: for the handshake, the first request, the pause between requests, a client's not reading."""

    connections: int = field(default_factory=_most_connections)
    handshakes: int = 1024
    handshake_s: float = 10.0
    first_head_s: float = 30.0
    idle_s: float = 90.0
    stall_s: float = 30.0
    stall_bytes: int = 64 * 1024


class _Connection(web.RequestHandler):
    """aiohttp's protocol, which tells of unreadable requests in Kubernetes' form and without a stack trace."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is no HTTP or beyond its limits; the connection ends with it."""
        if request.writer.output_size > 0:
            raise ConnectionResetError("the answer has begun already")
        if status >= 500:
            logger.error("request_failed", exc_info=exc)
        response = status_response(_refusal(status, exc, message or ""))
        response.force_close()
        return response


def _refusal(status: int, exc: BaseException | None, message: str) -> ApiError:
    if status >= 500:
        return internal("an error on the server has prevented the request from succeeding")
    first_line = message.strip().partition("\n")[0]
    if type(exc).__name__ == "LineTooLong" or "Too many headers" in message:
        limits = f"{LONGEST_LINE_BYTES} bytes a line, {MOST_HEADERS} headers"
        return ApiError(
            431, "RequestEntityTooLarge", f"the request's line or headers are too long: limits are {limits}"
        )
    return ApiError(status, "BadRequest", f"the request is not valid HTTP: {first_line.rstrip(':')}")


class _Server(web.Server):
    """Makes the protocols and knows which connections have not sent a request yet, since when."""

    def __init__(self, handler: Handler, *, limits: ConnectionLimits, closed: Callable[[], None]) -> None:
        self._limits = limits
        self._closed = closed
        self.fresh: dict[web.RequestHandler, float] = {}
        super().__init__(handler, handler_cancellation=True)

    def __call__(self) -> web.RequestHandler:
        return _Connection(
            self,
            loop=self._loop,
            access_log=None,  # type: ignore[arg-type]
            keepalive_timeout=self._limits.idle_s,
            max_line_size=LONGEST_LINE_BYTES,
            max_field_size=LONGEST_LINE_BYTES,
            max_headers=MOST_HEADERS,
            lingering_time=2.0,
            auto_decompress=False,
        )

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        self.fresh[handler] = self._loop.time()
        super().connection_made(handler, transport)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        self.fresh.pop(handler, None)
        super().connection_lost(handler, exc)
        self._closed()


class Connections:
    """The listening sockets of ``host:port`` and all that was accepted from them."""

    def __init__(self, handler: Handler, *, context: ssl.SSLContext | None, limits: ConnectionLimits) -> None:
        self._handler = handler
        self._context = context
        self._limits = limits
        self._sockets: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._handshaking: dict[asyncio.Task[None], None] = {}
        self._room = asyncio.Semaphore(limits.connections)
        self._server: _Server | None = None
        self._busy: set[web.RequestHandler] = set()
        self._quiet: asyncio.Event | None = None
        self._stalled: dict[web.RequestHandler, tuple[int, float]] = {}
        self.failed_handshakes = 0
        self.port = 0

    @property
    def count(self) -> int:
        """Connections that are open, handshakes left out."""
        return len(self._server.connections) if self._server is not None else 0

    def listen(self, host: str, port: int) -> None:
        """Open the sockets; port 0 takes a free one. OSError. Nothing is accepted before :meth:`start`."""
        addresses = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in sorted(set(addresses)):
            try:
                self._sockets.append(_listening_socket(family, address, self.port))
            except OSError:
                if family == socket.AF_INET6 and len(addresses) > 1:
                    continue  # a machine without IPv6 still resolves the wildcard to both families
                raise
            self.port = self._sockets[-1].getsockname()[1]

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Accept connections in ``tasks`` until :meth:`close`."""
        self._server = _Server(self._handler, limits=self._limits, closed=self._room.release)
        for listener in self._sockets:
            self._accepting.append(tasks.create_task(self._accept(listener, self._server)))
        self._accepting.append(tasks.create_task(self._sweep_forever(self._server)))

    def began(self, handler: Any) -> None:
        """A request has arrived on a connection."""
        self._busy.add(handler)
        if self._server is not None and self._server.fresh:
            self._server.fresh.pop(handler, None)

    def ended(self, handler: Any) -> None:
        """It is answered, but for the sending."""
        self._busy.discard(handler)
        if self._quiet is not None:
            handler.close()
            if not self._busy:
                self._quiet.set()

    def close(self) -> None:
        """Accept nothing more and end the connections that wait for a request.

        The web server's own shutdown would drop what is still to come of the bodies of requests in flight.
        """
        self._quiet = asyncio.Event()
        if not self._busy:
            self._quiet.set()
        for task in (*self._accepting, *self._handshaking):
            task.cancel()
        for listener in self._sockets:
            listener.close()
        for handler in self._server.connections if self._server is not None else ():
            if handler not in self._busy:
                handler.close()

    async def drain(self, timeout_s: float) -> None:
        """After :meth:`close`: return once what is in flight has been answered, or cut it off after ``timeout_s``."""
        if self._quiet is not None:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._quiet.wait()
            except TimeoutError:
                logger.warning("requests_cut_off", extra={"requests": len(self._busy)})
        if self._server is not None:
            await self._server.shutdown(SEND_S)

    async def _accept(self, listener: socket.socket, server: _Server) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._room.acquire()
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError as error:
                logger.warning("accept_failed", extra={"error": str(error)})
                self._room.release()
                await asyncio.sleep(ACCEPT_RETRY_S)
                continue
            task = loop.create_task(self._welcome(connection, server))
            self._handshaking[task] = None
            task.add_done_callback(self._welcomed)
            if len(self._handshaking) > self._limits.handshakes:
                next(iter(self._handshaking)).cancel()
            if self._room.locked() and server.fresh:
                next(iter(server.fresh)).force_close()

    async def _welcome(self, connection: socket.socket, server: _Server) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                server,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=self._limits.handshake_s if self._context else None,
            )
        except BaseException as error:
            connection.close()
            self._room.release()
            if not isinstance(error, OSError):
                raise
            self.failed_handshakes += 1
            logger.debug("handshake_failed", extra={"error": str(error)})

    def _welcomed(self, task: asyncio.Task[None]) -> None:
        del self._handshaking[task]
        if not task.cancelled() and task.exception() is not None:
            logger.error("connection_failed", exc_info=task.exception())

    async def _sweep_forever(self, server: _Server) -> None:
        while True:
            await asyncio.sleep(min(SWEEP_S, self._limits.first_head_s, self._limits.stall_s))
            self._sweep(server, asyncio.get_running_loop().time())

    def _sweep(self, server: _Server, now: float) -> None:
        """Close connections that never asked for anything, and those whose clients do not read."""
        for handler, since in list(server.fresh.items()):
            if now - since > self._limits.first_head_s:
                handler.force_close()
        stalled: dict[web.RequestHandler, tuple[int, float]] = {}
        for handler in server.connections:
            transport = handler.transport
            if transport is None or not handler.writing_paused:
                continue
            size_bytes = transport.get_write_buffer_size()
            before_bytes, since = self._stalled.get(handler, (size_bytes, now))
            if size_bytes <= before_bytes - self._limits.stall_bytes:
                before_bytes, since = size_bytes, now
            stalled[handler] = (before_bytes, since)
            if now - since > self._limits.stall_s:
                logger.info("stalled_client_cut_off", extra={"unsent_bytes": size_bytes})
                transport.abort()
        self._stalled = stalled


def _listening_socket(family: int, address: Any, port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address[0], address[1] or port, *address[2:]))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
