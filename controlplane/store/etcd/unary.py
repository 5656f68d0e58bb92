"""Unary calls to one etcd member over a connection of their own, made at the first call and after each loss."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import grpc

from controlplane.store.etcd.dialing import Dialer
from controlplane.store.etcd.exchanges import CallError
from controlplane.store.etcd.http2 import Connection


class UnaryClient:
    """Calls methods of the member that ``dialer`` connects to. Used from one event loop only."""

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[Connection] | None = None

    @property
    def usable(self) -> bool:
        """Whether a call can be sent at once."""
        return self._connection is not None and self._connection.usable

    async def call(self, path: str, message: bytes, *, timeout_s: float) -> bytes:
        """The answer of the method at ``path``. CallError: UNAVAILABLE and DEADLINE_EXCEEDED leave the outcome open."""
        connection = self._connection
        if connection is None or not connection.usable:
            began_s = time.monotonic()
            try:
                async with asyncio.timeout(timeout_s):
                    connection = await self._connect()
            except TimeoutError as error:
                raise CallError(grpc.StatusCode.DEADLINE_EXCEEDED, f"no connection in {timeout_s:.1f} s") from error
            timeout_s -= time.monotonic() - began_s
        return await connection.call(path, message, timeout_s=timeout_s)

    async def close(self) -> None:
        """End the connection; calls that are under way fail."""
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
            await asyncio.wait([connecting])
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    async def _connect(self) -> Connection:
        """A usable connection; all who need one wait for the same attempt."""
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._dialer.connect(), name=f"connect to {self._dialer.address}")
            self._connecting.add_done_callback(_retrieve)
        self._connection = await asyncio.shield(self._connecting)
        return self._connection


def _retrieve(task: asyncio.Task[Connection]) -> None:
    """Nobody may be left who waits for an attempt that fails."""
    if not task.cancelled():
        with suppress(BaseException):
            task.exception()
