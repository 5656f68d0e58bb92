"""Managers of one object through several versions of its kind: what each owns, and whom it conflicts with."""

from __future__ import annotations

from typing import Any

from flotilla.api.objects import KubeObject

HPA = "namespaces/default/horizontalpodautoscalers"
TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"


def scaler(version: str, **spec: Any) -> KubeObject:
    return {
        "apiVersion": f"autoscaling/{version}",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": {"scaleTargetRef": TARGET, "maxReplicas": 5} | spec,
    }


def cpu(percent: int) -> list[KubeObject]:
    target = {"type": "Utilization", "averageUtilization": percent}
    return [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]


async def apply(api: Any, manager: str, config: KubeObject, query: str = "") -> Any:
    path = f"/apis/{config['apiVersion']}/{HPA}/web?fieldManager={manager}{query}"
    return await api.ask("PATCH", path, config, content_type=APPLY)


async def shown(api: Any, version: str = "v2") -> KubeObject:
    body: KubeObject = (await api.get(f"/apis/autoscaling/{version}/{HPA}/web")).body
    return body


def owned(obj: KubeObject) -> dict[tuple[str, str, str], set[str]]:
    """The fields of the spec by manager, operation and version."""
    found = {}
    for entry in obj["metadata"]["managedFields"]:
        spec = entry["fieldsV1"].get("f:spec") or {}
        found[entry["manager"], entry["operation"], entry["apiVersion"].rpartition("/")[2]] = set(spec)
    return found


async def test_what_one_version_owns_conflicts_in_another(api: Any) -> None:
    """The field that the other manager has set is named as it set it; what is forced is lost there."""
    assert (await apply(api, "ann", scaler("v1", targetCPUUtilizationPercentage=50))).status == 201
    reply = await apply(api, "bob", scaler("v2", metrics=cpu(70)))
    assert reply.status == 409
    assert [cause["field"] for cause in reply.body["details"]["causes"]] == [".spec.targetCPUUtilizationPercentage"]
    assert (await apply(api, "bob", scaler("v2", metrics=cpu(70)), "&force=true")).status == 200
    live = await shown(api)
    assert live["spec"]["metrics"] == cpu(70)
    assert owned(live) == {
        ("ann", "Apply", "v1"): {"f:scaleTargetRef", "f:maxReplicas"},
        ("bob", "Apply", "v2"): {"f:scaleTargetRef", "f:maxReplicas", "f:metrics"},
    }
    assert (await shown(api, "v1"))["spec"]["targetCPUUtilizationPercentage"] == 70


async def test_a_manager_that_changes_the_version_keeps_one_record(api: Any) -> None:
    """What it sets again in the new version stays, what it does not goes, however it was called before."""
    first = scaler("v1", targetCPUUtilizationPercentage=50, minReplicas=2)
    assert (await apply(api, "ann", first)).status == 201
    reply = await apply(api, "ann", scaler("v2", metrics=cpu(50)))
    assert reply.status == 200, reply.body
    live = await shown(api)
    assert live["spec"]["metrics"] == cpu(50)
    assert live["spec"]["minReplicas"] == 1
    assert owned(live) == {("ann", "Apply", "v2"): {"f:scaleTargetRef", "f:maxReplicas", "f:metrics"}}
    reply = await apply(api, "ann", scaler("v1", targetCPUUtilizationPercentage=60))
    assert reply.status == 200, reply.body
    live = await shown(api)
    assert live["spec"]["metrics"] == cpu(60)
    assert owned(live) == {
        ("ann", "Apply", "v1"): {"f:scaleTargetRef", "f:maxReplicas", "f:targetCPUUtilizationPercentage"}
    }


async def test_what_others_own_in_other_versions_stays(api: Any) -> None:
    """A manager that gives something up must not take away what somebody else has set as well."""
    assert (await apply(api, "ann", scaler("v1", minReplicas=2, targetCPUUtilizationPercentage=50))).status == 201
    assert (await apply(api, "bob", scaler("v2", minReplicas=2, metrics=cpu(50)))).status == 200
    assert (await apply(api, "ann", scaler("v1"))).status == 200
    live = await shown(api)
    assert (live["spec"]["minReplicas"], live["spec"]["metrics"]) == (2, cpu(50))
    assert owned(live)["ann", "Apply", "v1"] == {"f:scaleTargetRef", "f:maxReplicas"}
    assert (await apply(api, "bob", scaler("v2"))).status == 200
    assert (await shown(api))["spec"]["minReplicas"] == 1


