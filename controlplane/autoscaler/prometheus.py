"""PromQL queries as metrics: each distinct query is asked at its own pace, and its newest answer kept.

The autoscaler reads answers, it never waits for one; an answer that arrives brings up the autoscalers that use it. An
answer has to be one number: a scalar, or a vector of one element. Anything else, and no answer at all, is an error
that says what came and what to change, and it replaces the answer before: an old number must not look like load.
Source of the API: Prometheus' ``/api/v1/query``.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec

from controlplane.autoscaler.calculator import MetricError
from controlplane.autoscaler.usage import QueriedUsage, resource_queries
from controlplane.reconcile.controller import ObjectKey
from flotilla.api.autoscaling_options import SERVER, AutoscalingOptions, read_options
from flotilla.api.objects import namespace_of
from flotilla.clocks import steady_unix_s

logger = logging.getLogger(__name__)

TIMEOUT_S = 5.0
ANSWER_LIMIT_BYTES = 4 << 20
CONNECTIONS = 32
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of which server, and how often."""

    server: str
    text: str
    every_s: float


Labels = Mapping[str, str]
Vector = list[tuple[Labels, float]]


@dataclass(slots=True)
class _Followed:
    """A query in use; ``answer`` is None until the first has come."""

    keys: set[ObjectKey] = field(default_factory=set)
    answer: Vector | MetricError | None = None
    answered_s: float = float("-inf")
    task: asyncio.Task[None] | None = None


class _Result(msgspec.Struct):
    resultType: str  # noqa: N815
    result: Any


class _Answer(msgspec.Struct):
    status: str
    data: _Result | None = None
    error: str = ""


