"""One HTTP/2 connection that carries gRPC: unary calls, many at a time, or one stream of messages from the peer.

gRPC's own core takes four times the CPU for a small call or message, and every write of the cluster is one of each.
What they need of HTTP/2 (RFC 9113) is little: headers that never change, one message to the peer, flow control.
Requests that are made in one round of the loop go out in one write. The peer is told to keep no header table, so that
a header block means the same wherever it comes, and those that always come are decoded once.

Every failure of a call is a :class:`grpc.RpcError`, as gRPC's own would be.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import deque
from typing import cast

import grpc
from hpack import Decoder, Encoder
from hpack.exceptions import HPACKError

from controlplane.store.etcd.exchanges import (
    CallError,
    Exchange,
    Headers,
    MessageStream,
    Metadata,
    Question,
    unavailable,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 5, 6, 7, 8, 9
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, PRIORITY = 0x4, 0x8, 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 1, 2, 3, 4, 5
CANCEL = 8

_FRAME_BYTES = 16384
_WINDOW_BYTES = 65535
_LARGEST_WINDOW_BYTES = 2**31 - 1
_RENEW_AFTER_BYTES = 2**24
_LAST_STREAM = 2**31 - 1
_LONGEST_HEADERS_BYTES = 64 * 1024
_BLOCKS_KEPT = 64
SILENT_S = 10.0  # before the peer is asked for a sign of life; etcd takes no more than one ping in 5 s
ECHO_S = 3.0
_SWEEP_S = 0.1


class ProtocolError(Exception):
    """The peer does not keep to the protocol; the connection can't be used any more."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame, its head and its payload."""
    return struct.pack(">BHBBI", len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


class Connection(asyncio.Protocol):
    """``ready`` is done once the peer has said how it may be used; ``usable`` tells whether new calls may begin.

    ``heard_s`` is the moment, of the monotonic clock, at which anything came in last. The peer of a subscription is
    asked for a sign of life after ``silent_s`` and has ``echo_s`` to give it.
    """

    def __init__(self, authority: str, *, secure: bool, silent_s: float = SILENT_S, echo_s: float = ECHO_S) -> None:
        self._authority = authority
        self._scheme = "https" if secure else "http"
        self._silent_s = silent_s
        self._echo_s = echo_s
        self._loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self.usable = False
        self.heard_s = 0.0
        self._transport: asyncio.Transport | None = None
        self._input = b""
        self._output: list[bytes] = []
        self._flushing = False
        self._streams: dict[int, Exchange] = {}
        self._waiting: deque[Exchange] = deque()
        self._blocked: dict[int, Exchange] = {}
        self._next_id = 1
        self._window = _WINDOW_BYTES
        self._stream_window = _WINDOW_BYTES
        self._frame_bytes = _FRAME_BYTES
        self._most_streams = _LAST_STREAM
        self._received_bytes = 0
        self._headers: tuple[int, int, bytes] | None = None
        self._decoder = Decoder()
        self._decoder.max_allowed_table_size = 0
        self._decoder.header_table_size = 0
        self._decoded: dict[bytes, Headers] = {}
        self._heads: dict[tuple[str, Metadata], bytes] = {}
        self._held = False
        self._timer: asyncio.TimerHandle | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    async def call(self, path: str, message: bytes, *, timeout_s: float) -> bytes:
        """The answer to ``message`` from the method at ``path``. CallError, DEADLINE_EXCEEDED soon after the timeout.

        A call without any answer until then ends the connection if nothing else came on it either.
        """
        if not self.usable:
            raise unavailable("the connection is not open")
        stream = Question(path, message, self._loop.create_future(), timeout_s=timeout_s)
        self._waiting.append(stream)
        self._begin_waiting()
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)
        try:
            return await stream.answer
        except asyncio.CancelledError:
            self._give_up(stream)
            raise

    def subscribe(self, path: str, message: bytes, metadata: Metadata = ()) -> MessageStream:
        """What the method at ``path`` sends from ``message`` on, on a connection that carries nothing else. CallError.

        From now on the peer is asked for a sign of life when it is silent, for it may have nothing to say for long.
        """
        if not self.usable:
            raise unavailable("the connection is not open")
        stream = MessageStream(path, message, metadata, hold=self._hold)
        self._waiting.append(stream)
        self._begin_waiting()
        self._watch_over_peer()
        return stream

    def abort(self) -> None:
        """End the connection; calls that are under way fail."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's is none by class
        self._transport = transport
        settings = ((HEADER_TABLE_SIZE, 0), (ENABLE_PUSH, 0), (INITIAL_WINDOW_SIZE, _LARGEST_WINDOW_BYTES))
        payload = b"".join(struct.pack(">HI", *setting) for setting in settings)
        more = struct.pack(">I", _LARGEST_WINDOW_BYTES - _WINDOW_BYTES)
        transport.write(PREFACE + frame(SETTINGS, 0, 0, payload) + frame(WINDOW_UPDATE, 0, 0, more))

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(unavailable(f"the connection was lost: {exc}" if exc else "the connection was closed"))

    def data_received(self, data: bytes) -> None:
        self.heard_s = time.monotonic()  # the loop's own clock stands still within a round
        self._input = self._input + data if self._input else data
        try:
            self._read_frames()
        except (ProtocolError, HPACKError, struct.error) as error:
            self._end(unavailable(f"the peer broke the protocol: {error}"))
            self.abort()

    def _end(self, error: CallError) -> None:
        self.usable = False
        for stream in (*self._streams.values(), *self._waiting):
            stream.fail(error)
        self._streams.clear()
        self._waiting.clear()
        for timer in (self._timer, self._sweeper):
            if timer is not None:
                timer.cancel()
        if not self.ready.done():
            self.ready.set_exception(error)

    def _sweep(self) -> None:
        """Give up what is overdue. One timer for all: one for each call would cost more than most of the call."""
        self._sweeper = None
        now_s = time.monotonic()
        for stream in [one for one in (*self._streams.values(), *self._waiting) if one.due_s <= now_s]:
            self._give_up(stream)
            waited_s = now_s - stream.began_s
            stream.fail(CallError(grpc.StatusCode.DEADLINE_EXCEEDED, f"no answer in {waited_s:.1f} s"))
            if self.heard_s < stream.began_s:
                self.abort()
        if self._streams or self._waiting:
            self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)

    def _hold(self, held: bool) -> None:
        """Stop reading, or go on with it."""
        if self._transport is not None and not self._transport.is_closing():
            (self._transport.pause_reading if held else self._transport.resume_reading)()
            self._held = held

    def _watch_over_peer(self) -> None:
        """Ask a silent peer whether it is there, now or when it will have been silent for long."""
        silent_s = time.monotonic() - self.heard_s
        if self._held or silent_s < self._silent_s:
            self._timer = self._loop.call_later(max(self._echo_s, self._silent_s - silent_s), self._watch_over_peer)
            return
        self._write(frame(PING, 0, 0, bytes(8)))
        self._timer = self._loop.call_later(self._echo_s, self._expect_echo, self.heard_s)

    def _expect_echo(self, heard_s: float) -> None:
        if self.heard_s > heard_s or self._held:
            self._watch_over_peer()
            return
        self._end(unavailable("the peer is silent"))
        self.abort()

    def _begin_waiting(self) -> None:
        while self._waiting and len(self._streams) < self._most_streams:
            stream = self._waiting.popleft()
            number = self._next_id
            self._next_id += 2
            if self._next_id > _LAST_STREAM:
                self.usable = False
            stream.window = self._stream_window
            self._streams[number] = stream
            self._write(frame(HEADERS, END_HEADERS, number, self._head(stream.path, stream.metadata)))
            self._send(number, stream)

    def _head(self, path: str, metadata: Metadata) -> bytes:
        """The header block of every call to ``path`` with ``metadata``."""
        block = self._heads.get((path, metadata))
        if block is None:
            headers = [(":method", "POST"), (":scheme", self._scheme), (":path", path), (":authority", self._authority)]
            headers += [("content-type", "application/grpc"), ("te", "trailers"), *metadata]
            encoder = Encoder()
            encoder.header_table_size = 0
            block = self._heads[path, metadata] = encoder.encode(headers)
        return block

    def _send(self, number: int, stream: Exchange) -> None:
        """Send as much of the message as the peer takes now."""
        while stream.unsent:
            room = min(len(stream.unsent), self._window, stream.window, self._frame_bytes)
            if room <= 0:
                self._blocked[number] = stream
                return
            part, stream.unsent = stream.unsent[:room], stream.unsent[room:]
            self._window -= room
            stream.window -= room
            self._write(frame(DATA, 0 if stream.unsent or stream.lasting else END_STREAM, number, part))

    def _write(self, data: bytes) -> None:
        self._output.append(data)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(self._output))
        self._output.clear()

    def _give_up(self, stream: Exchange) -> None:
        """Nobody waits for the answer any more."""
        if stream in self._waiting:
            self._waiting.remove(stream)
            return
        number = next((number for number, one in self._streams.items() if one is stream), 0)
        if number:
            del self._streams[number]
            self._write(frame(RST_STREAM, 0, number, struct.pack(">I", CANCEL)))
            self._begin_waiting()

    def _read_frames(self) -> None:
        data, at = self._input, 0
        while len(data) - at >= 9:
            length = int.from_bytes(data[at : at + 3], "big")
            if length > _FRAME_BYTES:
                raise ProtocolError(f"a frame of {length} bytes")
            if len(data) - at < 9 + length:
                break
            kind, flags = data[at + 3], data[at + 4]
            number = int.from_bytes(data[at + 5 : at + 9], "big") & _LAST_STREAM
            payload = data[at + 9 : at + 9 + length]
            at += 9 + length
            self._take(kind, flags, number, payload)
        self._input = data[at:]

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._headers is not None and kind != CONTINUATION:
            raise ProtocolError("headers that do not end")
        if kind == DATA:
            self._take_data(flags, number, payload)
        elif kind == HEADERS:
            self._take_headers(flags, number, _unpadded(flags, payload))
        elif kind == CONTINUATION:
            self._continue_headers(flags, number, payload)
        elif kind == WINDOW_UPDATE:
            self._widen(number, int.from_bytes(payload, "big") & _LAST_STREAM)
        elif kind == SETTINGS and not flags & ACK:
            self._take_settings(payload)
        elif kind == PING and not flags & ACK:
            self._write(frame(PING, ACK, 0, payload))
        elif kind == RST_STREAM:
            stream = self._streams.pop(number, None)
            if stream is not None:
                stream.fail(unavailable(f"the call was reset: {int.from_bytes(payload, 'big')}"))
                self._begin_waiting()
        elif kind == GOAWAY:
            self._take_leave(payload)
        elif kind == PUSH_PROMISE:
            raise ProtocolError("a push")

    def _take_data(self, flags: int, number: int, payload: bytes) -> None:
        self._received_bytes += len(payload)
        if self._received_bytes >= _RENEW_AFTER_BYTES:
            self._write(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", self._received_bytes)))
            self._received_bytes = 0
        stream = self._streams.get(number)
        if stream is None:
            return
        stream.take(_unpadded(flags, payload) if flags else payload)
        if flags & END_STREAM:
            self._finish(number, {})
        elif stream.lasting:
            stream.received_bytes += len(payload)
            if stream.received_bytes >= _RENEW_AFTER_BYTES:
                self._write(frame(WINDOW_UPDATE, 0, number, struct.pack(">I", stream.received_bytes)))
                stream.received_bytes = 0

    def _take_headers(self, flags: int, number: int, block: bytes) -> None:
        if not flags & END_HEADERS:
            self._headers = (flags, number, block)
            return
        headers = self._decode(block)
        if flags & END_STREAM:
            self._finish(number, headers)
        elif headers.get(":status") != "200":
            stream = self._streams.pop(number, None)
            if stream is not None:
                stream.fail(unavailable(f"HTTP status {headers.get(':status')}"))
                self._begin_waiting()

    def _continue_headers(self, flags: int, number: int, more: bytes) -> None:
        if self._headers is None or self._headers[1] != number:
            raise ProtocolError("a continuation of nothing")
        first_flags, _, block = self._headers
        self._headers = None
        if len(block) + len(more) > _LONGEST_HEADERS_BYTES:
            raise ProtocolError("headers without end")
        self._take_headers(first_flags | (flags & END_HEADERS), number, block + more)

    def _decode(self, block: bytes) -> Headers:
        headers = self._decoded.get(block)
        if headers is None:
            headers = {str(name): str(value) for name, value in self._decoder.decode(block)}
            if len(self._decoded) < _BLOCKS_KEPT:
                self._decoded[block] = headers
        return headers

    def _finish(self, number: int, trailers: Headers) -> None:
        stream = self._streams.pop(number, None)
        if stream is None:
            return
        stream.finish(trailers)
        self._begin_waiting()

    def _widen(self, number: int, more: int) -> None:
        if number == 0:
            self._window += more
        elif number in self._streams:
            self._streams[number].window += more
        if self._blocked:
            self._send_blocked()

    def _send_blocked(self) -> None:
        blocked, self._blocked = self._blocked, {}
        for number, stream in blocked.items():
            if self._streams.get(number) is stream:
                self._send(number, stream)

    def _take_settings(self, payload: bytes) -> None:
        for name, value in struct.iter_unpack(">HI", payload):
            if name == MAX_CONCURRENT_STREAMS:
                self._most_streams = value
            elif name == MAX_FRAME_SIZE:
                self._frame_bytes = min(value, _FRAME_BYTES)
            elif name == INITIAL_WINDOW_SIZE:
                for stream in self._streams.values():
                    stream.window += value - self._stream_window
                self._stream_window = value
        self._write(frame(SETTINGS, ACK, 0))
        if not self.ready.done():
            self.usable = True
            self.ready.set_result(None)
        self._begin_waiting()
        self._send_blocked()

    def _take_leave(self, payload: bytes) -> None:
        """The peer closes down: calls that it has taken are answered, others never were."""
        self.usable = False
        last = int.from_bytes(payload[:4], "big") & _LAST_STREAM
        error = unavailable(f"the peer went away: {payload[8:].decode(errors='replace')}")
        for number in [number for number in self._streams if number > last]:
            self._streams.pop(number).fail(error)
        for stream in self._waiting:
            stream.fail(error)
        self._waiting.clear()


def _unpadded(flags: int, payload: bytes) -> bytes:
    """The payload without padding and priority. ProtocolError."""
    start, end = 0, len(payload)
    if flags & PADDED:
        if not payload or payload[0] >= end:
            raise ProtocolError("more padding than payload")
        start, end = 1, end - payload[0]
    if flags & PRIORITY:
        start += 5
    return payload[start:end] if start or end < len(payload) else payload
