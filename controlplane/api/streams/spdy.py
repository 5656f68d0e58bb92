"""SPDY/3.1 as Kubernetes' clients speak it: the server's end of one connection with streams that the client opens.

It follows the SPDY/3.1 draft where such clients use it: streams, header blocks with the shared compression dictionary,
pings and the end of streams. Flow control is left to the connection below, because those clients neither grant nor mind
windows: a stream that nobody reads stops the connection once it holds ``STREAM_BYTES``.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Protocol

from controlplane.api.streams.spdy_dictionary import DICTIONARY

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
FLAG_FIN = 1
STREAM_BYTES = 256 * 1024
MOST_STREAMS = 1000
CHUNK_BYTES = 32 * 1024
_VERSION = 0x8003
_LONGEST_FRAME_BYTES = 1 << 20
_LONGEST_HEADERS_BYTES = 64 * 1024
_ID = 0x7FFFFFFF
_frame_head = struct.Struct("!II")
_number = struct.Struct("!I")


class SpdyError(Exception):
    """The client does not speak SPDY/3.1."""


class ByteConnection(Protocol):
    """What SPDY runs over."""

    async def read(self) -> bytes:
        """Some bytes, none at the end."""

    async def write(self, data: bytes) -> None:
        """Send bytes; waits while the client does not take them."""


class SpdyStream:
    """One stream; ``headers`` are those that the client opened it with, by lower-case name."""

    def __init__(self, connection: SpdyConnection, number: int, headers: Mapping[str, str]) -> None:
        self.headers = headers
        self.number = number
        self._connection = connection
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._ended = False
        self._changed = asyncio.Event()
        self.closed = False

    async def read(self) -> bytes:
        """What has come, none once the client has ended its side."""
        while not self._held and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        data = b"".join(self._held)
        self._held.clear()
        self._held_bytes = 0
        self._changed.set()
        return data

    async def write(self, data: bytes, *, end: bool = False) -> None:
        """Send bytes, with ``end`` the last ones. Nothing is sent on a stream that has ended."""
        for start in range(0, len(data), CHUNK_BYTES):
            await self._send(data[start : start + CHUNK_BYTES], 0)
        if end:
            await self._send(b"", FLAG_FIN)
            self.closed = True

    async def _send(self, data: bytes, flags: int) -> None:
        if not self.closed:
            await self._connection.send(_frame_head.pack(self.number, flags << 24 | len(data)) + data)

    async def feed(self, data: bytes, *, end: bool) -> None:
        """Take what the client sent; waits while too much of it is unread."""
        while self._held_bytes >= STREAM_BYTES and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        if data:
            self._held.append(data)
            self._held_bytes += len(data)
        self._ended = self._ended or end
        self._changed.set()

    def drop(self) -> None:
        """The client will neither send nor take any more."""
        self.closed = self._ended = True
        self._changed.set()


class SpdyConnection:
    """The server's end; ``opened`` is called with each stream that the client opens, after it has been accepted."""

    def __init__(self, connection: ByteConnection, opened: Callable[[SpdyStream], None]) -> None:
        self._connection = connection
        self._opened = opened
        self._streams: dict[int, SpdyStream] = {}
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)
        self._data = bytearray()
        self._last = 0

    async def run(self) -> None:
        """Read until the client leaves. SpdyError for what can't be read."""
        try:
            while data := await self._connection.read():
                self._data += data
                while await self._take_frame():
                    pass
        finally:
            for stream in self._streams.values():
                stream.drop()

    async def send(self, frame: bytes) -> None:
        """Send a whole frame."""
        await self._connection.write(frame)

    async def go_away(self) -> None:
        """Tell the client that no more streams will be accepted."""
        await self.send(_control(GOAWAY, _number.pack(self._last) + _number.pack(0)))

    def forget(self, stream: SpdyStream) -> None:
        """Drop a stream that is done with."""
        self._streams.pop(stream.number, None)
        stream.drop()

    async def _take_frame(self) -> bool:
        if len(self._data) < _frame_head.size:
            return False
        first, second = _frame_head.unpack_from(self._data)
        length = second & 0xFFFFFF
        if length > _LONGEST_FRAME_BYTES:
            raise SpdyError(f"a frame of {length} bytes")
        end = _frame_head.size + length
        if len(self._data) < end:
            return False
        body = bytes(self._data[_frame_head.size : end])
        del self._data[:end]
        flags = second >> 24
        if not first >> 31:
            await self._take_data(first & _ID, body, end=bool(flags & FLAG_FIN))
        elif first >> 16 != _VERSION:
            raise SpdyError(f"version {first >> 16 & 0x7FFF}")
        else:
            await self._take_control(first & 0xFFFF, body, flags)
        return True

    async def _take_data(self, number: int, data: bytes, *, end: bool) -> None:
        if (stream := self._streams.get(number)) is not None:
            await stream.feed(data, end=end)

    async def _take_control(self, kind: int, body: bytes, flags: int) -> None:
        if kind in (SETTINGS, GOAWAY, WINDOW_UPDATE):
            return
        if len(body) < _number.size:
            raise SpdyError("a frame that is too short")
        number = _number.unpack_from(body)[0] & _ID
        if kind == SYN_STREAM:
            await self._open(number, self._headers(body[10:]), end=bool(flags & FLAG_FIN))
        elif kind in (SYN_REPLY, HEADERS):
            self._headers(body[4:])
        elif kind == RST_STREAM and (stream := self._streams.get(number)) is not None:
            self.forget(stream)
        elif kind == PING and number % 2:
            await self.send(_control(PING, _number.pack(number)))

    async def _open(self, number: int, headers: dict[str, str], *, end: bool) -> None:
        if number <= self._last or number % 2 == 0:
            raise SpdyError(f"stream {number} after {self._last}")
        if len(self._streams) >= MOST_STREAMS:
            raise SpdyError(f"more than {MOST_STREAMS} streams")
        self._last = number
        stream = SpdyStream(self, number, headers)
        self._streams[number] = stream
        empty = self._deflate.compress(_number.pack(0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        await self.send(_control(SYN_REPLY, _number.pack(number) + empty))
        if end:
            await stream.feed(b"", end=True)
        self._opened(stream)

    def _headers(self, block: bytes) -> dict[str, str]:
        """The pairs of a compressed header block."""
        try:
            text = self._inflate.decompress(block, _LONGEST_HEADERS_BYTES)
            if self._inflate.unconsumed_tail:
                raise SpdyError(f"more than {_LONGEST_HEADERS_BYTES} bytes of headers")
            return _read_pairs(text)
        except (zlib.error, struct.error, UnicodeDecodeError) as error:
            raise SpdyError(f"headers that can't be read: {error}") from error


def _read_pairs(text: bytes) -> dict[str, str]:
    count, at = _number.unpack_from(text)[0], _number.size
    found: dict[str, str] = {}
    for _ in range(count):
        words = []
        for _ in range(2):
            length = _number.unpack_from(text, at)[0]
            at += _number.size
            words.append(text[at : at + length].decode())
            at += length
        found[words[0].lower()] = words[1].partition("\0")[0]
    return found


def _control(kind: int, body: bytes) -> bytes:
    return _frame_head.pack(_VERSION << 16 | kind, len(body)) + body
