"""Queries as metrics, against a server that answers as Prometheus does, or does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controlplane.autoscaler.calculator import MetricError
from controlplane.autoscaler.prometheus import PrometheusQueries
from tests.integration.prometheus_lab import Server, serving

KEY = ("default", "web")
DEADLINE_S = 10.0


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as server:
        yield server


@asynccontextmanager
async def _running(queries: PrometheusQueries) -> AsyncIterator[None]:
    task = asyncio.create_task(queries.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _autoscaler(**annotations: str) -> dict[str, Any]:
    written = {"prometheus.flotilla.dev/queue": "sum(queue)", "flotilla.dev/prometheus-interval": "1s"}
    written |= {name.replace("__", "/"): value for name, value in annotations.items()}
    return {"metadata": {"namespace": "default", "name": "web", "annotations": written}}


async def _answered(queries: PrometheusQueries) -> None:
    async with asyncio.timeout(DEADLINE_S):
        assert await queries.arrivals() == {KEY}


async def test_an_answer_is_a_value(server: Server) -> None:
    """The query of the annotation is asked of the cluster's server, and its number is the metric's."""
    queries = PrometheusQueries(server.url)
    queries.follow(KEY, _autoscaler())
    async with _running(queries):
        await _answered(queries)
        assert queries.value(_autoscaler(), "queue") == 3.0
        assert server.asked == ["sum(queue)"]
        assert queries.value(_autoscaler(), "another") is None
        server.result[0]["value"][1] = "4.5"
        await _answered(queries)
        assert queries.value(_autoscaler(), "queue") == 4.5


async def test_a_query_in_common_is_asked_once(server: Server) -> None:
    """Two autoscalers with one query share its answers; the last to go ends it."""
    queries = PrometheusQueries(server.url)
    for name in ("web", "other"):
        queries.follow(("default", name), _autoscaler())
    async with _running(queries):
        assert await queries.arrivals() == {KEY, ("default", "other")}
        assert len(server.asked) == 1
        queries.follow(("default", "other"), None)
        await _answered(queries)
        queries.follow(KEY, None)
        with pytest.raises(MetricError, match="not been answered yet"):
            queries.value(_autoscaler(), "queue")


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ([], "answers with no series"),
        ([{"metric": {"a": "1"}, "value": [0, "1"]}, {"metric": {"a": "2"}, "value": [0, "1"]}], "2 series: aggregate"),
        ([{"metric": {}, "value": [0, "NaN"]}], "answers with nan"),
        ([{"metric": {}, "value": [0, "+Inf"]}], "answers with inf"),
    ],
)
async def test_what_is_not_one_number_is_explained(server: Server, result: Any, message: str) -> None:
    """An answer that can't be counted with says what came and what to change."""
    server.result = result
    queries = PrometheusQueries(server.url)
    queries.follow(KEY, _autoscaler())
    async with _running(queries):
        await _answered(queries)
        with pytest.raises(MetricError, match=message):
            queries.value(_autoscaler(), "queue")


async def test_nothing_may_stand_for_zero(server: Server) -> None:
    """An empty answer is zero where the autoscaler says so."""
    server.result = []
    queries = PrometheusQueries(server.url)
    autoscaler = _autoscaler(**{"flotilla.dev__prometheus-empty": "zero"})
    queries.follow(KEY, autoscaler)
    async with _running(queries):
        await _answered(queries)
        assert queries.value(autoscaler, "queue") == 0.0


async def test_a_failing_server_replaces_the_answer_before(server: Server) -> None:
    """Errors, silence and absence are told with the server's name, and an old number is not taken for load."""
    queries = PrometheusQueries(server.url, timeout_s=0.3)
    queries.follow(KEY, _autoscaler())
    async with _running(queries):
        await _answered(queries)
        assert queries.value(_autoscaler(), "queue") == 3.0
        server.status = 502
        await _answered(queries)
        with pytest.raises(MetricError, match="HTTP 502"):
            queries.value(_autoscaler(), "queue")
        server.silent = True
        await _answered(queries)
        with pytest.raises(MetricError, match=r"did not answer within 0\.3 s"):
            queries.value(_autoscaler(), "queue")
        server.silent, server.status = False, 200
        await _answered(queries)
        assert queries.value(_autoscaler(), "queue") == 3.0
        assert server.runner is not None
        await server.runner.cleanup()
        await _answered(queries)
        with pytest.raises(MetricError, match=r"127\.0\.0\.1.* can't be asked"):
            queries.value(_autoscaler(), "queue")


async def test_without_a_server_the_remedy_is_named() -> None:
    """A cluster without Prometheus says which annotation names one."""
    queries = PrometheusQueries()
    queries.follow(KEY, _autoscaler())
    with pytest.raises(MetricError, match=r"flotilla\.dev/prometheus-server"):
        queries.value(_autoscaler(), "queue")


async def test_cpu_and_memory_by_queries(server: Server) -> None:
    """An autoscaler may take what pods use from Prometheus; containers are told apart."""
    server.result = [
        {"metric": {"pod": "web-1", "container": "app"}, "value": [0, "0.25"]},
        {"metric": {"pod": "web-1", "container": "proxy"}, "value": [0, "0.05"]},
    ]
    autoscaler = _autoscaler(**{"flotilla.dev__resource-metrics": "prometheus"})
    queries = PrometheusQueries(server.url)
    queries.follow(KEY, autoscaler)
    async with _running(queries):
        while len(server.asked) < 3:
            await _answered(queries)
        usage = queries.usage(autoscaler)
    assert usage.cores == {("web-1", "app"): 0.25, ("web-1", "proxy"): 0.05}
    assert any('container_cpu_usage_seconds_total{namespace="default"' in text for text in server.asked)
