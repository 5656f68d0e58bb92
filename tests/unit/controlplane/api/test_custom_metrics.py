"""What applications say of themselves, as other autoscalers and ``kubectl get --raw`` read it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
import pytest

from flotilla.api.objects import KubeObject
from flotilla.api.resources import PODS, SERVICES
from protos import dispatcher_pb2 as pb

CUSTOM = "/apis/custom.metrics.k8s.io/v1beta2"
EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1"


async def _create_pods(api: Any, **depths: float) -> None:
    """Pods of node one, each with a queue as deep as it says."""
    keys = []
    for name in depths:
        container = {"name": "app", "image": "app:1"}
        metadata = {"name": name, "namespace": "default", "labels": {"app": name[0]}}
        pod: KubeObject = {"metadata": metadata, "spec": {"containers": [container], "nodeName": "one"}}
        stored = await api.operations.create(PODS, pod, manager="test")
        keys.append(pb.SeriesKey(namespace="default", pod=name, pod_uid=stored["metadata"]["uid"], name="queue_depth"))
    await api.cache.barrier()
    now = time.time()
    offered = pb.OfferedMetric(namespace="default", name="queue_depth")
    api.figures.applications.offer("one", pb.OfferedMetrics(metrics=[offered]))
    values = np.array(list(depths.values()), dtype="<f8")
    times = np.full(len(keys), now, dtype="<f8")
    samples = pb.ApplicationSamples(
        time_unix_s=now, generation=1, series=keys, values=values.tobytes(), scraped_unix_s=times.tobytes()
    )
    api.figures.applications.ingest("one", samples)


async def _values(api: Any, path: str) -> dict[str, str]:
    reply = await api.get(path)
    assert reply.status == 200, reply.body
    return {item["describedObject"]["name"]: item["value"] for item in reply.body["items"]}


async def test_each_pod_has_its_value(api: Any) -> None:
    """All pods, those that a selector admits, and one by its name."""
    await _create_pods(api, a1=3, a2=4.5, b1=7)
    base = f"{CUSTOM}/namespaces/default/pods"
    assert await _values(api, f"{base}/*/queue_depth") == {"a1": "3", "a2": "4500m", "b1": "7"}
    assert await _values(api, f"{base}/*/queue_depth?labelSelector=app%3Da") == {"a1": "3", "a2": "4500m"}
    reply = await api.get(f"{base}/b1/queue_depth")
    (item,) = reply.body["items"]
    assert reply.body["kind"] == "MetricValueList"
    assert item["describedObject"] == {"kind": "Pod", "name": "b1", "apiVersion": "v1", "namespace": "default"}
    assert item["metric"] == {"name": "queue_depth", "selector": None}


async def test_the_first_version_has_its_own_form(api: Any) -> None:
    """v1beta1 names the metric in a field of its own."""
    await _create_pods(api, a1=3)
    reply = await api.get("/apis/custom.metrics.k8s.io/v1beta1/namespaces/default/pods/a1/queue_depth")
    (item,) = reply.body["items"]
    assert (item["metricName"], item["value"]) == ("queue_depth", "3")
    assert reply.body["apiVersion"] == "custom.metrics.k8s.io/v1beta1"


async def test_a_service_has_the_sum_of_its_pods(api: Any) -> None:
    """An object's value is that of the pods behind it."""
    await _create_pods(api, a1=3, a2=4, b1=7)
    spec = {"selector": {"app": "a"}, "ports": [{"port": 80}]}
    metadata = {"name": "web", "namespace": "default"}
    await api.operations.create(SERVICES, {"metadata": metadata, "spec": spec}, manager="test")
    await api.cache.barrier()
    assert await _values(api, f"{CUSTOM}/namespaces/default/services/web/queue_depth") == {"web": "7"}


async def test_external_values_are_those_of_the_namespace(api: Any) -> None:
    """Without an object the sum over the namespace is the value."""
    await _create_pods(api, a1=3, b1=7)
    reply = await api.get(f"{EXTERNAL}/namespaces/default/queue_depth")
    (item,) = reply.body["items"]
    assert (item["metricName"], item["value"], item["metricLabels"]) == ("queue_depth", "10", {})
    assert reply.body["kind"] == "ExternalMetricValueList"


async def test_who_asks_has_it_read(api: Any) -> None:
    """A metric that pods offer and nobody has used is looked for from the question on, and waited for."""
    await _create_pods(api, a1=3)
    offered = [pb.OfferedMetric(namespace="default", name=name) for name in ("queue_depth", "workers")]
    api.figures.applications.offer("one", pb.OfferedMetrics(metrics=offered))
    asking = asyncio.create_task(api.get(f"{CUSTOM}/namespaces/default/pods/a1/workers"))
    await api.figures.interest.wait_changed()
    assert "workers" in api.figures.interest.series["default"]
    uid = api.cache.get(PODS, "default", "a1").uid
    now = time.time()
    key = pb.SeriesKey(namespace="default", pod="a1", pod_uid=uid, name="workers")
    number = np.array([2.0], dtype="<f8").tobytes()
    scraped = np.array([now], dtype="<f8").tobytes()
    samples = pb.ApplicationSamples(time_unix_s=now, generation=2, series=[key], values=number, scraped_unix_s=scraped)
    api.figures.applications.ingest("one", samples)
    assert (await asking).body["items"][0]["value"] == "2"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{CUSTOM}/namespaces/default/pods/*/nothing", 404),
        (f"{CUSTOM}/namespaces/default/services/none/queue_depth", 404),
        (f"{CUSTOM}/namespaces/default/unicorns/a/queue_depth", 404),
        (f"{CUSTOM}/namespaces/default/pods/*/queue_depth?labelSelector=%3D", 400),
        (f"{EXTERNAL}/namespaces/default/nothing", 404),
        (f"{EXTERNAL}/namespaces/default/queue_depth/more", 404),
    ],
)
async def test_what_is_not_there_is_named(api: Any, path: str, status: int) -> None:
    """A wrong path, object, selector or metric is an error of the client, never of the server."""
    await _create_pods(api, a1=3)
    reply = await api.get(path)
    assert (reply.status, reply.body["kind"]) == (status, "Status")


async def test_discovery_lists_what_is_offered(api: Any) -> None:
    """Both groups are discovered, with the metrics that there are now."""
    await _create_pods(api, a1=3)
    names = {group["name"] for group in (await api.get("/apis")).body["groups"]}
    assert {"custom.metrics.k8s.io", "external.metrics.k8s.io"} <= names
    for path, listed in ((CUSTOM, "pods/queue_depth"), (EXTERNAL, "queue_depth")):
        assert [resource["name"] for resource in (await api.get(path)).body["resources"]] == [listed]
