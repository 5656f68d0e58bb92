"""A container's first process joined to a stream: ``kubectl attach``.

conmon offers a socket of packets: each packet from it begins with a byte that names the pipe (2 output, 3 error
output), what is sent to it goes to the process's input as it is, and closing our sending side closes that input
(conmon's attach protocol). It ends with the container.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path

from flotilla.api.errors import internal
from flotilla.api.streams import RESIZE, STATUS, STDERR, STDIN, STDOUT, Chunk, StreamOptions
from nodeagent.runtime.containers import Containers
from nodeagent.streams.channels import CHUNK_BYTES, Channels
from nodeagent.streams.processes import TerminalSize, size_of, success

_PIPES = {2: STDOUT, 3: STDERR}
_INPUT_BYTES = 8 * 1024
_RESIZE_TIMEOUT_S = 10.0
_RESIZE_POLL_S = 0.002


async def attach(containers: Containers, container_id: str, *, streams: StreamOptions, channels: Channels) -> None:
    """Join a running container's first process until it ends or the other side leaves. ApiError if that can't be."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as joined:
        joined.setblocking(False)
        try:
            await _connect(joined, containers.attach_socket(container_id))
        except OSError as error:
            raise internal(f"error attaching to container: {error}") from error
        await channels.write(Chunk(STDIN, b""))
        giving = asyncio.create_task(_give(joined, streams, channels), name="attach output")
        taking = asyncio.create_task(_take(joined, containers, container_id, streams, channels), name="attach input")
        try:
            await asyncio.wait({giving, taking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended = giving.done()
            for task in (giving, taking):
                task.cancel()
            await asyncio.gather(giving, taking, return_exceptions=True)
        if ended:
            await channels.write(Chunk(STATUS, success()))


async def _connect(joined: socket.socket, path: Path) -> None:
    """Connect to a socket whose path may be longer than the 107 bytes that an address can hold."""
    directory = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        await asyncio.get_running_loop().sock_connect(joined, f"/proc/self/fd/{directory}/{path.name}")
    finally:
        os.close(directory)


async def _give(joined: socket.socket, streams: StreamOptions, channels: Channels) -> None:
    loop = asyncio.get_running_loop()
    wanted = {STDOUT: streams.stdout, STDERR: streams.stderr}
    while packet := await loop.sock_recv(joined, CHUNK_BYTES):
        channel = _PIPES.get(packet[0])
        if channel is not None and wanted[channel] and len(packet) > 1:
            await channels.write(Chunk(channel, packet[1:]))


async def _take(
    joined: socket.socket, containers: Containers, container_id: str, streams: StreamOptions, channels: Channels
) -> None:
    """Hand on input and terminal sizes until the other side has left."""
    loop = asyncio.get_running_loop()
    while (chunk := await channels.read()) is not None:
        if chunk.channel == RESIZE:
            if (size := size_of(chunk.data)) is not None:
                await _resize(containers, container_id, size)
        elif chunk.channel == STDIN and streams.stdin:
            for start in range(0, len(chunk.data), _INPUT_BYTES):
                await loop.sock_sendall(joined, chunk.data[start : start + _INPUT_BYTES])
            if chunk.end and not streams.tty:
                with contextlib.suppress(OSError):
                    joined.shutdown(socket.SHUT_WR)


async def _resize(containers: Containers, container_id: str, size: TerminalSize) -> None:
    """Give the terminal a size; clients send two at once when they come."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_RESIZE_TIMEOUT_S):
            while not containers.listening(container_id):  # noqa: ASYNC110 (a pipe tells nobody that it has been read)
                await asyncio.sleep(_RESIZE_POLL_S)
            containers.resize(container_id, width=size.width, height=size.height)
