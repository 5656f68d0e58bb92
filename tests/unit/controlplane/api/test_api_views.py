"""One stored object served in two versions: reads, lists, watches, patches and apply in each."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp

from flotilla.api.objects import KubeObject

_V1 = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers"
_V2 = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
_NEW_EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"
_EVENTS = "/api/v1/namespaces/default/events"
_TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}


def _autoscaler() -> KubeObject:
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    spec = {"scaleTargetRef": reference, "maxReplicas": 4, "targetCPUUtilizationPercentage": 60}
    return {"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "w"}, "spec": spec}


async def test_an_object_is_read_in_either_version(api: Any) -> None:
    """What was created in one version must be the same object, with the same identity, in the other."""
    created = await api.post(_V1, _autoscaler())
    assert (created.status, created.body["apiVersion"]) == (201, "autoscaling/v1")
    second = (await api.get(f"{_V2}/w")).body
    assert second["apiVersion"] == "autoscaling/v2"
    assert second["metadata"]["uid"] == created.body["metadata"]["uid"]
    assert second["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 60
    listed = (await api.get(_V1)).body
    assert listed["apiVersion"] == "autoscaling/v1"
    assert listed["items"] == [created.body]
    paged = (await api.get(f"{_V1}?limit=1")).body
    assert paged["items"] == [created.body]


async def test_tables_and_discovery_show_both(api: Any) -> None:
    """Either version must have its table, its discovery entry and its OpenAPI document; version 2 is preferred."""
    await api.post(_V1, _autoscaler())
    rows = [(await api.get(path, headers=_TABLE)).body["rows"][0]["cells"] for path in (_V1, _V2)]
    assert rows[0][:6] == rows[1][:6] == ["w", "Deployment/web", "cpu: <unknown>/60%", "1", 4, 0]
    group = (await api.get("/apis/autoscaling")).body
    assert [version["version"] for version in group["versions"]] == ["v2", "v1"]
    document = (await api.get("/openapi/v3/apis/autoscaling/v1")).body
    assert "io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler" in document["components"]["schemas"]


async def test_writes_in_one_version_keep_what_it_lacks(api: Any) -> None:
    """A patch in version 1 must not lose a metric that only version 2 has a field for."""
    await api.post(_V1, _autoscaler())
    pods = {"metric": {"name": "hits"}, "target": {"type": "AverageValue", "averageValue": "10"}}
    add = [{"op": "add", "path": "/spec/metrics/-", "value": {"type": "Pods", "pods": pods}}]
    added = await api.ask("PATCH", f"{_V2}/w", add, content_type="application/json-patch+json")
    assert added.status == 200
    patch = {"spec": {"targetCPUUtilizationPercentage": 30}}
    patched = await api.ask("PATCH", f"{_V1}/w", patch, content_type="application/merge-patch+json")
    assert (patched.status, patched.body["spec"]["targetCPUUtilizationPercentage"]) == (200, 30)
    metrics = (await api.get(f"{_V2}/w")).body["spec"]["metrics"]
    assert metrics[0]["resource"]["target"]["averageUtilization"] == 30
    assert metrics[1]["pods"] == pods


async def test_apply_records_the_version_that_was_written(api: Any) -> None:
    """managedFields must carry the apiVersion of each apply, whatever version is stored."""
    applied = await api.ask(
        "PATCH", f"{_V1}/w?fieldManager=me", _autoscaler(), content_type="application/apply-patch+yaml"
    )
    assert applied.status == 201
    (entry,) = (await api.get(f"{_V2}/w")).body["metadata"]["managedFields"]
    assert (entry["manager"], entry["apiVersion"]) == ("me", "autoscaling/v1")
    assert "f:targetCPUUtilizationPercentage" in entry["fieldsV1"]["f:spec"]
    again = await api.ask(
        "PATCH", f"{_V1}/w?fieldManager=me", _autoscaler(), content_type="application/apply-patch+yaml"
    )
    assert again.body["metadata"]["resourceVersion"] == applied.body["metadata"]["resourceVersion"]


async def test_watches_show_the_version_watched(api: Any) -> None:
    """A watcher must get each event in the version that it asked for, and select by that version's fields."""
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "web", "namespace": "default"},
        "message": "hello",
    }
    url = f"{api.url}{_NEW_EVENTS}?watch=1&fieldSelector=regarding.name%3Dweb"
    async with asyncio.timeout(10), api.session.get(url, timeout=aiohttp.ClientTimeout(10)) as response:
        assert (await api.post(_EVENTS, event)).status == 201
        other = event | {"metadata": {"name": "f"}, "involvedObject": {"kind": "Pod", "namespace": "default"}}
        assert (await api.post(_EVENTS, other)).status == 201
        assert (await api.ask("DELETE", f"{_EVENTS}/e")).status == 200
        seen = [json.loads(await response.content.readline()) for _ in range(2)]
    assert [(one["type"], one["object"]["metadata"]["name"]) for one in seen] == [("ADDED", "e"), ("DELETED", "e")]
    for one in seen:
        assert one["object"]["apiVersion"] == "events.k8s.io/v1"
        assert (one["object"]["note"], one["object"]["regarding"]["name"]) == ("hello", "web")
    refused = await api.get(f"{_NEW_EVENTS}?fieldSelector=involvedObject.name%3Dweb")
    assert refused.status == 400
