"""What one HTTP/2 stream carries of gRPC: a single answer, or messages until one side has enough.

The connection (:mod:`controlplane.store.etcd.http2`) hands over what arrives on a stream and how it ends.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable
from urllib.parse import unquote

import grpc

Headers = dict[str, str]
Metadata = tuple[tuple[str, str], ...]

_PREFIX_BYTES = 5
_MOST_WAITING_BYTES = 8 * 2**20
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class CallError(grpc.RpcError):
    """A call failed with this code."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self._code = code
        self._details = details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details


def unavailable(details: str) -> CallError:
    """A failure of which it is not known whether the call took effect."""
    return CallError(grpc.StatusCode.UNAVAILABLE, details)


def prefixed(message: bytes) -> bytes:
    """A message as it stands on the wire, not compressed."""
    return struct.pack(">BI", 0, len(message)) + message


class Exchange:
    """A call that is under way. ``unsent`` is what is left of its message, ``window`` what the peer takes of it now.

    ``lasting`` tells whether the sending side stays open once the message is sent. What began at ``began_s`` is over by
    ``due_s``, both of the monotonic clock.
    """

    __slots__ = ("began_s", "due_s", "metadata", "path", "received_bytes", "unsent", "window")

    lasting = False

    def __init__(self, path: str, message: bytes, metadata: Metadata = ()) -> None:
        self.path = path
        self.metadata = metadata
        self.unsent = prefixed(message)
        self.window = 0
        self.received_bytes = 0
        self.began_s = 0.0
        self.due_s = float("inf")

    def take(self, data: bytes) -> None:
        """More of what comes back."""
        raise NotImplementedError

    def finish(self, trailers: Headers) -> None:
        """The peer has sent everything."""
        error = _error_in(trailers)
        if error is not None:
            self.fail(error)
        else:
            self.complete()

    def complete(self) -> None:
        """The peer has sent everything and says that it went well."""
        raise NotImplementedError

    def fail(self, error: CallError) -> None:
        """Nothing more comes."""
        raise NotImplementedError


class Question(Exchange):
    """One message each way; ``answer`` is done with the peer's."""

    __slots__ = ("_body", "answer")

    def __init__(self, path: str, message: bytes, answer: asyncio.Future[bytes], *, timeout_s: float) -> None:
        super().__init__(path, message)
        self.answer = answer
        self.began_s = time.monotonic()
        self.due_s = self.began_s + timeout_s
        self._body: bytes | bytearray = b""

    def take(self, data: bytes) -> None:
        if not self._body:
            self._body = data
            return
        if isinstance(self._body, bytes):
            self._body = bytearray(self._body)
        self._body += data

    def complete(self) -> None:
        body = self._body
        if len(body) < _PREFIX_BYTES or body[0] or _length(body, 0) != len(body) - _PREFIX_BYTES:
            self.fail(CallError(grpc.StatusCode.INTERNAL, "the answer is not one plain message"))
        elif not self.answer.done():
            self.answer.set_result(bytes(memoryview(body)[_PREFIX_BYTES:]))

    def fail(self, error: CallError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class MessageStream(Exchange):
    """Messages as they come, on a connection of its own, which is not read while too much waits here.

    ``hold`` stops and, with False, goes on with the reading of the connection.
    """

    __slots__ = ("_body", "_end", "_held", "_hold", "_messages", "_needed_bytes", "_waiter", "_waiting_bytes")

    lasting = True

    def __init__(self, path: str, message: bytes, metadata: Metadata, *, hold: Callable[[bool], None]) -> None:
        super().__init__(path, message, metadata)
        self._hold = hold
        self._held = False
        self._body = bytearray()
        self._needed_bytes = _PREFIX_BYTES
        self._messages: list[bytes] = []
        self._waiting_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._end: CallError | None = None

    async def batch(self) -> list[bytes]:
        """The messages that have come, at least one. CallError once there are no more."""
        while not self._messages:
            if self._end is not None:
                raise self._end
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        messages, self._messages = self._messages, []
        self._waiting_bytes = 0
        if self._held:
            self._held = False
            self._hold(False)
        return messages

    def take(self, data: bytes) -> None:
        self._body += data
        if len(self._body) < self._needed_bytes:
            return
        body = memoryview(self._body).toreadonly()
        at = 0
        self._needed_bytes = _PREFIX_BYTES
        while len(body) - at >= _PREFIX_BYTES:
            if body[at]:
                self.fail(CallError(grpc.StatusCode.INTERNAL, "a message is compressed"))
                break
            end = at + _PREFIX_BYTES + _length(body, at)
            if end > len(body):
                self._needed_bytes = end - at
                break
            self._messages.append(bytes(body[at + _PREFIX_BYTES : end]))
            at = end
        body.release()
        del self._body[:at]
        if at:
            self._waiting_bytes += at
            self._wake()
        if self._waiting_bytes > _MOST_WAITING_BYTES and not self._held:
            self._held = True
            self._hold(True)

    def complete(self) -> None:
        self.fail(unavailable("the peer ended the stream"))

    def fail(self, error: CallError) -> None:
        if self._end is None:
            self._end = error
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _length(body: bytes | bytearray | memoryview, at: int) -> int:
    return int.from_bytes(body[at + 1 : at + _PREFIX_BYTES], "big")


def _error_in(trailers: Headers) -> CallError | None:
    status = trailers.get("grpc-status", "")
    if status == "0":
        return None
    code = _CODES.get(int(status), grpc.StatusCode.UNKNOWN) if status.isdigit() else grpc.StatusCode.UNKNOWN
    return CallError(code, unquote(trailers.get("grpc-message", "the answer has no status")))
