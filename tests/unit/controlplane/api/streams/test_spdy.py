"""SPDY/3.1: what a client sends becomes streams, what is no SPDY ends the connection."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from controlplane.api.streams.remote_command import SpdyClient
from controlplane.api.streams.spdy import (
    FLAG_FIN,
    GOAWAY,
    PING,
    RST_STREAM,
    STREAM_BYTES,
    SYN_REPLY,
    SYN_STREAM,
    SpdyConnection,
    SpdyError,
    SpdyStream,
)
from controlplane.api.streams.spdy_dictionary import DICTIONARY
from flotilla.api.streams import RESIZE, Chunk, StreamOptions

DEADLINE_S = 5.0


@dataclass
class Wire:
    """Both directions of a connection: ``sent`` by the client, ``received`` from the server, frame by frame."""

    sent: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    received: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    deflate: zlib._Compress = field(default_factory=lambda: zlib.compressobj(zdict=DICTIONARY))

    async def read(self) -> bytes:
        return await self.sent.get()

    async def write(self, data: bytes) -> None:
        self.received.put_nowait(data)

    def control(self, kind: int, body: bytes, *, flags: int = 0, version: int = 3) -> None:
        self.sent.put_nowait(struct.pack("!HHI", 0x8000 | version, kind, flags << 24 | len(body)) + body)

    def block(self, headers: dict[str, str]) -> bytes:
        words = b"".join(_word(name) + _word(value) for name, value in headers.items())
        text = struct.pack("!I", len(headers)) + words
        return self.deflate.compress(text) + self.deflate.flush(zlib.Z_SYNC_FLUSH)

    def open(self, number: int, headers: dict[str, str], *, flags: int = 0) -> None:
        self.control(SYN_STREAM, struct.pack("!IIH", number, 0, 0) + self.block(headers), flags=flags)

    def data(self, number: int, data: bytes, *, flags: int = 0) -> None:
        self.sent.put_nowait(struct.pack("!II", number, flags << 24 | len(data)) + data)

    async def frame(self) -> bytes:
        return await asyncio.wait_for(self.received.get(), DEADLINE_S)


def _word(text: str) -> bytes:
    return struct.pack("!I", len(text)) + text.encode()


@dataclass
class Server:
    wire: Wire
    connection: SpdyConnection
    streams: asyncio.Queue[SpdyStream]
    running: asyncio.Task[None]

    async def stream(self) -> SpdyStream:
        return await asyncio.wait_for(self.streams.get(), DEADLINE_S)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    wire, streams = Wire(), asyncio.Queue[SpdyStream]()
    connection = SpdyConnection(wire, streams.put_nowait)
    running = asyncio.create_task(connection.run())
    yield Server(wire, connection, streams, running)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_the_dictionary() -> None:
    """The shared dictionary is the draft's: its checksum is part of every compressed stream."""
    assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2


async def test_streams_both_ways(server: Server) -> None:
    """A stream is accepted with its headers, carries bytes both ways, and ends on each side by itself."""
    server.wire.open(1, {"streamType": "stdin", "port": "80\0 81"})
    stream = await server.stream()
    assert stream.headers == {"streamtype": "stdin", "port": "80"}
    assert (await server.wire.frame())[:4] == struct.pack("!HH", 0x8003, SYN_REPLY)
    server.wire.data(1, b"hello ")
    server.wire.data(1, b"world", flags=FLAG_FIN)
    collected = b""
    while data := await stream.read():
        collected += data
    assert collected == b"hello world"
    await stream.write(b"answer", end=True)
    assert await server.wire.frame() == struct.pack("!II", 1, 6) + b"answer"
    assert await server.wire.frame() == struct.pack("!II", 1, FLAG_FIN << 24)
    await stream.write(b"late")
    assert server.wire.received.empty()


async def test_header_blocks_share_one_compression(server: Server) -> None:
    """The second stream's headers are read in the state that the first ones left."""
    for number in (1, 3):
        server.wire.open(number, {"requestID": str(number), "streamType": "data"})
        assert (await server.stream()).headers["requestid"] == str(number)


