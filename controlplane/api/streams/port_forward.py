"""``portforward``: each connection of a client joined to one to the pod.

Over SPDY (plain, or inside of a WebSocket) a client opens two streams for each connection, one for its bytes and one on
which it is told of an error, and names both by the same ``requestID``. Over a channel WebSocket, which Python's clients
speak, all ports are named in the request and each has one connection, on two channels that begin with the port's
number.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from controlplane.api.streams.channels import ChannelSocket
from controlplane.api.streams.source import NodeStream, StreamSource
from controlplane.api.streams.spdy import ByteConnection, SpdyConnection, SpdyStream
from flotilla.api.errors import ApiError
from flotilla.api.objects import KubeObject
from flotilla.api.streams import STDIN, STDOUT, Chunk

SPDY_PROTOCOLS = ("portforward.k8s.io",)
WEBSOCKET_PROTOCOLS = ("SPDY/3.1+portforward.k8s.io", "v2.portforward.k8s.io")
MOST_UNPAIRED = 100


@dataclass(slots=True)
class _Pair:
    error: SpdyStream | None = None
    data: SpdyStream | None = None


class SpdyForwarding:
    """Connections of one SPDY client to one pod."""

    def __init__(self, source: StreamSource, pod: KubeObject, connection: ByteConnection) -> None:
        self._source = source
        self._pod = pod
        self._pairs: dict[str, _Pair] = {}
        self._serving: set[asyncio.Task[None]] = set()
        self._connection = SpdyConnection(connection, self._opened)

    async def run(self) -> None:
        """Serve until the client leaves. SpdyError."""
        try:
            await self._connection.run()
        finally:
            for task in self._serving:
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)

    def _opened(self, stream: SpdyStream) -> None:
        request = stream.headers.get("requestid", "")
        if len(self._pairs) >= MOST_UNPAIRED and request not in self._pairs:
            stream.drop()
            return
        pair = self._pairs.setdefault(request, _Pair())
        if stream.headers.get("streamtype") == "error":
            pair.error = stream
        else:
            pair.data = stream
        if pair.error is not None and pair.data is not None:
            del self._pairs[request]
            task = asyncio.create_task(self._serve(pair.error, pair.data), name=f"forwarded connection {request}")
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    async def _serve(self, error: SpdyStream, data: SpdyStream) -> None:
        try:
            port = _port(data.headers.get("port", ""))
            async with self._source.forward(self._pod, port) as node:
                await node.read()
                await _join(data, node)
            message = b""
        except ApiError as failure:
            message = f"error forwarding port {data.headers.get('port')} to pod: {failure.message}".encode()
        except ConnectionError:
            return
        try:
            await data.write(b"", end=True)
            await error.write(message, end=True)
        except ConnectionError:
            return
        finally:
            self._connection.forget(error)
            self._connection.forget(data)


def _port(text: str) -> int:
    port = int(text) if text.isdecimal() and len(text) < 6 else 0
    if not 0 < port < 1 << 16:
        raise ApiError(400, "BadRequest", f'"{text}" is not a port')
    return port


async def _join(data: SpdyStream, node: NodeStream) -> None:
    """Move bytes until both sides have ended, or the node's stream has."""

    async def to_node() -> None:
        while chunk := await data.read():
            await node.write(Chunk(STDIN, chunk))
        await node.write(Chunk(STDIN, b"", end=True))

    async def to_client() -> bool:
        while (chunk := await node.read()) is not None:
            await data.write(chunk.data, end=chunk.end)
            if chunk.end:
                return True
        return False

    up = asyncio.create_task(to_node(), name="forwarded to pod")
    try:
        if await to_client():
            await up
    finally:
        up.cancel()
        await asyncio.gather(up, return_exceptions=True)


@dataclass(slots=True)
class ChannelForwarding:
    """The ports of one channel WebSocket: port ``i`` has channels ``2i`` for bytes and ``2i + 1`` for an error."""

    source: StreamSource
    pod: KubeObject
    socket: ChannelSocket
    ports: Sequence[int]
    _inputs: list[asyncio.Queue[Chunk]] = field(default_factory=list)

    async def run(self) -> None:
        """Serve until the client leaves."""
        self._inputs = [asyncio.Queue(4) for _ in self.ports]
        for index, port in enumerate(self.ports):
            for channel in (2 * index, 2 * index + 1):
                await self.socket.write(Chunk(channel, struct.pack("<H", port)))
        serving = [asyncio.create_task(self._serve(index, port)) for index, port in enumerate(self.ports)]
        try:
            while (chunk := await self.socket.read()) is not None:
                index, error = divmod(chunk.channel, 2)
                if not error and index < len(self._inputs) and not serving[index].done():
                    await self._inputs[index].put(chunk)
        finally:
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, index: int, port: int) -> None:
        try:
            async with self.source.forward(self.pod, port) as node:
                await node.read()
                sending = asyncio.create_task(self._send(index, node))
                try:
                    while (chunk := await node.read()) is not None:
                        if chunk.channel == STDOUT and chunk.data:
                            await self.socket.write(Chunk(2 * index, chunk.data))
                        if chunk.end:
                            break
                finally:
                    sending.cancel()
                    await asyncio.gather(sending, return_exceptions=True)
        except ApiError as failure:
            await self.socket.write(Chunk(2 * index + 1, failure.message.encode()))
        if len(self.ports) == 1:
            await self.socket.socket.close()

    async def _send(self, index: int, node: NodeStream) -> None:
        while True:
            chunk = await self._inputs[index].get()
            await node.write(Chunk(STDIN, chunk.data, end=chunk.end))
