"""The agent's port: its pages, served by a few lines of HTTP/1.1 in the agent's own loop.

It answers a scraper and a liveness check and nothing else; a web server's library would outweigh the agent's sampling.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from http import HTTPStatus

from nodeagent.metrics.pages import TEXT, Answer, Pages

logger = logging.getLogger(__name__)

_HEAD_LIMIT_BYTES = 8192
_REQUEST_S = 30.0


class MetricsListener:
    """Serves ``pages`` at ``listen`` (``HOST:PORT``)."""

    def __init__(self, listen: str, pages: Pages) -> None:
        host, _, port = listen.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._pages = pages
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The bound port, once started."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        """Bind and begin to answer. Raises OSError."""
        self._server = await asyncio.start_server(self._serve, self._host, self._port, limit=_HEAD_LIMIT_BYTES)
        logger.info("metrics_listening", extra={"host": self._host, "port": self.port})

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_S):
                head = await reader.readuntil(b"\r\n\r\n")
                answer = await self._answer(head, trusted=_is_local(writer))
                lines = (
                    f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}",
                    f"Content-Type: {answer.content_type}",
                    f"Content-Length: {len(answer.body)}",
                    "Connection: close",
                )
                writer.write("\r\n".join((*lines, "", "")).encode() + answer.body)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    async def _answer(self, head: bytes, *, trusted: bool) -> Answer:
        method, target, *_ = (*head.split(b"\r\n", 1)[0].decode("latin-1").split(), "", "")
        if method != "GET":
            return Answer(405, TEXT, b"only GET\n")
        return await self._pages.answer(target, trusted=trusted)


def _is_local(writer: asyncio.StreamWriter) -> bool:
    """Whether the caller is a process in the node's own network."""
    peer = writer.get_extra_info("peername")
    return bool(peer) and ipaddress.ip_address(peer[0]).is_loopback