async def test_pings_and_leaving(server: Server) -> None:
    """A client's ping comes back; going away names the last stream."""
    server.wire.control(PING, struct.pack("!I", 7))
    assert await server.wire.frame() == struct.pack("!HHII", 0x8003, PING, 4, 7)
    server.wire.open(5, {})
    await server.stream()
    await server.wire.frame()
    await server.connection.go_away()
    assert await server.wire.frame() == struct.pack("!HHIII", 0x8003, GOAWAY, 8, 5, 0)


async def test_sizes_of_a_terminal_arrive_one_by_one() -> None:
    """However the client's sizes are cut into frames, each is one message."""
    wire, client = Wire(), SpdyClient("v4.channel.k8s.io", StreamOptions(stdout=True, tty=True))
    running = asyncio.create_task(client.run(SpdyConnection(wire, client.opened)))
    for number, channel in enumerate(("error", "stdout", "resize")):
        wire.open(2 * number + 1, {"streamType": channel})
    for data in (b'{"Width":2}\n{"Width":1}\n{"Wi', b'dth":3}\n'):
        wire.data(5, data)
    found = [await asyncio.wait_for(client.read(), DEADLINE_S) for _ in range(3)]
    assert found == [Chunk(RESIZE, b'{"Width":%d}' % width) for width in (2, 1, 3)]
    wire.sent.put_nowait(b"")
    await asyncio.wait_for(running, DEADLINE_S)


async def test_a_reset_or_a_left_client_ends_streams(server: Server) -> None:
    """Whoever reads a stream learns that no more will come."""
    server.wire.open(1, {})
    server.wire.open(3, {})
    first, second = await server.stream(), await server.stream()
    server.wire.control(RST_STREAM, struct.pack("!II", 1, 5))
    assert await asyncio.wait_for(first.read(), DEADLINE_S) == b""
    server.wire.sent.put_nowait(b"")
    assert await asyncio.wait_for(second.read(), DEADLINE_S) == b""
    await asyncio.wait_for(server.running, DEADLINE_S)


async def test_an_unread_stream_stops_the_connection(server: Server) -> None:
    """No more than the limit is held of what nobody reads, and reading lets the rest in."""
    server.wire.open(1, {})
    stream = await server.stream()
    for _ in range(5):
        server.wire.data(1, b"x" * (STREAM_BYTES // 2))
    server.wire.data(1, b"", flags=FLAG_FIN)
    total = 0
    while data := await asyncio.wait_for(stream.read(), DEADLINE_S):
        assert len(data) <= STREAM_BYTES * 3 // 2
        total += len(data)
    assert total == STREAM_BYTES * 5 // 2


@pytest.mark.parametrize(
    "frame",
    [
        struct.pack("!HHI", 0x8002, SYN_STREAM, 10) + bytes(10),
        struct.pack("!HHI", 0x8003, SYN_STREAM, 0xFFFFFF),
        struct.pack("!HHI", 0x8003, PING, 2) + bytes(2),
        struct.pack("!HHI", 0x8003, SYN_STREAM, 14) + struct.pack("!IIH", 1, 0, 0) + b"junk",
        struct.pack("!HHI", 0x8003, SYN_STREAM, 10) + struct.pack("!IIH", 2, 0, 0),
    ],
    ids=["version", "length", "short", "headers", "even"],
)
async def test_what_is_no_spdy(server: Server, frame: bytes) -> None:
    """A broken frame ends the connection with an error."""
    server.wire.sent.put_nowait(frame)
    with pytest.raises(SpdyError):
        await asyncio.wait_for(server.running, DEADLINE_S)


async def test_a_bomb_of_headers(server: Server) -> None:
    """Headers that grow beyond the limit when they are unpacked are refused."""
    server.wire.open(1, {"name": "x" * (1 << 20)})
    with pytest.raises(SpdyError, match="bytes of headers"):
        await asyncio.wait_for(server.running, DEADLINE_S)
