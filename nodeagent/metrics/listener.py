"""The agent's ``/metrics`` and ``/healthz``, served by a few lines of HTTP/1.1 in the agent's own loop.

It answers a scraper and a liveness check and nothing else; a web server's library would outweigh the agent's sampling.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

logger = logging.getLogger(__name__)

_HEAD_LIMIT_BYTES = 8192
_REQUEST_S = 10.0
_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class MetricsListener:
    """Serves what ``scrape`` returns (called in a thread) and 200 on ``/healthz`` while ``healthy`` says so."""

    def __init__(self, listen: str, *, scrape: Callable[[], bytes], healthy: Callable[[], bool]) -> None:
        host, _, port = listen.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._scrape = scrape
        self._healthy = healthy
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
                status, content_type, body = await self._answer(head)
                lines = (
                    f"HTTP/1.1 {status}",
                    f"Content-Type: {content_type}",
                    f"Content-Length: {len(body)}",
                    "Connection: close",
                )
                writer.write("\r\n".join((*lines, "", "")).encode() + body)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    async def _answer(self, head: bytes) -> tuple[str, str, bytes]:
        method, target, *_ = (*head.split(b"\r\n", 1)[0].decode("latin-1").split(), "", "")
        path = target.partition("?")[0]
        if method != "GET":
            return "405 Method Not Allowed", "text/plain", b"only GET\n"
        if path == "/healthz":
            healthy = self._healthy()
            return ("200 OK" if healthy else "503 Service Unavailable"), "text/plain", b"ok" if healthy else b"not ok\n"
        if path != "/metrics":
            return "404 Not Found", "text/plain", b"not found\n"
        try:
            return "200 OK", _CONTENT_TYPE, await asyncio.to_thread(self._scrape)
        except Exception:
            logger.exception("scrape_failed")
            return "500 Internal Server Error", "text/plain", b"scrape failed\n"
