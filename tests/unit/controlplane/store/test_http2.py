"""Unary calls over HTTP/2, answered by a peer that does what the test says, on both event loops that are used."""

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

from controlplane.store.etcd.dialing import Dialer
from controlplane.store.etcd.exchanges import CallError
from controlplane.store.etcd.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    PADDED,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
)
from controlplane.store.etcd.targets import target_of
from controlplane.store.etcd.unary import UnaryClient

DEADLINE_S = 10.0


class Peer:
    """One accepted connection: frames in and out, settings and windows left to the test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._encoder = Encoder()
        self._encoder.header_table_size = 0
        self._decoder = Decoder()

    async def greet(self, *settings: tuple[int, int]) -> None:
        assert await self._reader.readexactly(len(PREFACE)) == PREFACE
        self.send(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *setting) for setting in settings))

    def send(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        self._writer.write(frame(kind, flags, stream, payload))

    async def frame(self, *kinds: int) -> tuple[int, int, int, bytes]:
        """The next frame of one of these kinds; others are passed over."""
        while True:
            head = await self._reader.readexactly(9)
            payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
            if head[3] in kinds:
                return head[3], head[4], int.from_bytes(head[5:9], "big"), payload

    async def request(self) -> tuple[int, dict[str, str], bytes]:
        """The next call: its stream, its headers, its message. Opens no window."""
        _, _, stream, block = await self.frame(HEADERS)
        headers = {str(name): str(value) for name, value in self._decoder.decode(block)}
        body = b""
        while True:
            _, flags, _, payload = await self.frame(DATA)
            body += payload
            if flags & END_STREAM:
                assert body[0] == 0 and int.from_bytes(body[1:5], "big") == len(body) - 5
                return stream, headers, body[5:]

    def block(self, **headers: str) -> bytes:
        return bytes(self._encoder.encode([(name.replace("_", "-"), value) for name, value in headers.items()]))

    def answer(self, stream: int, message: bytes, **trailers: str) -> None:
        self.send(HEADERS, END_HEADERS, stream, self._encoder.encode([(":status", "200")]))
        body = struct.pack(">BI", 0, len(message)) + message
        for start in range(0, len(body), 16_000):
            self.send(DATA, 0, stream, body[start : start + 16_000])
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, self.block(grpc_status="0", **trailers))

    def close(self) -> None:
        self._writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]
Test = Callable[[UnaryClient], Coroutine[Any, Any, None]]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., None]:
    """Runs a test's calls against the connections that its scripts answer, one script a connection."""

    async def serve(test: Test, scripts: tuple[Script, ...]) -> None:
        remaining = iter(scripts)
        failures: list[BaseException] = []

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await next(remaining)(Peer(reader, writer))
            except asyncio.IncompleteReadError:
                pass
            except BaseException as error:
                failures.append(error)
            finally:
                writer.close()

        server = await asyncio.start_unix_server(accept, tmp_path / "s")
        client = UnaryClient(Dialer(target_of(f"unix://{tmp_path}/s"), None))
        try:
            async with asyncio.timeout(DEADLINE_S):
                await test(client)
        finally:
            await client.close()
            server.close()
            await server.wait_closed()
        assert not failures

    def start(test: Test, *scripts: Script) -> None:
        factory = uvloop.new_event_loop if request.param == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(serve(test, scripts))

    return start


async def call(client: UnaryClient, message: bytes = b"m", *, timeout_s: float = DEADLINE_S) -> bytes:
    return await client.call("/pkg.Service/Method", message, timeout_s=timeout_s)


async def failure(client: UnaryClient, message: bytes = b"m", *, timeout_s: float = DEADLINE_S) -> CallError:
    with pytest.raises(CallError) as caught:
        await call(client, message, timeout_s=timeout_s)
    return caught.value


async def echo(peer: Peer) -> None:
    """Answers every call with its own message."""
    await peer.greet()
    while True:
        stream, _, message = await peer.request()
        peer.send(WINDOW_UPDATE, 0, 0, struct.pack(">I", len(message) + 5))
        peer.answer(stream, message)


def test_calls_are_answered_each_its_own(run: Callable[..., None]) -> None:
    """Many at a time on one connection, and one after the other on the same."""

    async def test(client: UnaryClient) -> None:
        messages = [b"%d" % number for number in range(200)]
        assert await asyncio.gather(*(call(client, message) for message in messages)) == messages
        assert await call(client, b"last") == b"last"

    run(test, echo)


