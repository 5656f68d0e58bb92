"""Connections to one etcd member, as calls and watches need them."""

from __future__ import annotations

import asyncio
import ssl
import weakref

from controlplane.store.etcd.exchanges import unavailable
from controlplane.store.etcd.http2 import Connection
from controlplane.store.etcd.targets import EtcdTls, Target

CONNECT_TIMEOUT_S = 3.0


class Dialer:
    """Connects to the member at ``target``. Used from one event loop only."""

    def __init__(self, target: Target, tls: EtcdTls | None) -> None:
        self._target = target
        self._context = _context(tls) if tls is not None and target.secure else None
        self._made: weakref.WeakSet[Connection] = weakref.WeakSet()

    @property
    def address(self) -> str:
        """Where it connects to, for messages."""
        return self._target.address

    async def connect(self) -> Connection:
        """A new connection that is usable. CallError."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                connection = await self._dial()
                self._made.add(connection)
                try:
                    await connection.ready
                except BaseException:
                    connection.abort()
                    raise
        except (OSError, TimeoutError) as error:
            raise unavailable(f"no connection to {self._target.address}: {error or 'it took too long'}") from error
        return connection

    def close(self) -> None:
        """End the connections that are open; what is under way on them fails."""
        for connection in self._made:
            connection.abort()

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
