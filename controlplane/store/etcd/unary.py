"""Unary calls to one etcd member over a connection of their own, made at the first call and after each loss."""

from __future__ import annotations

import asyncio
import ssl
import time
from contextlib import suppress

import grpc

from controlplane.store.etcd.http2 import CallError, Connection, unavailable
from controlplane.store.etcd.targets import EtcdTls, Target

CONNECT_TIMEOUT_S = 3.0


class UnaryClient:
    """Calls methods of the member at ``target``. Used from one event loop only."""

    def __init__(self, target: Target, tls: EtcdTls | None) -> None:
        self._target = target
        self._context = _context(tls) if tls is not None and target.secure else None
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[Connection] | None = None

    async def call(self, path: str, message: bytes, *, timeout_s: float) -> bytes:
        """The answer of the method at ``path``. CallError: UNAVAILABLE and DEADLINE_EXCEEDED leave the outcome open."""
        connection, sent_s = self._connection, 0.0
        try:
            async with asyncio.timeout(timeout_s):
                if connection is None or not connection.usable:
                    connection = await self._connect()
                sent_s = time.monotonic()
                return await connection.call(path, message)
        except TimeoutError as error:
            if connection is not None and connection.heard_s < sent_s:
                connection.abort()
            raise CallError(grpc.StatusCode.DEADLINE_EXCEEDED, f"no answer in {timeout_s:.1f} s") from error

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
            self._connecting = asyncio.create_task(self._open(), name=f"connect to {self._target.address}")
            self._connecting.add_done_callback(_retrieve)
        self._connection = await asyncio.shield(self._connecting)
        return self._connection

    async def _open(self) -> Connection:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                connection = await self._dial()
                try:
                    await connection.ready
                except BaseException:
                    connection.abort()
                    raise
        except (OSError, TimeoutError) as error:
            raise unavailable(f"no connection to {self._target.address}: {error or 'it took too long'}") from error
        return connection

    async def _dial(self) -> Connection:
        loop, target = asyncio.get_running_loop(), self._target
        name = target.host if self._context is not None else None
        if target.path:
            _, connection = await loop.create_unix_connection(
                self._new, target.path, ssl=self._context, server_hostname=name
            )
        else:
            _, connection = await loop.create_connection(
                self._new, target.host, target.port, ssl=self._context, server_hostname=name
            )
        return connection

    def _new(self) -> Connection:
        return Connection(self._target.authority, secure=self._target.secure)


def _context(tls: EtcdTls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(tls.ca))
    context.load_cert_chain(tls.certificate, tls.key)
    context.set_alpn_protocols(["h2"])
    return context


def _retrieve(task: asyncio.Task[Connection]) -> None:
    """Nobody may be left who waits for an attempt that fails."""
    if not task.cancelled():
        with suppress(BaseException):
            task.exception()
