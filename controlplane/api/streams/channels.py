"""WebSockets with numbered channels: the ``channel.k8s.io`` protocols.

A binary message begins with the channel's number as a byte, a text message of the ``base64`` protocols with its digit.
From version 5 on a message ``[255, channel]`` ends a channel; before, input could not be ended. From version 4 on the
status channel carries a Status object, before that the text of an error.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from aiohttp import WSMsgType, web

from flotilla.api.objects import decode
from flotilla.api.streams import STATUS, Chunk

CLOSE = 255
PROTOCOLS = (
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "v3.channel.k8s.io",
    "v2.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
)


@dataclass(frozen=True, slots=True)
class ChannelSocket:
    """One such WebSocket, after its protocol was agreed on; ``""`` is what clients speak that name none."""

    socket: web.WebSocketResponse
    protocol: str

    @property
    def _closes(self) -> bool:
        return self.protocol.startswith("v5.")

    @property
    def _text(self) -> bool:
        return "base64" in self.protocol

    async def read(self) -> Chunk | None:
        """The next chunk, None at the end or at a message that is no such thing."""
        while True:
            message = await self.socket.receive()
            if message.type is WSMsgType.BINARY and message.data:
                return self._chunk(message.data)
            if message.type is WSMsgType.TEXT and message.data:
                return _decoded(message.data)
            if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
                return None

    def _chunk(self, data: bytes) -> Chunk:
        if data[0] == CLOSE and self._closes and len(data) > 1:
            return Chunk(data[1], b"", end=True)
        return Chunk(data[0], data[1:])

    async def write(self, chunk: Chunk) -> None:
        """Send a chunk; an end is not told to clients that don't know of it."""
        if chunk.data or not chunk.end:
            await self._send(chunk.channel, chunk.data)
        if chunk.end and self._closes:
            await self.socket.send_bytes(bytes((CLOSE, chunk.channel)))

    async def _send(self, channel: int, data: bytes) -> None:
        if self._text:
            await self.socket.send_str(f"{channel}{base64.b64encode(data).decode()}")
        else:
            await self.socket.send_bytes(bytes((channel,)) + data)

    async def finish(self, status: bytes) -> None:
        """Say how it ended, a Status object, and close."""
        if not self.protocol.startswith(("v4.", "v5.")):
            parsed = decode(status)
            status = str(parsed.get("message") or "").encode() if parsed.get("status") != "Success" else b""
        if status:
            await self._send(STATUS, status)
        await self.socket.close()


def _decoded(text: str) -> Chunk | None:
    try:
        return Chunk(int(text[0]), base64.b64decode(text[1:], validate=True))
    except (ValueError, binascii.Error):
        return None
