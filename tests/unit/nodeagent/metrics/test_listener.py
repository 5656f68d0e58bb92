"""The agent's port, asked over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from nodeagent.metrics.listener import MetricsListener
from nodeagent.metrics.pages import EXPOSITION, JSON, Page, Pages


async def _series(query: Mapping[str, str]) -> bytes:
    return f"up {query.get('value', '1')}\n".encode()


async def _failing(query: Mapping[str, str]) -> bytes:
    raise RuntimeError("no cgroup")


def _pages(*, healthy: bool = True) -> Pages:
    table = {
        "/metrics": Page(EXPOSITION, _series),
        "/broken": Page(EXPOSITION, _failing),
        "/pods": Page(JSON, _series, private=True),
    }
    return Pages(table, healthy=lambda: healthy)


async def _ask(pages: Pages, request: bytes) -> tuple[int, bytes]:
    listener = MetricsListener("127.0.0.1:0", pages)
    await listener.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(request)
        head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        return (int(head.split()[1]), body) if head else (0, b"")
    finally:
        await listener.stop()


@pytest.mark.parametrize(
    ("request_line", "healthy", "answer"),
    [
        ("GET /healthz", True, (200, b"ok")),
        ("GET /healthz?verbose", True, (200, b"ok")),
        ("GET /healthz", False, (503, b"not ok\n")),
        ("GET /metrics", True, (200, b"up 1\n")),
        ("GET /metrics/?value=2", True, (200, b"up 2\n")),
        ("GET /pods", True, (200, b"up 1\n")),
        ("GET /pods/x", True, (404, b"not found\n")),
        ("POST /metrics", True, (405, b"only GET\n")),
        ("GET /broken", True, (500, b"the page could not be made; the agent's log says why\n")),
    ],
)
async def test_port_answers_by_method_and_path(request_line: str, healthy: bool, answer: tuple[int, bytes]) -> None:
    """Health follows the agent's state, a page comes from its maker, and all else is refused."""
    assert await _ask(_pages(healthy=healthy), f"{request_line} HTTP/1.1\r\nHost: node\r\n\r\n".encode()) == answer


async def test_request_without_end_is_dropped() -> None:
    """A head that is too long is answered with nothing."""
    assert await _ask(_pages(), b"x" * 100_000) == (0, b"")


async def test_private_pages_are_for_the_node_itself() -> None:
    """What holds whole specs is refused to callers from elsewhere, with the way to it; other pages are not."""
    refused = await _pages().answer("/pods", trusted=False)
    assert refused.status == 403
    assert b"/api/v1/nodes/NODE/proxy/pods" in refused.body
    assert (await _pages().answer("/metrics", trusted=False)).status == 200