def test_a_call_has_the_headers_of_grpc(run: Callable[..., None]) -> None:
    """Method, path, authority and content type, on odd streams."""

    async def script(peer: Peer) -> None:
        await peer.greet()
        stream, headers, _ = await peer.request()
        assert stream == 1
        assert headers == {
            ":method": "POST",
            ":scheme": "http",
            ":path": "/pkg.Service/Method",
            ":authority": "localhost",
            "content-type": "application/grpc",
            "te": "trailers",
        }
        peer.answer(stream, b"")

    async def test(client: UnaryClient) -> None:
        assert await call(client) == b""

    run(test, script)


def test_a_large_message_waits_for_room(run: Callable[..., None]) -> None:
    """No more than the peer's windows allow is under way, in frames of the usual size; others wait in line."""

    async def script(peer: Peer) -> None:
        await peer.greet((INITIAL_WINDOW_SIZE, 20_000))
        _, _, stream, _ = await peer.frame(HEADERS)
        sizes = []
        body = b""
        while len(body) < 150_005:
            _, _, number, payload = await peer.frame(DATA)
            assert number == stream
            sizes.append(len(payload))
            body += payload
            if sum(sizes) % 20_000 == 0:
                peer.send(WINDOW_UPDATE, 0, stream, struct.pack(">I", 20_000))
                peer.send(WINDOW_UPDATE, 0, 0, struct.pack(">I", 20_000))
        assert max(sizes) <= 16_384
        peer.answer(stream, body[5:])

    async def test(client: UnaryClient) -> None:
        message = bytes(range(256)) * 586
        assert await call(client, message[:150_000]) == message[:150_000]

    run(test, script)


def test_large_answers_arrive(run: Callable[..., None]) -> None:
    """Cut into frames, padded, with headers in several parts; windows are opened again in time."""

    async def script(peer: Peer) -> None:
        await peer.greet()
        for _ in range(3):
            stream, _, _ = await peer.request()
            status = peer.block(**{":status": "200"})
            peer.send(HEADERS, 0, stream, status[:1])
            peer.send(CONTINUATION, END_HEADERS, stream, status[1:])
            message = struct.pack(">BI", 0, 8 << 20) + b"x" * (8 << 20)
            for start in range(0, len(message), 16_000):
                part = message[start : start + 16_000]
                peer.send(DATA, PADDED, stream, b"\x05" + part + b"\0" * 5)
            peer.send(HEADERS, END_HEADERS | END_STREAM, stream, peer.block(grpc_status="0"))
        await peer.frame(WINDOW_UPDATE)
        _, _, number, more = await peer.frame(WINDOW_UPDATE)
        assert number == 0 and int.from_bytes(more, "big") >= 1 << 24

    async def test(client: UnaryClient) -> None:
        for _ in range(3):
            assert len(await call(client)) == 8 << 20

    run(test, script)


def test_a_refusal_carries_its_code_and_text(run: Callable[..., None]) -> None:
    """Also one that comes without any message."""

    async def script(peer: Peer) -> None:
        await peer.greet()
        stream, _, _ = await peer.request()
        trailers = peer.block(**{":status": "200"}, grpc_status="8", grpc_message="no%20space%3A full")
        peer.send(HEADERS, END_HEADERS | END_STREAM, stream, trailers)
        stream, _, _ = await peer.request()
        peer.send(HEADERS, END_HEADERS | END_STREAM, stream, peer.block(**{":status": "503"}))
        stream, _, _ = await peer.request()
        peer.send(RST_STREAM, 0, stream, struct.pack(">I", 7))

    async def test(client: UnaryClient) -> None:
        error = await failure(client)
        assert (error.code(), error.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "no space: full")
        assert (await failure(client)).code() is grpc.StatusCode.UNKNOWN
        assert (await failure(client)).code() is grpc.StatusCode.UNAVAILABLE

    run(test, script)


def test_no_more_calls_than_the_peer_takes(run: Callable[..., None]) -> None:
    """Those beyond its limit begin when others have ended."""
    under_way: list[int] = []

    async def script(peer: Peer) -> None:
        await peer.greet((MAX_CONCURRENT_STREAMS, 2))
        open_streams: list[tuple[int, bytes]] = []
        for _ in range(6):
            stream, _, message = await peer.request()
            open_streams.append((stream, message))
            under_way.append(len(open_streams))
            if len(open_streams) == 2:
                peer.answer(*open_streams.pop(0))
        while open_streams:
            peer.answer(*open_streams.pop(0))

    async def test(client: UnaryClient) -> None:
        messages = [b"%d" % number for number in range(6)]
        assert await asyncio.gather(*(call(client, message) for message in messages)) == messages
        assert max(under_way) == 2

    run(test, script)


