"""The agent's scraper against real metrics pages on loopback."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from nodeagent.scraping.scraper import ApplicationRound, ApplicationScraper

DEADLINE_S = 10.0
POLL_S = 0.01
Warnings = list[tuple[str, str]]


class Page:
    """A server whose page is whatever the test says."""

    def __init__(self) -> None:
        self.text, self.status, self.served, self.port = "queue_depth 1\n", 200, 0, 0

    async def serve(self, _: web.Request) -> web.Response:
        self.served += 1
        return web.Response(text=self.text, status=self.status)


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    page = Page()
    application = web.Application()
    application.router.add_get("/metrics", page.serve)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    page.port = runner.addresses[0][1]
    yield page
    await runner.cleanup()


@pytest.fixture
async def warnings() -> Warnings:
    return []


@pytest.fixture
async def scraper(warnings: Warnings) -> AsyncIterator[ApplicationScraper]:
    def warn(pod: dict[str, Any], message: str) -> None:
        warnings.append((pod["metadata"]["name"], message))

    scraper = ApplicationScraper(warn=warn, clock=time.time)
    yield scraper
    await scraper.close()


def _pod(port: int | str, *, name: str = "web") -> tuple[dict[str, Any], str]:
    annotations = {"prometheus.io/scrape": "true", "prometheus.io/port": str(port)}
    metadata = {"namespace": "default", "name": name, "uid": name, "annotations": annotations}
    return {"metadata": metadata, "spec": {"containers": []}}, "127.0.0.1"


def _values(round_: ApplicationRound | None) -> dict[str, float]:
    if round_ is None:
        return {}
    numbers = struct.unpack(f"<{len(round_.series)}d", round_.values)
    return dict(zip((series.name for series in round_.series), numbers, strict=True))


async def _until(condition: Callable[[], bool]) -> None:
    deadline_s = asyncio.get_running_loop().time() + DEADLINE_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline_s, "it did not come about"
        await asyncio.sleep(POLL_S)


async def test_a_page_is_read_again_and_again(page: Page, scraper: ApplicationScraper, warnings: Warnings) -> None:
    """What is asked for is there with its newest value; the rest is known by name."""
    page.text = "# TYPE jobs_total counter\njobs_total 5\nqueue_depth 1\n"
    scraper.interested({"default": ["queue_depth"]})
    scraper.track([_pod(page.port)])
    await _until(lambda: _values(scraper.round()) == {"queue_depth": 1.0})
    page.text = page.text.replace("depth 1", "depth 8")
    await _until(lambda: _values(scraper.round()) == {"queue_depth": 8.0})
    newest = scraper.round()
    assert newest is not None
    assert newest.offered == {("default", "jobs_total", True), ("default", "queue_depth", False)}
    assert not warnings


async def test_interest_is_followed_at_once(page: Page, scraper: ApplicationScraper) -> None:
    """A series is looked for as soon as somebody asks, though its page was only read for names until then."""
    scraper.track([_pod(page.port)])
    await _until(lambda: page.served == 1)
    await _until(lambda: (newest := scraper.round()) is not None and bool(newest.offered))
    assert _values(scraper.round()) == {}
    scraper.interested({"default": ["queue_depth"]})
    await _until(lambda: _values(scraper.round()) == {"queue_depth": 1.0})
    scraper.interested({})
    await _until(lambda: _values(scraper.round()) == {})


async def test_a_pod_that_goes_takes_its_series_along(page: Page, scraper: ApplicationScraper) -> None:
    """Nothing is told of a pod that is no longer there, and its page is not read any more."""
    scraper.interested({"default": ["queue_depth"]})
    scraper.track([_pod(page.port), _pod(page.port, name="other")])
    await _until(lambda: (newest := scraper.round()) is not None and len(newest.series) == 2)
    scraper.track([_pod(page.port)])
    newest = scraper.round()
    assert newest is not None
    assert [series.pod for series in newest.series] == ["web"]
    scraper.track([])
    assert _values(scraper.round()) == {}
    assert scraper.round() is None


async def test_a_failing_page_is_told_of_once(page: Page, scraper: ApplicationScraper, warnings: Warnings) -> None:
    """The pod's owner learns why, once for each reason, and the page is read again when it works."""
    scraper.interested({"default": ["queue_depth"]})
    page.status = 500
    scraper.track([_pod(page.port)])
    await _until(lambda: page.served == 2)
    page.status = 200
    await _until(lambda: _values(scraper.round()) == {"queue_depth": 1.0})
    assert warnings == [("web", f"http://127.0.0.1:{page.port}/metrics: HTTP 500")]


async def test_wrong_annotations_are_told_of_once(scraper: ApplicationScraper, warnings: Warnings) -> None:
    """An annotation that names no page is the pod's owner's to correct."""
    for _ in range(3):
        scraper.track([_pod("http")])
    ((pod, message),) = warnings
    assert pod == "web"
    assert "prometheus.io/port" in message


async def test_a_closed_port_is_told_of(scraper: ApplicationScraper, warnings: Warnings) -> None:
    """A page that nobody serves is an error with the address."""
    scraper.track([_pod(1)])
    await _until(lambda: bool(warnings))
    assert "http://127.0.0.1:1/metrics" in warnings[0][1]
