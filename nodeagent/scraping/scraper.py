"""Reads the metrics pages of the node's pods, and puts what was read into rounds.

Every page has a task of its own, so that a slow one delays no other. A page of a namespace in which somebody asks for
series is read each second; any other only every fifteen, for the names of what it offers. A page that fails is tried
again after growing pauses, and its pod gets an event that says why, once for each reason.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flotilla.api.objects import KubeObject
from nodeagent.scraping.pages import Page, UnreadablePageError, read_page
from nodeagent.scraping.targets import InvalidTargetError, PageTarget, target_of

logger = logging.getLogger(__name__)

PERIOD_S = 1.0
NAMES_PERIOD_S = 15.0
TIMEOUT_S = 5.0
LONGEST_PAUSE_S = 15.0
PAGE_LIMIT_BYTES = 8 << 20
_ACCEPT = "text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0;q=0.5"
_CHUNK_BYTES = 1 << 16

Warn = Callable[[KubeObject, str], None]


@dataclass(frozen=True, slots=True)
class SeriesId:
    """One series of one pod; ``labels`` sorted by name."""

    namespace: str
    pod: str
    uid: str
    name: str
    cumulative: bool
    labels: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ApplicationRound:
    """All series at one moment; ``generation`` changes with ``series``. Columns are float64, little endian."""

    time_unix_s: float
    generation: int
    series: tuple[SeriesId, ...]
    scraped_unix_s: bytes
    values: bytes
    offered: frozenset[tuple[str, str, bool]]


@dataclass(slots=True)
class _Followed:
    target: PageTarget
    pod: KubeObject
    task: asyncio.Task[None] | None = None
    page: Page | None = None
    read_unix_s: float = 0.0
    problem: str = ""


class ApplicationScraper:
    """Follows the pages of the pods it is told of. ``warn(pod, message)`` tells of what keeps a page from being read.

    ``clock`` gives Unix seconds that are not set.
    """

    def __init__(self, *, warn: Warn, clock: Callable[[], float]) -> None:
        self._warn = warn
        self._clock = clock
        self._interest: dict[str, frozenset[str]] = {}
        self._pages: dict[str, _Followed] = {}
        self._refused: dict[str, str] = {}
        self._series: tuple[SeriesId, ...] = ()
        self._generation = 0
        self._client: Any = None

    def interested(self, interest: Mapping[str, Iterable[str]]) -> None:
        """Look for these series, by namespace, from now on; those of other pages are no longer looked for."""
        newest = {namespace: frozenset(names) for namespace, names in interest.items()}
        changed = {name for name in {*newest, *self._interest} if newest.get(name) != self._interest.get(name)}
        self._interest = newest
        for followed in self._pages.values():
            if followed.target.namespace in changed:
                self._begin(followed)

    def track(self, pods: Iterable[tuple[KubeObject, str]]) -> None:
        """Read the pages of exactly these pods, each with its address, from now on."""
        wanted: dict[str, tuple[PageTarget, KubeObject]] = {}
        refused: dict[str, str] = {}
        for pod, ip in pods:
            try:
                target = target_of(pod, ip)
            except InvalidTargetError as error:
                uid = pod["metadata"]["uid"]
                refused[uid] = str(error)
                if self._refused.get(uid) != str(error):
                    self._warn(pod, str(error))
                continue
            if target is not None:
                wanted[target.uid] = (target, pod)
        self._refused = refused
        for uid in [uid for uid, known in self._pages.items() if uid not in wanted or wanted[uid][0] != known.target]:
            self._end(self._pages.pop(uid))
        for uid, (target, pod) in wanted.items():
            if uid not in self._pages:
                self._pages[uid] = _Followed(target, pod)
                self._begin(self._pages[uid])

    def round(self) -> ApplicationRound | None:
        """What was read last of every page; None if no pod has one."""
        if not self._pages and not self._series:
            return None
        series: list[SeriesId] = []
        scraped, values = array("d"), array("d")
        offered: set[tuple[str, str, bool]] = set()
        for followed in self._pages.values():
            target, page = followed.target, followed.page
            if page is None:
                continue
            offered.update((target.namespace, name, grows) for name, grows in page.offered.items())
            for one in page.values:
                labels = tuple(sorted(one.labels.items()))
                series.append(SeriesId(target.namespace, target.pod, target.uid, one.name, one.cumulative, labels))
                scraped.append(followed.read_unix_s)
                values.append(one.value)
        if tuple(series) != self._series:
            self._series = tuple(series)
            self._generation += 1
        for column in (scraped, values):
            if sys.byteorder == "big":
                column.byteswap()
        return ApplicationRound(
            self._clock(), self._generation, self._series, scraped.tobytes(), values.tobytes(), frozenset(offered)
        )

    async def close(self) -> None:
        """End all reading."""
        tasks = [followed.task for followed in self._pages.values() if followed.task is not None]
        self.track(())
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.close()

    def _begin(self, followed: _Followed) -> None:
        if followed.task is not None:
            followed.task.cancel()
        wanted = self._interest.get(followed.target.namespace, frozenset())
        followed.task = asyncio.create_task(self._read_forever(followed, wanted), name=f"page {followed.target.url}")

    def _end(self, followed: _Followed) -> None:
        if followed.task is not None:
            followed.task.cancel()

    async def _read_forever(self, followed: _Followed, wanted: frozenset[str]) -> None:
        loop = asyncio.get_running_loop()
        pause_s = PERIOD_S
        while True:
            began_s = loop.time()
            problem = await self._read(followed, wanted)
            if problem:
                pause_s = min(LONGEST_PAUSE_S, pause_s * 2)
                if problem != followed.problem:
                    self._warn(followed.pod, f"{followed.target.url}: {problem}")
            else:
                pause_s = PERIOD_S if wanted else NAMES_PERIOD_S
            followed.problem = problem
            await asyncio.sleep(max(0.0, began_s + pause_s - loop.time()))

    async def _read(self, followed: _Followed, wanted: frozenset[str]) -> str:
        """Read the page once; what kept it from being read, or an empty string."""
        try:
            page = read_page(await self._fetch(followed.target.url), wanted=wanted)
        except (UnreadablePageError, _FetchError) as error:
            return str(error)
        except TimeoutError:
            return f"no answer within {TIMEOUT_S:g} s"
        followed.page, followed.read_unix_s = page, self._clock()
        return "more than 500 series are asked for; the rest is left out" if page.cut else ""

    async def _fetch(self, url: str) -> str:
        """The text of a page. _FetchError, TimeoutError."""
        # The client is loaded with the first page: most nodes have none, and it is a fifth of the agent's memory.
        import aiohttp

        if self._client is None:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
            self._client = aiohttp.ClientSession(timeout=timeout, headers={"Accept": _ACCEPT}, auto_decompress=True)
        try:
            # The certificate of a pod is whatever the pod shows, as with probes.
            async with self._client.get(url, allow_redirects=False, ssl=False) as response:
                if response.status != 200:
                    raise _FetchError(f"HTTP {response.status}")
                body = bytearray()
                async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                    body += chunk
                    if len(body) > PAGE_LIMIT_BYTES:
                        raise _FetchError(f"the page has more than {PAGE_LIMIT_BYTES} bytes")
                return body.decode("utf-8", "replace")
        except (aiohttp.ClientError, OSError) as error:
            raise _FetchError(str(error) or type(error).__name__) from error


class _FetchError(Exception):
    """A page that did not arrive; the message says why."""
