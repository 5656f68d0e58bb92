"""Requests follow use, in virtual time: real cache, operations and controllers, samples as nodes send them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from controlplane.autoscaler.figures import Figures
from controlplane.autoscaler.samples import SampleStore
from controlplane.autoscaler.vertical import build_vertical_autoscaler
from flotilla.api.errors import ApiError
from flotilla.api.objects import KubeObject
from flotilla.api.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    EVENTS,
    HORIZONTAL_POD_AUTOSCALERS,
    LIMIT_RANGES,
    PODS,
    RESOURCE_QUOTAS,
)
from flotilla.api.workloads import pod_is_ready
from protos import dispatcher_pb2 as pb
from tests.simulation.conftest import wall_clock

if TYPE_CHECKING:
    from controlplane.autoscaler.vertical.controller import VerticalAutoscaler
    from tests.simulation.conftest import Virtual, World

Make = Callable[..., Any]


class Usage:
    """Each pod uses these cores and bytes, and its node says so each second."""

    def __init__(self, world: World, figures: Figures) -> None:
        self.cores, self.memory_bytes = 0.05, 40e6
        self._world, self._figures = world, figures
        self._used: dict[str, float] = {}
        self._started: dict[str, float] = {}

    async def run(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            now = wall_clock().timestamp()
            pods = [pod for pod in self._world.cache.list(PODS) if pod.node]
            for pod in pods:
                self._started.setdefault(pod.uid, now - 1.0)
                self._used[pod.uid] = self._used.get(pod.uid, 0.0) + self.cores
            for node in {pod.node for pod in pods}:
                self._figures.samples.ingest(node, self._round([pod for pod in pods if pod.node == node], now))

    def _round(self, pods: list[Any], now: float) -> pb.Samples:
        used = np.array([self._used[pod.uid] for pod in pods])
        return pb.Samples(
            time_unix_s=now,
            generation=hash(tuple(pod.uid for pod in pods)) & 0xFFFF,
            containers=[
                pb.ContainerKey(namespace="default", pod=pod.name, pod_uid=pod.uid, container="app") for pod in pods
            ],
            cpu_usage_ns=(used * 1e9).astype("<u8").tobytes(),
            cpu_throttled_ns=np.zeros(len(pods), "<u8").tobytes(),
            memory_working_set_bytes=np.full(len(pods), int(self.memory_bytes), "<u8").tobytes(),
            start_time_unix_s=np.array([self._started[pod.uid] for pod in pods], "<f8").tobytes(),
        )


class Scene:
    """A workload whose pods request 100m and 64Mi (limits twice that), and what looks after it."""

    def __init__(self, world: World, usage: Usage, figures: Figures) -> None:
        self.world, self.usage, self.figures = world, usage, figures
        self.vertical = self.build()

    def build(self) -> VerticalAutoscaler:
        world = self.world
        return build_vertical_autoscaler(world.cache, world.objects, world.recorder, self.figures)

    def requests(self, resource: str = "cpu", part: str = "requests") -> list[str]:
        pods = self.world.list(PODS)
        return sorted(pod["spec"]["containers"][0]["resources"][part][resource] for pod in pods)

    def messages(self, reason: str) -> list[str]:
        return [event["message"] for event in self.world.list(EVENTS, "") if event["reason"] == reason]


@asynccontextmanager
async def _scene(
    make_world: Make, make_deployment: Make, *, replicas: int = 2, **annotations: str
) -> AsyncIterator[Scene]:
    world: World = make_world()
    figures = Figures(SampleStore(clock=lambda: wall_clock().timestamp()))
    usage = Usage(world, figures)
    async with world.running(nodes=2):
        scene = Scene(world, usage, figures)
        tasks = [asyncio.create_task(scene.vertical.run()), asyncio.create_task(usage.run())]
        try:
            deployment = make_deployment(replicas=replicas)
            named = {name.replace("_", "-"): value for name, value in annotations.items()}
            deployment["metadata"]["annotations"] = {f"flotilla.dev/{name}": value for name, value in named.items()}
            container = deployment["spec"]["template"]["spec"]["containers"][0]
            container["resources"] = {
                "requests": {"cpu": "100m", "memory": "64Mi"},
                "limits": {"cpu": "200m", "memory": "128Mi"},
            }
            await world.create(DEPLOYMENTS, deployment)
            await world.until(lambda: sum(pod_is_ready(pod) for pod in world.list(PODS)) == replicas)
            yield scene
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def test_who_uses_more_than_it_requests_is_given_more(
    virtual: Virtual, make_world: Make, make_deployment: Make
) -> None:
    """Within minutes, one pod after the other, limits in proportion, without a new pod; everybody is told."""

    async def scenario() -> None:
        async with _scene(make_world, make_deployment, vertical="InPlace") as scene:
            uids = {pod["metadata"]["uid"] for pod in scene.world.list(PODS)}
            scene.usage.cores = 0.4
            await scene.world.until(lambda: scene.requests()[-1] != "100m", timeout_s=120)
            assert scene.requests()[0] == "100m"
            await scene.world.until(lambda: scene.requests()[0] != "100m", timeout_s=60)
            requests, limits = scene.requests(), scene.requests(part="limits")
            assert all(460 <= int(each[:-1]) <= 490 for each in requests)
            assert [int(each[:-1]) for each in limits] == [2 * int(each[:-1]) for each in requests]
            assert uids == {pod["metadata"]["uid"] for pod in scene.world.list(PODS)}
            await scene.world.until(lambda: len(scene.messages("VerticalResize")) >= 4, timeout_s=5)
            assert any(
                "Resizing pod web-" in each and "app cpu 100m to" in each for each in scene.messages("VerticalResize")
            )

    virtual(scenario())


def test_what_idles_for_minutes_keeps_what_it_has(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """The upper bound is wide at first: a request of three times the use is not taken back after minutes."""

    async def scenario() -> None:
        async with _scene(
            make_world, make_deployment, replicas=1, vertical="InPlace", vertical_resources="cpu"
        ) as scene:
            scene.usage.cores = 0.026
            await scene.world.stays(lambda: scene.requests() == ["100m"], for_s=600)

    virtual(scenario())


def test_a_recommendation_alone_changes_nothing(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """It is kept in a ConfigMap that the workload owns, in the words of a VerticalPodAutoscaler, and goes when it is
    not asked for any more."""

    async def scenario() -> None:
        async with _scene(make_world, make_deployment, vertical="Recommend") as scene:
            scene.usage.cores = 0.4
            name = "web.deployment.vertical"
            await scene.world.until(lambda: scene.world.get(CONFIG_MAPS, name), timeout_s=60)
            kept = scene.world.need(CONFIG_MAPS, name)
            assert kept["metadata"]["ownerReferences"][0]["name"] == "web"
            (told,) = json.loads(kept["data"]["recommendation"])["containerRecommendations"]
            assert told["containerName"] == "app"
            assert told["target"].keys() == {"cpu", "memory"}
            await scene.world.until(
                lambda: "is due: app cpu 100m to" in str(_explained(scene)["pods"][0]), timeout_s=120
            )
            assert _explained(scene)["containers"][0]["resources"][0]["target"] >= 460
            assert scene.requests() == ["100m", "100m"]
            await scene.world.edit(DEPLOYMENTS, "web", lambda each: each["metadata"]["annotations"].clear())
            await scene.world.until(lambda: scene.world.get(CONFIG_MAPS, name) is None, timeout_s=20)
            with pytest.raises(ApiError, match="annotate it"):
                scene.vertical.explain("default", "deploy", "web")

    virtual(scenario())


def test_another_leader_goes_on(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """What was learnt is not lost with the leader: the next one begins with it."""

    async def scenario() -> None:
        async with _scene(make_world, make_deployment, vertical="Recommend") as scene:
            await asyncio.sleep(700)
            before = scene.vertical.explain("default", "deployment", "web")["containers"][0]
            successor = scene.build()
            task = asyncio.create_task(successor.run())
            await asyncio.sleep(1.0)
            after = successor.explain("default", "deployment", "web")["containers"][0]
            assert before["historySeconds"] - after["historySeconds"] < 310
            assert after["historySeconds"] > 300
            assert after["resources"][0]["target"] == before["resources"][0]["target"]
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    virtual(scenario())


def test_a_resource_that_replicas_follow_is_left_alone(
    virtual: Virtual, make_world: Make, make_deployment: Make
) -> None:
    """CPU is the HorizontalPodAutoscaler's, and the workload is told so; memory is not."""

    async def scenario() -> None:
        async with _scene(make_world, make_deployment, vertical="InPlace") as scene:
            target = {"type": "Utilization", "averageUtilization": 50}
            scaler = {
                "metadata": {"name": "web-scaler"},
                "spec": {
                    "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                    "maxReplicas": 5,
                    "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
                },
            }
            await scene.world.create(HORIZONTAL_POD_AUTOSCALERS, scaler)
            scene.usage.cores, scene.usage.memory_bytes = 0.4, 110e6
            await scene.world.until(lambda: "64Mi" not in scene.requests("memory"), timeout_s=400)
            assert scene.requests() == ["100m", "100m"]
            (message,) = scene.messages("VerticalConflict")
            assert "cpu is left to HorizontalPodAutoscaler web-scaler" in message

    virtual(scenario())


