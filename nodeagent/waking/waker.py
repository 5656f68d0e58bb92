"""Holds connections to services without endpoints, rings for them, and passes them on when there is one.

A held connection has been accepted; what its client sends meanwhile waits in the kernel's buffers, which push back by
themselves. The doorbell is rung again while anything is held, because the agent may be away. A connection that has
waited for a minute is reset: its client learns more from that than from silence.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import struct
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from nodeagent.network.service_plan import Endpoint
from nodeagent.waking.held import HeldPort, lookup, read_held

logger = logging.getLogger(__name__)

HOLD_S = 60.0
RING_EVERY_S = 0.5
RETRY_S = 0.5  # for an endpoint that is known and does not answer yet
CONNECTIONS = 4096
BACKLOG = 1024
_CONNECT_S = 1.0
_CHUNK_BYTES = 1 << 16
_SO_ORIGINAL_DST = 80
_RESET = struct.pack("ii", 1, 0)

Press = Callable[[str, str], object]


class Waker:
    """Serves connections that were meant for services; ``press(namespace, service)`` rings."""

    def __init__(self, held_path: Path, press: Press) -> None:
        self._held_path = held_path
        self._press = press
        self._held: dict[str, HeldPort] = {}
        self._changed = asyncio.Condition()
        self._waiting: Counter[tuple[str, str]] = Counter()
        self._ringing: set[tuple[str, str]] = set()
        self._connections = 0
        self._turn = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()

    def reload(self) -> None:
        """Take the file in; what was known before stays where it can't be read."""
        try:
            self._held = read_held(self._held_path)
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError) as error:
            logger.warning("held_unreadable", extra={"path": str(self._held_path), "error": repr(error)})
            return
        self._own(self._tell())

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hold one connection until its service has an endpoint, then pass it on until both sides end it."""
        if self._connections >= CONNECTIONS:
            _reset(writer)
            return
        self._connections += 1
        try:
            ip, port = original_destination(writer.get_extra_info("socket"))
            async with asyncio.timeout(HOLD_S):
                onward = await self._connect(ip, port)
        except (OSError, TimeoutError):
            _reset(writer)
            self._connections -= 1
            return
        try:
            await _pass_on((reader, writer), onward)
        finally:
            self._connections -= 1

    async def close(self) -> None:
        """Forget everybody who waits."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _connect(self, ip: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to an endpoint, however long that takes. OSError if no service holds requests there."""
        while True:
            held = lookup(self._held, ip, port)
            if held is None:
                raise OSError(f"no service holds requests at {ip}:{port}")
            for endpoint in self._in_turn(held.endpoints):
                with suppress(OSError, TimeoutError):
                    async with asyncio.timeout(_CONNECT_S):
                        return await asyncio.open_connection(endpoint.ip, endpoint.port, limit=_CHUNK_BYTES)
            await self._wait(held)

    def _in_turn(self, endpoints: tuple[Endpoint, ...]) -> list[Endpoint]:
        start = next(self._turn) % len(endpoints) if endpoints else 0
        return [*endpoints[start:], *endpoints[:start]]

    async def _wait(self, held: HeldPort) -> None:
        """Until the file changes, or it is time to try again; meanwhile one rings for all who wait for the service."""
        service = (held.namespace, held.service)
        self._waiting[service] += 1
        try:
            if service not in self._ringing:
                self._ringing.add(service)
                self._own(self._ring(service))
            async with self._changed:
                with suppress(TimeoutError):
                    async with asyncio.timeout(RETRY_S):
                        await self._changed.wait()
        finally:
            self._waiting[service] -= 1

    async def _ring(self, service: tuple[str, str]) -> None:
        """Again and again, because the agent may be away, until nobody waits any more."""
        try:
            while self._waiting[service]:
                self._press(*service)
                await asyncio.sleep(RING_EVERY_S)
        finally:
            self._ringing.discard(service)
            del self._waiting[service]

    def _own(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def original_destination(connection: socket.socket) -> tuple[str, int]:
    """Where a translated connection was meant to go; its own address if it was not translated. Raises OSError."""
    try:
        packed = connection.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, 16)
    except FileNotFoundError:
        ip, port = connection.getsockname()[:2]
        return str(ip), int(port)
    port, address = struct.unpack("!2xH4s8x", packed)
    return socket.inet_ntoa(address), port


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset instead of an orderly end."""
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


async def _pass_on(
    client: tuple[asyncio.StreamReader, asyncio.StreamWriter], server: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    """Copy both ways; each side's end is passed on as such."""
    try:
        async with asyncio.TaskGroup() as copying:
            copying.create_task(_copy(client[0], server[1]))
            copying.create_task(_copy(server[0], client[1]))
    except* OSError:
        _reset(client[1])
        _reset(server[1])
    finally:
        for _, writer in (client, server):
            writer.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(_CHUNK_BYTES):
        sink.write(data)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()
