"""The pages that a node shows: what a path leads to, whoever asks.

The agent's port and the API server's ``nodes/<name>/proxy`` ask the same table, so that a page is the same either way.
What pages say of pods is nobody's secret but ``/pods``: it holds whole specs, and is shown on the port only to callers
on this machine. The API server has checked already whether its client may see it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

logger = logging.getLogger(__name__)

TEXT = "text/plain; charset=utf-8"
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
JSON = "application/json"

Maker = Callable[[Mapping[str, str]], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller is told: an HTTP status code, a content type and a body."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """``make`` gets the query's parameters. A ``private`` page is not for callers from other machines."""

    content_type: str
    make: Maker
    private: bool = False


class Pages:
    """All pages of a node by their paths, and ``/healthz``, which is 200 while ``healthy`` says so."""

    def __init__(self, pages: Mapping[str, Page], *, healthy: Callable[[], bool]) -> None:
        self._pages, self._healthy = pages, healthy

    async def answer(self, target: str, *, trusted: bool) -> Answer:
        """The page at ``target``, a path with an optional query; ``trusted`` callers may see private ones."""
        path, _, query = target.partition("?")
        path = path.rstrip("/") or "/"
        if path in ("/healthz", "/healthz/ping"):
            return Answer(200, TEXT, b"ok") if self._healthy() else Answer(503, TEXT, b"not ok\n")
        page = self._pages.get(path)
        if page is None:
            return Answer(404, TEXT, b"not found\n")
        if page.private and not trusted:
            reason = f"{path} is shown to callers on the node only; ask the API: /api/v1/nodes/NODE/proxy{path}\n"
            return Answer(403, TEXT, reason.encode())
        try:
            return Answer(200, page.content_type, await page.make(dict(parse_qsl(query))))
        except Exception:
            logger.exception("page_failed", extra={"path": path})
            return Answer(500, TEXT, b"the page could not be made; the agent's log says why\n")