def test_a_bad_option_is_named_and_nothing_is_done(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """The event names annotation, value and what is expected; once it is right the pods are resized."""

    async def scenario() -> None:
        async with _scene(make_world, make_deployment, vertical="InPlace", vertical_max="2 cores") as scene:
            scene.usage.cores = 0.4
            await scene.world.stays(lambda: scene.requests() == ["100m", "100m"], for_s=60)
            (message,) = scene.messages("InvalidVerticalOption")
            assert message.startswith(
                "metadata.annotations[flotilla.dev/vertical-max]: invalid value '2 cores': must be"
            )
            key = "flotilla.dev/vertical-max"
            await scene.world.edit(
                DEPLOYMENTS, "web", lambda each: each["metadata"]["annotations"].update({key: "cpu=300m"})
            )
            await scene.world.until(lambda: scene.requests() == ["300m", "300m"], timeout_s=60)

    virtual(scenario())


def test_quotas_and_limit_ranges_hold(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """A namespace's bounds are kept to, and what its quota refuses is told and not tried again at once."""

    async def scenario() -> None:
        async with _scene(make_world, make_deployment, vertical="InPlace", vertical_resources="cpu") as scene:
            bounds = {"spec": {"limits": [{"type": "Container", "max": {"cpu": "500m"}}]}}
            await scene.world.create(LIMIT_RANGES, {"metadata": {"name": "bounds"}, **bounds})
            quota = {"metadata": {"name": "small"}, "spec": {"hard": {"requests.cpu": "400m"}}}
            await scene.world.create(RESOURCE_QUOTAS, quota)
            await scene.world.until(lambda: scene.world.need(RESOURCE_QUOTAS, "small").get("status", {}).get("used"))
            scene.usage.cores = 0.4
            await scene.world.until(lambda: scene.messages("FailedVerticalResize"), timeout_s=200)
            assert scene.requests() == ["100m", "250m"]
            assert scene.requests(part="limits") == ["200m", "500m"]
            (message,) = scene.messages("FailedVerticalResize")
            assert "exceeded quota: small" in message
            await scene.world.edit(
                RESOURCE_QUOTAS, "small", lambda each: each["spec"]["hard"].update({"requests.cpu": "1"})
            )
            await scene.world.until(lambda: scene.requests() == ["250m", "250m"], timeout_s=200)

    virtual(scenario())


def test_a_pod_that_ran_out_of_memory_is_given_more(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """A kill soon after the start is answered although nothing in use is above the request."""

    async def scenario() -> None:
        async with _scene(
            make_world, make_deployment, replicas=1, vertical="InPlace", vertical_resources="memory"
        ) as scene:
            (pod,) = scene.world.list(PODS)
            await scene.world.report(pod, {"containerStatuses": [_killed()]})
            await scene.world.until(lambda: scene.requests("memory") != ["64Mi"], timeout_s=60)
            (grown,) = scene.requests("memory")
            assert 160 <= int(grown.removesuffix("Mi")) <= 200

    virtual(scenario())


def _explained(scene: Scene) -> KubeObject:
    return scene.vertical.explain("default", "deploy", "web")


def _killed() -> KubeObject:
    ended = {
        "reason": "OOMKilled",
        "exitCode": 137,
        "startedAt": "2026-01-01T00:00:00Z",
        "finishedAt": "2026-01-01T00:00:09Z",
    }
    return {
        "name": "app",
        "image": "web:1",
        "imageID": "",
        "ready": True,
        "restartCount": 1,
        "state": {"running": {"startedAt": "2026-01-01T00:00:10Z"}},
        "lastState": {"terminated": ended},
    }
