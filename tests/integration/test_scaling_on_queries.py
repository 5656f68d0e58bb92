"""The whole control loop on a query, against a server that stops answering as it should."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from controlplane.autoscaler import build_autoscaler
from controlplane.autoscaler.figures import Figures
from controlplane.autoscaler.prometheus import PrometheusQueries
from flotilla.api.conditions import get_condition
from flotilla.api.objects import KubeObject
from flotilla.api.resources import DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS
from tests.integration.prometheus_lab import Server, serving
from tests.simulation.conftest import World, deployment

SCALER: KubeObject = {
    "metadata": {
        "name": "web",
        "annotations": {"prometheus.flotilla.dev/queue": "sum(queue)", "flotilla.dev/prometheus-interval": "1s"},
    },
    "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "minReplicas": 1,
        "maxReplicas": 5,
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        "metrics": [
            {
                "type": "External",
                "external": {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "10"}},
            }
        ],
    },
}


def _answers(value: str) -> list[KubeObject]:
    return [{"metric": {}, "value": [1700000000, value]}]


async def test_a_server_in_trouble_scales_nothing_down() -> None:
    """Bad, empty, late and no answers leave the count as it is and are told; a good answer decides at once again."""
    async with serving() as server, World().running(nodes=1) as world:
        server.result = _answers("30")
        figures = Figures(queries=PrometheusQueries(server.url, timeout_s=0.3))
        autoscaler = build_autoscaler(world.cache, world.objects, world.recorder, figures)
        running = asyncio.create_task(autoscaler.run())
        try:
            await world.create(DEPLOYMENTS, deployment(replicas=1))
            await world.create(HORIZONTAL_POD_AUTOSCALERS, SCALER)
            await world.until(lambda: _wanted(world) == 3)
            await _all_troubles(world, server)
            server.status, server.silent, server.result = 200, False, _answers("0")
            await world.until(lambda: _wanted(world) == 1)
            assert "FailedGetExternalMetric" in world.reasons()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def _all_troubles(world: World, server: Server) -> None:
    def answer(result: Any) -> Callable[[], None]:
        return lambda: setattr(server, "result", result)

    troubles: list[tuple[Callable[[], None], str]] = [
        (answer(_answers("NaN")), "answers with nan"),
        (answer([]), "answers with no series"),
        (answer({"not": "a vector"}), "not that of a Prometheus server"),
        (lambda: setattr(server, "status", 502), "HTTP 502"),
        (lambda: setattr(server, "silent", True), "did not answer within 0.3 s"),
    ]
    for begin, message in troubles:
        begin()
        await world.until(lambda message=message: message in _told(world))  # type: ignore[misc]
        assert _wanted(world) == 3


def _told(world: World) -> str:
    condition = get_condition(world.need(HORIZONTAL_POD_AUTOSCALERS, "web"), "ScalingActive") or {}
    assert (condition.get("status"), condition.get("reason")) != ("True", "ScalingDisabled")
    return str(condition.get("message", ""))


def _wanted(world: World) -> int:
    return int(world.need(DEPLOYMENTS, "web")["spec"]["replicas"])
