"""Streams that the server asks an agent for: logs, commands, attached terminals, forwarded connections.

The request goes down the node's session; the agent opens a Tunnel call that names the request's id, and the two sides
are joined here by two short queues. Who reads slowly stops who writes through HTTP/2 flow control; a reader that leaves
ends the agent's call.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import grpc
import msgspec

from controlplane.dispatcher.ending import StreamEndedError, left, violation
from controlplane.dispatcher.session import Session
from controlplane.dispatcher.sessions import Sessions
from flotilla.api.errors import ApiError, bad_request, internal, unavailable
from flotilla.api.objects import KubeObject, decode, encode, name_of, namespace_of, uid_of
from flotilla.api.streams import Chunk, StreamOptions
from protos import dispatcher_pb2 as pb

OPEN_TIMEOUT_S = 10.0
FRAMES_IN_FLIGHT = 8


class FrameStream(Protocol):
    """The agent's side of a tunnel: ``read`` gives None at the end."""

    async def read(self) -> pb.TunnelFrame | None: ...

    async def write(self, message: pb.TunnelFrame) -> None: ...


class Tunnel:
    """Implements :class:`controlplane.api.streams.source.NodeStream`."""

    def __init__(self, node: str) -> None:
        self.id = secrets.token_hex(16)
        self.node = node
        self.opened = asyncio.Event()
        self.closed = asyncio.Event()
        self.incoming: asyncio.Queue[pb.TunnelFrame | None] = asyncio.Queue(FRAMES_IN_FLIGHT)
        self.outgoing: asyncio.Queue[pb.TunnelFrame] = asyncio.Queue(FRAMES_IN_FLIGHT)
        self._ended = False
        self._error: ApiError | None = None

    def finish(self, error: ApiError | None) -> None:
        """No more frames will come, and none can be sent: whoever waits to send goes on."""
        if self._ended:
            return
        self._ended, self._error = True, error
        while not self.outgoing.empty():
            self.outgoing.get_nowait()
        if self.incoming.empty():
            self.incoming.put_nowait(None)

    async def frame(self) -> pb.TunnelFrame | None:
        """The next frame; None after the last. ApiError if the stream did not end well."""
        if not (self._ended and self.incoming.empty()) and (frame := await self.incoming.get()) is not None:
            return frame
        if self._error is not None:
            raise self._error
        return None

    async def read(self) -> Chunk | None:
        frame = await self.frame()
        return None if frame is None else Chunk(frame.channel.channel, frame.channel.data, end=frame.channel.end)

    async def write(self, chunk: Chunk) -> None:
        if not self._ended:
            message = pb.ChannelFrame(channel=chunk.channel, data=chunk.data, end=chunk.end)
            await self.outgoing.put(pb.TunnelFrame(channel=message))


