"""Connections that stop to be HTTP: raw bytes after ``101 Switching Protocols``, or the messages of a WebSocket.

Both carry SPDY, and :class:`controlplane.api.streams.spdy.ByteConnection` says how it sees them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping

from aiohttp import WSMsgType, web

HIGH_WATER_BYTES = 256 * 1024


class UpgradedConnection:
    """The bytes of a connection after its upgrade; aiohttp hands them over as to a parser."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._ended = False
        self._changed = asyncio.Event()

    async def start(self, headers: Mapping[str, str]) -> web.StreamResponse:
        """Answer the request with 101 and take the connection over."""
        response = web.StreamResponse(status=101, headers=headers)
        await response.prepare(self._request)
        self._request.protocol.set_parser(self)  # type: ignore[arg-type]
        self._request.protocol.keep_alive(False)
        return response

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Called by the web server with what has come: whether that was the end, and what is left over."""
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > HIGH_WATER_BYTES and self._request.transport is not None:
            self._request.transport.pause_reading()
        self._changed.set()
        return False, b""

    def feed_eof(self) -> None:
        """Called by the web server when the connection has ended."""
        self._ended = True
        self._changed.set()

    async def read(self) -> bytes:
        while not self._held and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        if not self._held:
            return b""
        data = self._held.popleft()
        paused = self._held_bytes > HIGH_WATER_BYTES
        self._held_bytes -= len(data)
        if paused and self._held_bytes <= HIGH_WATER_BYTES and self._request.transport is not None:
            self._request.transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has gone")
        transport.write(data)
        await self._request.writer.drain()


class WebSocketBytes:
    """A WebSocket whose binary messages are one stream of bytes."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    async def read(self) -> bytes:
        while True:
            message = await self._socket.receive()
            if message.type is not WSMsgType.BINARY:
                return b""
            if message.data:
                return bytes(message.data)

    async def write(self, data: bytes) -> None:
        await self._socket.send_bytes(data)
