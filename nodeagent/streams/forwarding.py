"""One connection to a port of a pod, joined to a stream: ``kubectl port-forward``.

It is made from within the pod's network namespace to its loopback interface, so that it reaches what listens there
alone, whatever the pod's network lets through.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

from flotilla.api.errors import ApiError
from flotilla.api.streams import STDIN, STDOUT, Chunk
from nodeagent.network.namespaces import open_socket
from nodeagent.streams.channels import CHUNK_BYTES, Channels

CONNECT_TIMEOUT_S = 10.0
_LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


async def forward(namespace: Path | None, port: int, channels: Channels) -> None:
    """Connect to ``port`` and move bytes until both directions have ended, or the other side leaves.

    ``namespace`` is the pin of the pod's network namespace, None for a pod on the node's network. ApiError where
    nothing listens.
    """
    with await _connect(namespace, port) as connection:
        await channels.write(Chunk(STDIN, b""))
        giving = asyncio.create_task(_give(connection, channels), name="forward from pod")
        taking = asyncio.create_task(_take(connection, channels), name="forward to pod")
        try:
            await asyncio.wait({giving, taking}, return_when=asyncio.FIRST_COMPLETED)
            if giving.done() and giving.exception() is None:
                await asyncio.wait({taking})
        finally:
            for task in (giving, taking):
                task.cancel()
            await asyncio.gather(giving, taking, return_exceptions=True)


async def _connect(namespace: Path | None, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    failures = []
    for family, address in _LOOPBACK:
        try:
            connection = await _socket(namespace, family)
        except OSError as error:
            failures.append(f"{address}: {error}")
            continue
        try:
            connection.setblocking(False)
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await loop.sock_connect(connection, (address, port))
        except (OSError, TimeoutError) as error:
            connection.close()
            failures.append(f"{address}: {error or 'no answer'}")
        else:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
    message = f"failed to connect to localhost:{port} in the pod's network: {'; '.join(failures)}"
    raise ApiError(500, "InternalError", message)


async def _socket(namespace: Path | None, family: socket.AddressFamily) -> socket.socket:
    if namespace is None:
        return socket.socket(family, socket.SOCK_STREAM)
    return await asyncio.to_thread(open_socket, namespace, family)


async def _give(connection: socket.socket, channels: Channels) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(connection, CHUNK_BYTES):
        await channels.write(Chunk(STDOUT, data))
    await channels.write(Chunk(STDOUT, b"", end=True))


async def _take(connection: socket.socket, channels: Channels) -> None:
    """Hand on what comes until the other side has left."""
    loop = asyncio.get_running_loop()
    while (chunk := await channels.read()) is not None:
        if chunk.channel != STDIN:
            continue
        if chunk.data:
            await loop.sock_sendall(connection, chunk.data)
        if chunk.end:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
