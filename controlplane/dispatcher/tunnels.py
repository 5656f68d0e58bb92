"""Streams that the server asks an agent for: log streams now.

The request goes down the node's session; the agent opens a Tunnel call that names the request's id, and the two sides
are joined here by a short queue. A reader that is slow stops the agent's writes through HTTP/2 flow control; a reader
that leaves ends the agent's call.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Protocol

import grpc
import msgspec

from controlplane.dispatcher.ending import StreamEndedError, left, violation
from controlplane.dispatcher.session import Session
from controlplane.dispatcher.sessions import Sessions
from flotilla.api.errors import ApiError, bad_request, internal, unavailable
from flotilla.api.objects import KubeObject, decode, encode, name_of, namespace_of, uid_of
from protos import dispatcher_pb2 as pb

OPEN_TIMEOUT_S = 10.0
FRAMES_IN_FLIGHT = 8


class FrameStream(Protocol):
    """The agent's side of a tunnel: ``read`` gives None at the end."""

    async def read(self) -> pb.TunnelFrame | None: ...


class _Tunnel:
    def __init__(self, node: str) -> None:
        self.id = secrets.token_hex(16)
        self.node = node
        self.opened = asyncio.Event()
        self.reader_left = asyncio.Event()
        self.frames: asyncio.Queue[bytes] = asyncio.Queue(FRAMES_IN_FLIGHT)
        self.ended = False
        self.error: ApiError | None = None

    def finish(self, error: ApiError | None) -> None:
        """No more frames will come."""
        if self.ended:
            return
        self.ended, self.error = True, error
        if self.frames.empty():
            self.frames.put_nowait(b"")

    async def frame(self) -> bytes | None:
        """The next frame; None after the last."""
        if self.ended and self.frames.empty():
            return None
        return await self.frames.get()


class Tunnels:
    """Implements ``LogSource``."""

    def __init__(self, sessions: Sessions[Session]) -> None:
        self._sessions = sessions
        self._waiting: dict[str, _Tunnel] = {}

    async def stream(self, pod: KubeObject, container: str, options: KubeObject) -> AsyncIterator[bytes]:
        """A container's log as bytes; ``options`` is a PodLogOptions. Ends when the log does. ApiError."""
        node = (pod.get("spec") or {}).get("nodeName") or ""
        if not node:
            raise bad_request(f'pod "{name_of(pod)}" does not have a host assigned')
        session = self._sessions.of(node)
        if session is None:
            raise unavailable(f'node "{node}" is not connected to this server')
        tunnel = _Tunnel(node)
        self._waiting[tunnel.id] = tunnel
        try:
            session.downlink.send(pb.ServerMessage(tunnel_request=_logs_request(tunnel.id, pod, container, options)))
            await self._opened(tunnel)
            while (frame := await tunnel.frame()) is not None:
                if frame:
                    yield frame
            if tunnel.error is not None:
                raise tunnel.error
        finally:
            self._waiting.pop(tunnel.id, None)
            tunnel.reader_left.set()

    async def _opened(self, tunnel: _Tunnel) -> None:
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await tunnel.opened.wait()
        except TimeoutError as error:
            message = f'node "{tunnel.node}" did not answer within {OPEN_TIMEOUT_S:g} s'
            raise ApiError(504, "Timeout", message) from error

    async def serve(self, node: str, stream: FrameStream) -> StreamEndedError:
        """The agent's call; returns why it ends."""
        first = await stream.read()
        if first is None or first.WhichOneof("body") != "tunnel_id":
            return violation("a tunnel begins with its id")
        tunnel = self._waiting.pop(first.tunnel_id, None)
        if tunnel is None or tunnel.node != node:
            return StreamEndedError(grpc.StatusCode.NOT_FOUND, "no such tunnel is asked for")
        tunnel.opened.set()
        try:
            return await self._pump(tunnel, stream)
        finally:
            tunnel.finish(internal(f'the log stream of node "{node}" broke off'))

    async def _pump(self, tunnel: _Tunnel, stream: FrameStream) -> StreamEndedError:
        copying = asyncio.create_task(_copy(tunnel, stream), name=f"tunnel {tunnel.id} frames")
        leaving = asyncio.create_task(tunnel.reader_left.wait(), name=f"tunnel {tunnel.id} reader")
        try:
            await asyncio.wait({copying, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if copying.done():
                return copying.result()
            return StreamEndedError(grpc.StatusCode.CANCELLED, "the reader left")
        finally:
            copying.cancel()
            leaving.cancel()
            await asyncio.gather(copying, leaving, return_exceptions=True)


async def _copy(tunnel: _Tunnel, stream: FrameStream) -> StreamEndedError:
    while (frame := await stream.read()) is not None:
        match frame.WhichOneof("body"):
            case "data":
                await tunnel.frames.put(frame.data)
            case "end":
                tunnel.finish(_error(frame.end.error_json))
                return StreamEndedError(None, "the stream is complete")
            case other:
                return violation(f"unexpected frame {other!r}")
    return left(tunnel.node)


def _error(status_json: str) -> ApiError | None:
    if not status_json:
        return None
    try:
        status = decode(status_json.encode())
        return ApiError(
            int(status["code"]), str(status["reason"]), str(status["message"]), details=status.get("details")
        )
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        return internal(f"the node reported an error that can't be read: {status_json[:200]}")


def _logs_request(tunnel_id: str, pod: KubeObject, container: str, options: KubeObject) -> pb.TunnelRequest:
    target = pb.LogsTarget(
        namespace=namespace_of(pod),
        pod=name_of(pod),
        pod_uid=uid_of(pod),
        container=container,
        options_json=encode(options),
    )
    return pb.TunnelRequest(tunnel_id=tunnel_id, logs=target)