class Tunnels:
    """Implements ``LogSource`` and ``StreamSource``."""

    def __init__(self, sessions: Sessions[Session]) -> None:
        self._sessions = sessions
        self._waiting: dict[str, Tunnel] = {}

    async def stream(self, pod: KubeObject, container: str, options: KubeObject) -> AsyncIterator[bytes]:
        """A container's log as bytes; ``options`` is a PodLogOptions. Ends when the log does. ApiError."""
        target = pb.LogsTarget(**_place(pod), container=container, options_json=encode(options))
        async with self._open(pod, pb.TunnelRequest(logs=target)) as tunnel:
            while (frame := await tunnel.frame()) is not None:
                yield frame.data

    @asynccontextmanager
    async def execute(
        self, pod: KubeObject, container: str, command: list[str], *, options: StreamOptions
    ) -> AsyncIterator[Tunnel]:
        """See :class:`controlplane.api.streams.source.StreamSource`."""
        target = pb.ExecTarget(**_place(pod), container=container, command=command, streams=_streams(options))
        async with self._open(pod, pb.TunnelRequest(exec=target)) as tunnel:
            yield tunnel

    @asynccontextmanager
    async def attach(self, pod: KubeObject, container: str, *, options: StreamOptions) -> AsyncIterator[Tunnel]:
        """See :class:`controlplane.api.streams.source.StreamSource`."""
        target = pb.AttachTarget(**_place(pod), container=container, streams=_streams(options))
        async with self._open(pod, pb.TunnelRequest(attach=target)) as tunnel:
            yield tunnel

    @asynccontextmanager
    async def forward(self, pod: KubeObject, port: int) -> AsyncIterator[Tunnel]:
        """See :class:`controlplane.api.streams.source.StreamSource`."""
        target = pb.PortForwardTarget(**_place(pod), port=port)
        async with self._open(pod, pb.TunnelRequest(port_forward=target)) as tunnel:
            yield tunnel

    async def page(self, node: str, target: str) -> AsyncIterator[bytes]:
        """See :class:`controlplane.api.node_proxy.PageSource`."""
        async with self._open_on(node, pb.TunnelRequest(page=pb.PageTarget(target=target))) as tunnel:
            while (frame := await tunnel.frame()) is not None:
                yield frame.data

    @asynccontextmanager
    async def _open(self, pod: KubeObject, request: pb.TunnelRequest) -> AsyncIterator[Tunnel]:
        node = (pod.get("spec") or {}).get("nodeName") or ""
        if not node:
            raise bad_request(f'pod "{name_of(pod)}" does not have a host assigned')
        async with self._open_on(node, request) as tunnel:
            yield tunnel

    @asynccontextmanager
    async def _open_on(self, node: str, request: pb.TunnelRequest) -> AsyncIterator[Tunnel]:
        session = self._sessions.of(node)
        if session is None:
            raise unavailable(f'node "{node}" is not connected to this server')
        tunnel = Tunnel(node)
        request.tunnel_id = tunnel.id
        self._waiting[tunnel.id] = tunnel
        try:
            session.downlink.send(pb.ServerMessage(tunnel_request=request))
            await _opened(tunnel)
            yield tunnel
        finally:
            self._waiting.pop(tunnel.id, None)
            tunnel.closed.set()

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
            return await _pump(tunnel, stream)
        finally:
            tunnel.finish(internal(f'the stream of node "{node}" broke off'))


async def _opened(tunnel: Tunnel) -> None:
    try:
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            await tunnel.opened.wait()
    except TimeoutError as error:
        message = f'node "{tunnel.node}" did not answer within {OPEN_TIMEOUT_S:g} s'
        raise ApiError(504, "Timeout", message) from error


async def _pump(tunnel: Tunnel, stream: FrameStream) -> StreamEndedError:
    receiving = asyncio.create_task(_receive(tunnel, stream), name=f"tunnel {tunnel.id} up")
    sending = asyncio.create_task(_send(tunnel, stream), name=f"tunnel {tunnel.id} down")
    leaving = asyncio.create_task(tunnel.closed.wait(), name=f"tunnel {tunnel.id} reader")
    tasks = (receiving, sending, leaving)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if receiving.done():
            return receiving.result()
        return StreamEndedError(grpc.StatusCode.CANCELLED, "the reader left")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _receive(tunnel: Tunnel, stream: FrameStream) -> StreamEndedError:
    while (frame := await stream.read()) is not None:
        match frame.WhichOneof("body"):
            case "data" | "channel":
                await tunnel.incoming.put(frame)
            case "end":
                tunnel.finish(_error(frame.end.error_json))
                return StreamEndedError(None, "the stream is complete")
            case other:
                return violation(f"unexpected frame {other!r}")
    return left(tunnel.node)


async def _send(tunnel: Tunnel, stream: FrameStream) -> None:
    while True:
        await stream.write(await tunnel.outgoing.get())


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


def _place(pod: KubeObject) -> dict[str, str]:
    return {"namespace": namespace_of(pod), "pod": name_of(pod), "pod_uid": uid_of(pod)}


def _streams(options: StreamOptions) -> pb.Streams:
    return pb.Streams(stdin=options.stdin, stdout=options.stdout, stderr=options.stderr, tty=options.tty)
