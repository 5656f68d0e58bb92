"""The server's end of a stream, and the byte streams of this process's own descriptors."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from typing import Protocol

from flotilla.api.streams import Chunk

CHUNK_BYTES = 64 * 1024


class Channels(Protocol):
    """The server's end of a stream."""

    async def read(self) -> Chunk | None:
        """The next chunk; None when the server has gone."""

    async def write(self, chunk: Chunk) -> None:
        """Send a chunk; waits while the other side can't take more."""


async def open_reader(descriptor: int) -> tuple[asyncio.StreamReader, asyncio.ReadTransport]:
    """Read from a pipe or terminal without blocking; the transport owns the descriptor."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=CHUNK_BYTES)
    file = os.fdopen(descriptor, "rb", buffering=0)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    return reader, transport


async def open_writer(descriptor: int) -> asyncio.StreamWriter:
    """Write to a pipe or terminal without blocking; the writer owns the descriptor."""
    loop = asyncio.get_running_loop()
    file = os.fdopen(descriptor, "wb", buffering=0)
    reader = asyncio.StreamReader()
    transport, protocol = await loop.connect_write_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    return asyncio.StreamWriter(transport, protocol, None, loop)


async def chunks_of(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """What a reader gives until its end; a terminal ends with EIO when its last user has gone."""
    while True:
        try:
            data = await reader.read(CHUNK_BYTES)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return
        if not data:
            return
        yield data


def discard(writer: asyncio.StreamWriter) -> None:
    """Close a writer with whatever it has not sent yet, unless it closes already."""
    if not writer.transport.is_closing():
        writer.transport.abort()
