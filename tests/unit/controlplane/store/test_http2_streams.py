"""A stream of messages over HTTP/2, from a peer that does what the test says, on both event loops that are used."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import grpc
import pytest
import uvloop
from hpack import Decoder, Encoder

from controlplane.store.etcd.exchanges import CallError, MessageStream
from controlplane.store.etcd.http2 import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    SETTINGS,
    WINDOW_UPDATE,
    Connection,
    frame,
)

DEADLINE_S = 10.0
METADATA = (("hasleader", "true"),)


class Peer:
    """The accepted connection, once its stream has been asked for."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._encoder = Encoder()
        self._encoder.header_table_size = 0
        self.headers: dict[str, str] = {}
        self.request = b""

    async def accept(self) -> None:
        assert await self._reader.readexactly(len(PREFACE)) == PREFACE
        self.writer.write(frame(SETTINGS, 0, 0))
        _, _, block = await self.frame(HEADERS)
        self.headers = {str(name): str(value) for name, value in Decoder().decode(block)}
        _, flags, self.request = await self.frame(DATA)
        assert not flags & END_STREAM
        self.writer.write(frame(HEADERS, END_HEADERS, 1, self._encoder.encode([(":status", "200")])))

    async def frame(self, *kinds: int) -> tuple[int, int, bytes]:
        """Kind, flags and payload of the next frame of one of these kinds."""
        while True:
            head = await self._reader.readexactly(9)
            payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
            if head[3] in kinds:
                return head[3], head[4], payload

    def send(self, data: bytes, *, cut_bytes: int = 16_000) -> None:
        for start in range(0, len(data), cut_bytes):
            self.writer.write(frame(DATA, 0, 1, data[start : start + cut_bytes]))

    def end(self, **trailers: str) -> None:
        block = self._encoder.encode([(name.replace("_", "-"), value) for name, value in trailers.items()])
        self.writer.write(frame(HEADERS, END_HEADERS | END_STREAM, 1, block))


Script = Callable[[Peer], Awaitable[None]]
Test = Callable[[MessageStream], Coroutine[Any, Any, None]]


def message(content: bytes) -> bytes:
    return struct.pack(">BI", 0, len(content)) + content


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Test, Script], None]:
    """Runs a test on the stream of a peer that follows the script."""

    async def serve(test: Test, script: Script) -> None:
        failures: list[BaseException] = []

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peer = Peer(reader, writer)
            try:
                await peer.accept()
                await script(peer)
                await peer.frame(-1)
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            except BaseException as error:
                failures.append(error)
            finally:
                writer.close()

        server = await asyncio.start_unix_server(accept, tmp_path / "s")
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_unix_connection(
            lambda: Connection("localhost", secure=False, silent_s=0.05, echo_s=0.1), str(tmp_path / "s")
        )
        try:
            async with asyncio.timeout(DEADLINE_S):
                await connection.ready
                await test(connection.subscribe("/pkg.Service/Follow", b"from here", METADATA))
        finally:
            connection.abort()
            server.close()
            await server.wait_closed()
        assert not failures

    def start(test: Test, script: Script) -> None:
        factory = uvloop.new_event_loop if request.param == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(serve(test, script))

    return start


async def take(stream: MessageStream, number: int) -> list[bytes]:
    found: list[bytes] = []
    while len(found) < number:
        found += await stream.batch()
    return found


def test_messages_come_in_order_however_they_are_cut(run: Callable[[Test, Script], None]) -> None:
    """Empty, small and large ones, in frames of any size; the request stays open and carries its metadata."""
    contents = [b"", b"a", b"b" * 100, b"", bytes(range(256)) * 400, *(b"%d" % number for number in range(300))]
    wire = b"".join(map(message, contents))

    async def script(peer: Peer) -> None:
        assert peer.request == message(b"from here")
        assert peer.headers["hasleader"] == "true"
        assert peer.headers[":path"] == "/pkg.Service/Follow"
        for cut_bytes in (1, 7, 16_000):
            peer.send(wire, cut_bytes=cut_bytes)

    async def test(stream: MessageStream) -> None:
        assert await take(stream, 3 * len(contents)) == 3 * contents

    run(test, script)


def test_windows_of_a_stream_are_opened_again(run: Callable[[Test, Script], None]) -> None:
    """More than a window's worth can come on one stream, for it lasts."""

    async def script(peer: Peer) -> None:
        for _ in range(17):
            peer.send(message(bytes(1 << 20)))
            await peer.writer.drain()
        renewed: set[bytes] = set()
        while len(renewed) < 2:
            _, _, payload = await peer.frame(WINDOW_UPDATE)
            renewed.add(payload)
            peer.send(message(b"renewed"))

    async def test(stream: MessageStream) -> None:
        assert b"renewed" in await take(stream, 18)

    run(test, script)


def test_what_is_not_taken_is_not_read(run: Callable[[Test, Script], None]) -> None:
    """A slow consumer holds the peer up and loses nothing; a peer that can't be heard then is not taken for dead."""

    async def script(peer: Peer) -> None:
        for _ in range(64):
            peer.send(message(bytes(1 << 20)))
        assert peer.writer.transport.get_write_buffer_size() > 8 << 20

    async def test(stream: MessageStream) -> None:
        await asyncio.wait_for(asyncio.shield(stream.batch()), DEADLINE_S)
        loop = asyncio.get_running_loop()
        silent_until = loop.time() + 0.3
        quiet = loop.create_future()
        loop.call_at(silent_until, quiet.set_result, None)
        await quiet
        assert sum(map(len, await stream.batch())) < 32 << 20
        assert len(await take(stream, 1)) > 0

    run(test, script)


@pytest.mark.parametrize(
    ("trailers", "code"),
    [
        ({"grpc_status": "0"}, grpc.StatusCode.UNAVAILABLE),
        ({"grpc_status": "14", "grpc_message": "no%20leader"}, grpc.StatusCode.UNAVAILABLE),
        ({"grpc_status": "7"}, grpc.StatusCode.PERMISSION_DENIED),
    ],
)
def test_the_end_comes_after_the_messages(
    run: Callable[[Test, Script], None], trailers: dict[str, str], code: grpc.StatusCode
) -> None:
    """What was sent before the end is delivered, then the end is told as an error, each time."""

    async def script(peer: Peer) -> None:
        peer.send(message(b"last"))
        peer.end(**trailers)

    async def test(stream: MessageStream) -> None:
        assert await stream.batch() == [b"last"]
        for _ in range(2):
            with pytest.raises(CallError) as caught:
                await stream.batch()
            assert caught.value.code() is code

    run(test, script)


def test_a_silent_peer_is_asked_and_left(run: Callable[[Test, Script], None]) -> None:
    """One that echoes stays connected; one that does not is given up."""

    async def script(peer: Peer) -> None:
        for _ in range(3):
            _, _, payload = await peer.frame(PING)
            peer.writer.write(frame(PING, ACK, 0, payload))
        peer.send(message(b"still here"))
        await peer.frame(-1)

    async def test(stream: MessageStream) -> None:
        assert await stream.batch() == [b"still here"]
        with pytest.raises(CallError, match="silent"):
            await stream.batch()

    run(test, script)


def test_a_compressed_message_ends_it(run: Callable[[Test, Script], None]) -> None:
    """Nobody has asked for compression."""

    async def script(peer: Peer) -> None:
        peer.send(b"\x01\0\0\0\x01x")

    async def test(stream: MessageStream) -> None:
        with pytest.raises(CallError, match="compressed"):
            await stream.batch()

    run(test, script)