def test_a_lost_connection_fails_its_calls_and_the_next_call_makes_another(run: Callable[..., None]) -> None:
    """Whether the calls took effect is not known, and nothing is sent twice."""

    async def drop(peer: Peer) -> None:
        await peer.greet()
        await peer.request()
        peer.close()

    async def test(client: UnaryClient) -> None:
        errors = await asyncio.gather(*(failure(client) for _ in range(3)))
        assert {error.code() for error in errors} == {grpc.StatusCode.UNAVAILABLE}
        assert await call(client, b"again") == b"again"

    run(test, drop, echo)


def test_a_peer_that_leaves_answers_what_it_has_taken(run: Callable[..., None]) -> None:
    """Calls after that fail, and new ones go to a new connection."""

    async def leave(peer: Peer) -> None:
        await peer.greet()
        first, _, message = await peer.request()
        await peer.request()
        peer.send(GOAWAY, 0, 0, struct.pack(">II", first, 0) + b"bye")
        peer.answer(first, message)
        await peer.frame(PING)

    async def test(client: UnaryClient) -> None:
        taken, refused = await asyncio.gather(call(client, b"1"), failure(client, b"2"))
        assert taken == b"1" and "bye" in refused.details()
        assert await call(client, b"3") == b"3"

    run(test, leave, echo)


def test_a_silent_connection_is_left_after_a_call_that_had_no_answer(run: Callable[..., None]) -> None:
    """A call that is too late ends alone where the peer still answers others."""

    async def silent(peer: Peer) -> None:
        await peer.greet()
        while True:
            await peer.request()

    async def slow(peer: Peer) -> None:
        await peer.greet()
        late, _, _ = await peer.request()
        stream, _, message = await peer.request()
        peer.answer(stream, message)
        _, _, reset, _ = await peer.frame(RST_STREAM)
        assert reset == late
        peer.answer(late, b"nobody waits")
        stream, _, message = await peer.request()
        peer.answer(stream, message)

    async def test(client: UnaryClient) -> None:
        assert (await failure(client, timeout_s=0.05)).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        late, answered = await asyncio.gather(failure(client, b"late", timeout_s=0.2), call(client, b"1"))
        assert (late.code(), answered) == (grpc.StatusCode.DEADLINE_EXCEEDED, b"1")
        assert await call(client, b"2") == b"2"

    run(test, silent, slow)


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff"),
        frame(HEADERS, 0, 1, b"\x88") + frame(PING, 0, 0, b"\0" * 8),
        frame(CONTINUATION, 0, 1, b"\x88"),
        frame(DATA, PADDED, 1, b"\x09x"),
        frame(SETTINGS, 0, 0, b"odd"),
    ],
)
def test_a_peer_that_breaks_the_protocol_is_left(run: Callable[..., None], garbage: bytes) -> None:
    """The call fails, whatever it was that came, and the next one goes elsewhere."""

    async def babble(peer: Peer) -> None:
        await peer.greet()
        await peer.request()
        peer._writer.write(garbage)
        await peer.frame(PING)

    async def test(client: UnaryClient) -> None:
        assert (await failure(client)).code() is grpc.StatusCode.UNAVAILABLE
        assert await call(client) == b"m"

    run(test, babble, echo)


def test_settings_and_pings_are_acknowledged(run: Callable[..., None]) -> None:
    """A peer that hears nothing of them would close the connection."""

    async def script(peer: Peer) -> None:
        await peer.greet()
        stream, _, message = await peer.request()
        peer.send(PING, 0, 0, b"12345678")
        assert (await peer.frame(PING))[1:] == (ACK, 0, b"12345678")
        peer.answer(stream, message)

    async def test(client: UnaryClient) -> None:
        assert await call(client) == b"m"

    run(test, script)


def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    """Each call says so, and none waits for its deadline."""

    async def test() -> None:
        client = UnaryClient(Dialer(target_of(f"unix://{tmp_path}/none"), None))
        async with asyncio.timeout(DEADLINE_S):
            assert (await failure(client)).code() is grpc.StatusCode.UNAVAILABLE
        await client.close()

    asyncio.run(test())
