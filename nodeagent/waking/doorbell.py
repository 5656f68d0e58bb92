"""How the waker tells the agent that requests wait: datagrams on a socket that only root reaches."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path

Ring = Callable[[str, str], None]
"""Called with the namespace and the name of a service."""


class Doorbell(asyncio.DatagramProtocol):
    """The agent's side: calls ``ring`` for each datagram that says what it should."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring

    def datagram_received(self, data: bytes, addr: object) -> None:
        try:
            namespace, service = json.loads(data)
        except (ValueError, TypeError):
            return
        if isinstance(namespace, str) and isinstance(service, str):
            self._ring(namespace, service)


def hang(path: Path) -> socket.socket:
    """A socket for :func:`listen`, in place of whatever is there. Raises OSError."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    bell.bind(str(path))
    path.chmod(0o600)
    return bell


async def listen(bell: socket.socket, ring: Ring) -> asyncio.DatagramTransport:
    """Answer until the transport is closed."""
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: Doorbell(ring), sock=bell)
    return transport


def press(path: Path, namespace: str, service: str) -> bool:
    """Ring for a service; False while no agent answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as bell:
        try:
            bell.sendto(json.dumps([namespace, service]).encode(), str(path))
        except OSError:
            return False
    return True
