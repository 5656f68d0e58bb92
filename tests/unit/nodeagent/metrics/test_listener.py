"""The agent's port, asked over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from nodeagent.metrics.listener import MetricsListener


def _ask(request: str, *, scrape: Callable[[], bytes] = lambda: b"up 1\n", healthy: bool = True) -> tuple[int, bytes]:
    async def ask() -> tuple[int, bytes]:
        listener = MetricsListener("127.0.0.1:0", scrape=scrape, healthy=lambda: healthy)
        await listener.start()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            writer.write(f"{request} HTTP/1.1\r\nHost: node\r\n\r\n".encode())
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            writer.close()
            await writer.wait_closed()
            return int(head.split()[1]), body
        finally:
            await listener.stop()

    return asyncio.run(asyncio.wait_for(ask(), timeout=10))


@pytest.mark.parametrize(
    ("request_line", "healthy", "answer"),
    [
        ("GET /healthz", True, (200, b"ok")),
        ("GET /healthz?verbose", True, (200, b"ok")),
        ("GET /healthz", False, (503, b"not ok\n")),
        ("GET /metrics", True, (200, b"up 1\n")),
        ("GET /pods/x", True, (404, b"not found\n")),
        ("POST /metrics", True, (405, b"only GET\n")),
    ],
)
def test_port_answers_by_method_and_path(request_line: str, healthy: bool, answer: tuple[int, bytes]) -> None:
    """Health follows the agent's state, metrics come from the scrape, and all else is refused."""
    assert _ask(request_line, healthy=healthy) == answer


def test_failed_scrape_is_a_server_error() -> None:
    """A scrape that raises is told as a server's error, and the connection is answered."""

    def fail() -> bytes:
        raise RuntimeError("no cgroup")

    assert _ask("GET /metrics", scrape=fail) == (500, b"scrape failed\n")