async def test_plain_writes_take_fields_over_between_versions(api: Any) -> None:
    """An update through one version takes from those who had set the field through another, and nothing else."""
    await apply(api, "ann", scaler("v1", targetCPUUtilizationPercentage=50, minReplicas=2))
    path = f"/apis/autoscaling/v2/{HPA}/web?fieldManager=edit"
    assert (await api.ask("PATCH", path, {"spec": {"metrics": cpu(90)}}, content_type=MERGE)).status == 200
    live = await shown(api)
    assert owned(live) == {
        ("ann", "Apply", "v1"): {"f:scaleTargetRef", "f:maxReplicas", "f:minReplicas"},
        ("edit", "Update", "v2"): {"f:metrics"},
    }
    path = path.replace("/v2/", "/v1/")
    body = {"spec": {"targetCPUUtilizationPercentage": 40}}
    assert (await api.ask("PATCH", path, body, content_type=MERGE)).status == 200
    assert owned(await shown(api)) == {
        ("ann", "Apply", "v1"): {"f:scaleTargetRef", "f:maxReplicas", "f:minReplicas"},
        ("edit", "Update", "v1"): {"f:targetCPUUtilizationPercentage"},
    }


async def test_managers_of_versions_that_are_gone_are_forgotten(api: Any) -> None:
    """Their paths mean nothing any more."""
    await apply(api, "ann", scaler("v2", metrics=cpu(50)))
    live = await shown(api)
    live["metadata"]["managedFields"][0]["apiVersion"] = "autoscaling/v2beta2"
    path = f"/apis/autoscaling/v2/{HPA}/web"
    assert (await api.ask("PUT", path, live)).status == 200
    assert (await apply(api, "bob", scaler("v2", metrics=cpu(60)))).status == 200
    assert {manager for manager, _, _ in owned(await shown(api))} == {"bob"}


EVENTS = "namespaces/default/events"
EVENT = {
    "metadata": {"name": "e"},
    "reason": "Tested",
    "action": "Test",
    "type": "Normal",
    "eventTime": "2026-01-02T03:04:05.000000Z",
    "reportingController": "example.com/tests",
    "reportingInstance": "t-1",
}


async def test_events_of_both_groups_are_one_record(api: Any) -> None:
    """What was set as ``note`` in one group is ``message`` in the other, and conflicts there."""
    new = {"apiVersion": "events.k8s.io/v1", "kind": "Event", "note": "one"} | EVENT
    path = f"/apis/events.k8s.io/v1/{EVENTS}/e?fieldManager=ann"
    assert (await api.ask("PATCH", path, new, content_type=APPLY)).status == 201
    old = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "message": "two"}
    path = f"/api/v1/{EVENTS}/e?fieldManager=bob"
    reply = await api.ask("PATCH", path, old, content_type=APPLY)
    assert (reply.status, [cause["field"] for cause in reply.body["details"]["causes"]]) == (409, [".note"])
    old["message"] = "one"
    reply = await api.ask("PATCH", path, old, content_type=APPLY)
    assert reply.status == 200, reply.body
    entries = {entry["manager"]: entry for entry in reply.body["metadata"]["managedFields"]}
    assert entries["bob"]["fieldsV1"] == {"f:message": {}}
    assert (entries["ann"]["apiVersion"], "f:note" in entries["ann"]["fieldsV1"]) == ("events.k8s.io/v1", True)


async def test_malformed_parts_are_refused_beside_other_versions(api: Any) -> None:
    """What can't be shown in the version that another manager used is an error of the client's."""
    await apply(api, "ann", scaler("v1", targetCPUUtilizationPercentage=50))
    malformed: list[list[Any]] = [[None], [{}], [{"type": "Resource", "resource": {"name": "cpu", "target": {}}}]]
    for metrics in malformed:
        reply = await apply(api, "bob", scaler("v2", metrics=metrics), "&force=true")
        assert 400 <= reply.status < 500, reply.body