class PrometheusQueries:
    """Follows the queries of all autoscalers. ``server`` is the cluster's Prometheus, empty if it has none."""

    def __init__(
        self, server: str = "", *, timeout_s: float = TIMEOUT_S, clock: Callable[[], float] = steady_unix_s
    ) -> None:
        self._timeout_s = timeout_s
        self._server = server
        self._clock = clock
        self._followed: dict[Query, _Followed] = {}
        self._used: dict[ObjectKey, frozenset[Query]] = {}
        self._arrived: set[ObjectKey] = set()
        self._arrival = asyncio.Event()
        self._session: aiohttp.ClientSession | None = None

    def value(self, autoscaler: Mapping[str, Any], metric: str) -> float | None:
        """The newest answer to the autoscaler's query for the metric; None if it names none. MetricError."""
        options, _ = read_options(autoscaler)
        text = options.queries.get(metric)
        if text is None:
            return None
        vector = self.vector(Query(self._asked(options), text, options.interval_s))
        if len(vector) > 1:
            raise MetricError(f"the query answers with {len(vector)} series: aggregate them, for example by sum(...)")
        if not vector:
            if options.empty_is_zero:
                return 0.0
            raise MetricError(
                "the query answers with no series: correct it, append 'or vector(0)', or set the annotation "
                "flotilla.dev/prometheus-empty to zero"
            )
        number = vector[0][1]
        if not math.isfinite(number):
            raise MetricError(f"the query answers with {number}, which is no count: guard divisions against zero")
        return number

    def vector(self, query: Query) -> Vector:
        """The newest answer to a query that is followed. MetricError."""
        followed = self._followed.get(query)
        if followed is None or followed.answer is None:
            raise MetricError("the query has not been answered yet")
        if isinstance(followed.answer, MetricError):
            raise followed.answer
        age_s = asyncio.get_running_loop().time() - followed.answered_s
        if age_s > 2 * query.every_s + 2 * self._timeout_s:
            raise MetricError(f"the last answer is {age_s:.0f} s old")
        return followed.answer

    def follow(self, key: ObjectKey, autoscaler: Mapping[str, Any] | None) -> None:
        """Ask what this autoscaler asks for from now on; nothing if it is None."""
        options = read_options(autoscaler)[0] if autoscaler is not None else AutoscalingOptions()
        server = self._asked(options, tell=False)
        texts = {*options.queries.values()}
        if options.from_prometheus and autoscaler is not None:
            texts.update(resource_queries(namespace_of(autoscaler)))
        self.use(key, frozenset(Query(server, text, options.interval_s) for text in texts if server))

    def usage(self, autoscaler: Mapping[str, Any]) -> QueriedUsage:
        """What the pods of the autoscaler's namespace use, if it takes that from Prometheus. MetricError."""
        options, _ = read_options(autoscaler)
        server = self._asked(options)
        queries = [Query(server, text, options.interval_s) for text in resource_queries(namespace_of(autoscaler))]
        cores, held = (
            {(labels.get("pod", ""), labels.get("container", "")): value for labels, value in self.vector(query)}
            for query in queries
        )
        age_s = asyncio.get_running_loop().time() - self._followed[queries[0]].answered_s
        return QueriedUsage(cores, held, self._clock() - age_s)

    def use(self, key: ObjectKey, wanted: frozenset[Query]) -> None:
        """Ask these for the autoscaler, and what was asked for it before no longer."""
        for query in self._used.get(key, frozenset()) - wanted:
            followed = self._followed[query]
            followed.keys.discard(key)
            if not followed.keys:
                self._drop(query)
        for query in wanted:
            followed = self._followed.setdefault(query, _Followed())
            followed.keys.add(key)
            if self._session is not None and followed.task is None:
                followed.task = asyncio.create_task(self._ask_forever(query, followed), name=f"query {query.text[:40]}")
        self._used[key] = wanted
        if not wanted:
            del self._used[key]

    async def arrivals(self) -> set[ObjectKey]:
        """The autoscalers whose answers have come since the last call; at least one. For one reader."""
        await self._arrival.wait()
        self._arrival.clear()
        arrived, self._arrived = self._arrived, set()
        return arrived

    async def run(self) -> None:
        """Ask until cancelled."""
        connector = aiohttp.TCPConnector(limit=CONNECTIONS)
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            self._session = session
            try:
                for query, followed in self._followed.items():
                    followed.task = asyncio.create_task(self._ask_forever(query, followed))
                await asyncio.Event().wait()
            finally:
                self._session = None
                tasks = [followed.task for followed in self._followed.values() if followed.task is not None]
                for followed in self._followed.values():
                    followed.task = None
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def _drop(self, query: Query) -> None:
        task = self._followed.pop(query).task
        if task is not None:
            task.cancel()

    def _asked(self, options: AutoscalingOptions, *, tell: bool = True) -> str:
        server = options.server or self._server
        if not server and tell:
            raise MetricError(f"the cluster has no Prometheus server: name one in the annotation {SERVER}")
        return server

    async def _ask_forever(self, query: Query, followed: _Followed) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            try:
                followed.answer = await self._ask(query)
            except MetricError as error:
                followed.answer = error
            followed.answered_s = loop.time()
            self._arrived |= followed.keys
            self._arrival.set()
            await asyncio.sleep(max(0.0, began_s + query.every_s - loop.time()))

    async def _ask(self, query: Query) -> Vector:
        assert self._session is not None
        url = f"{query.server}/api/v1/query"
        try:
            # By POST, because queries may be longer than a URL.
            async with self._session.post(url, data={"query": query.text}, allow_redirects=False) as response:
                body = await response.content.read(ANSWER_LIMIT_BYTES + 1)
                while len(body) <= ANSWER_LIMIT_BYTES and (more := await response.content.read(ANSWER_LIMIT_BYTES)):
                    body += more
        except TimeoutError:
            raise MetricError(f"{query.server} did not answer within {self._timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise MetricError(f"{query.server} can't be asked: {error or type(error).__name__}") from error
        if len(body) > ANSWER_LIMIT_BYTES:
            raise MetricError(f"{query.server} answers with more than {ANSWER_LIMIT_BYTES} bytes")
        return read_answer(body, status=response.status)


def read_answer(body: bytes, *, status: int) -> Vector:
    """The series in an answer of ``/api/v1/query``. MetricError."""
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except msgspec.DecodeError:
        raise MetricError(f"the answer (HTTP {status}) is not that of a Prometheus server") from None
    if answer.status != "success" or answer.data is None:
        raise MetricError(f"the query fails: {answer.error[:_SHOWN] or f'HTTP {status}'}")
    kind, result = answer.data.resultType, answer.data.result
    try:
        if kind == "scalar":
            return [({}, float(result[1]))]
        if kind == "vector":
            return [({str(k): str(v) for k, v in one["metric"].items()}, float(one["value"][1])) for one in result]
    except (ValueError, TypeError, LookupError, AttributeError):
        raise MetricError("the answer is not that of a Prometheus server") from None
    raise MetricError(f"the query answers with a {kind[:_SHOWN]}: it has to be an instant vector or a scalar")
