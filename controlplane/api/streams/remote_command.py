"""``exec`` and ``attach``: a client's transport joined to a process in a container.

Over WebSockets the channels are those of the node; over SPDY each is a stream that the client opens beforehand and
names by its ``streamType``.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Protocol

from controlplane.api.streams.source import NodeStream
from controlplane.api.streams.spdy import SpdyConnection, SpdyStream
from flotilla.api.errors import ApiError
from flotilla.api.objects import decode, encode
from flotilla.api.streams import RESIZE, STATUS, STDERR, STDIN, STDOUT, Chunk, StreamOptions

STREAMS_TIMEOUT_S = 30.0
LEAVE_TIMEOUT_S = 5.0
SIZES_BYTES = 4096
SPDY_PROTOCOLS = (
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v3.channel.k8s.io",
    "v2.channel.k8s.io",
    "channel.k8s.io",
)
_CHANNELS = {"stdin": STDIN, "stdout": STDOUT, "stderr": STDERR, "error": STATUS, "resize": RESIZE}


class Client(Protocol):
    """The client's transport."""

    async def read(self) -> Chunk | None:
        """The next chunk; None when the client has left."""

    async def write(self, chunk: Chunk) -> None:
        """Send a chunk."""

    async def finish(self, status: bytes) -> None:
        """Send the Status that it all ended with, and close."""


async def join(client: Client, node: NodeStream) -> None:
    """Move chunks both ways until the process has ended, or either side has left."""
    up = asyncio.create_task(_to_node(client, node), name="stream to node")
    down = asyncio.create_task(_to_client(client, node), name="stream to client")
    try:
        await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        if down.done():
            await client.finish(down.result())
    except ConnectionError:
        return
    finally:
        for task in (up, down):
            task.cancel()
        await asyncio.gather(up, down, return_exceptions=True)


async def _to_node(client: Client, node: NodeStream) -> None:
    while (chunk := await client.read()) is not None:
        if chunk.channel in (STDIN, RESIZE):
            await node.write(chunk)


async def _to_client(client: Client, node: NodeStream) -> bytes:
    """Hand on output; the Status that it ended with."""
    try:
        while (chunk := await node.read()) is not None:
            if chunk.channel == STATUS:
                return chunk.data
            await client.write(chunk)
    except ApiError as error:
        return encode(error.status())
    return encode({"metadata": {}, "status": "Success"})


class SpdyClient:
    """A client that opens one SPDY stream for each channel; ``protocol`` is what was agreed on."""

    def __init__(self, protocol: str, options: StreamOptions) -> None:
        self._protocol = protocol
        self._wanted = {STATUS}
        self._wanted |= {STDIN} if options.stdin else set()
        self._wanted |= {STDOUT} if options.stdout else set()
        self._wanted |= {STDERR} if options.stderr and not options.tty else set()
        self._wanted |= {RESIZE} if options.tty and not protocol.startswith(("v2.", "channel.")) else set()
        self._streams: dict[int, SpdyStream] = {}
        self._complete = asyncio.Event()
        self._chunks: asyncio.Queue[Chunk | None] = asyncio.Queue(4)
        self.connection: SpdyConnection | None = None

    def opened(self, stream: SpdyStream) -> None:
        """Take a stream that the client has opened."""
        channel = _CHANNELS.get(stream.headers.get("streamtype", ""))
        if channel is not None:
            self._streams[channel] = stream
            if self._wanted <= self._streams.keys():
                self._complete.set()

    async def wait_complete(self) -> None:
        """Return once all streams have been opened. TimeoutError."""
        async with asyncio.timeout(STREAMS_TIMEOUT_S):
            await self._complete.wait()

    async def run(self, connection: SpdyConnection) -> None:
        """Read what the client sends until it leaves."""
        self.connection = connection
        reading = asyncio.create_task(connection.run(), name="SPDY connection")
        inputs = asyncio.create_task(self._read_inputs(), name="SPDY inputs")
        try:
            await reading
        finally:
            for task in (reading, inputs):
                task.cancel()
            await asyncio.gather(reading, inputs, return_exceptions=True)
            while self._chunks.full():
                self._chunks.get_nowait()
            self._chunks.put_nowait(None)

    async def _read_inputs(self) -> None:
        await self._complete.wait()
        async with asyncio.TaskGroup() as tasks:
            for channel, read in ((STDIN, self._read_stdin), (RESIZE, self._read_sizes)):
                if channel in self._streams:
                    tasks.create_task(read(self._streams[channel]))

    async def _read_stdin(self, stream: SpdyStream) -> None:
        while data := await stream.read():
            await self._chunks.put(Chunk(STDIN, data))
        await self._chunks.put(Chunk(STDIN, b"", end=True))

    async def _read_sizes(self, stream: SpdyStream) -> None:
        """Sizes are lines, of which several may come at once and one in parts."""
        pending = b""
        while data := await stream.read():
            *sizes, pending = (pending + data).split(b"\n")
            for size in sizes:
                await self._chunks.put(Chunk(RESIZE, size))
            pending = pending[:SIZES_BYTES]

    async def read(self) -> Chunk | None:
        return await self._chunks.get()

    async def write(self, chunk: Chunk) -> None:
        if (stream := self._streams.get(chunk.channel)) is not None and chunk.channel != STDIN:
            await stream.write(chunk.data, end=chunk.end)

    async def finish(self, status: bytes) -> None:
        """See :class:`Client`; the client is given a moment to read it all and to leave first."""
        if not self._protocol.startswith(("v4.", "v5.")):
            parsed = decode(status)
            status = str(parsed.get("message") or "").encode() if parsed.get("status") != "Success" else b""
        for channel in (STDOUT, STDERR):
            if (stream := self._streams.get(channel)) is not None:
                await stream.write(b"", end=True)
        await self._streams[STATUS].write(status, end=True)
        assert self.connection is not None
        await self.connection.go_away()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_TIMEOUT_S):
                while await self._chunks.get() is not None:
                    pass
