"""The scale subresource and who owns the replicas."""

from __future__ import annotations

from typing import Any

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"


async def deployment(api: Any, *, manager: str = "ann") -> None:
    template = {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "main", "image": "busybox"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "d"}}, "template": template}
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}
    reply = await api.ask("PATCH", f"{DEPLOYMENTS}/d?fieldManager={manager}", body, content_type=APPLY)
    assert reply.status == 201


def scale(replicas: int) -> dict[str, Any]:
    return {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": replicas}}


async def owners(api: Any) -> dict[tuple[str, str, str], Any]:
    entries = (await api.get(f"{DEPLOYMENTS}/d")).body["metadata"]["managedFields"]
    return {
        (entry["manager"], entry["operation"], entry.get("subresource", "")): entry["fieldsV1"]["f:spec"].keys()
        for entry in entries
    }


async def test_who_scales_owns_the_replicas(api: Any) -> None:
    """A write of the scale takes them from the applier, who then conflicts with it by name."""
    await deployment(api)
    reply = await api.ask(
        "PATCH", f"{DEPLOYMENTS}/d/scale?fieldManager=hpa", {"spec": {"replicas": 4}}, content_type=MERGE
    )
    assert reply.body["metadata"]["managedFields"][0]["apiVersion"] == "autoscaling/v1"
    found = await owners(api)
    assert list(found[("hpa", "Update", "scale")]) == ["f:replicas"]
    assert "f:replicas" not in found[("ann", "Apply", "")]
    again = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 1}}
    conflict = await api.ask("PATCH", f"{DEPLOYMENTS}/d?fieldManager=ann", again, content_type=APPLY)
    assert conflict.status == 409
    assert conflict.message == (
        'Apply failed with 1 conflict: conflict with "hpa" with subresource "scale" using apps/v1: .spec.replicas'
    )


async def test_a_scale_is_applied(api: Any) -> None:
    """It conflicts with who owns the replicas, is forced, and then owns them under its own name."""
    await deployment(api)
    where = f"{DEPLOYMENTS}/d/scale?fieldManager=bob"
    assert (await api.ask("PATCH", where, scale(3), content_type=APPLY)).status == 409
    forced = await api.ask("PATCH", f"{where}&force=true", scale(3), content_type=APPLY)
    assert (forced.status, forced.body["spec"]) == (200, {"replicas": 3})
    assert list((await owners(api))[("bob", "Apply", "scale")]) == ["f:replicas"]
    stored = (await api.get(f"{DEPLOYMENTS}/d")).body
    assert (stored["spec"]["replicas"], stored["metadata"]["generation"]) == (3, 2)


async def test_a_scale_is_checked(api: Any) -> None:
    """Types, unknown fields, the name, the version and the uid that it is of."""
    await deployment(api)
    where = f"{DEPLOYMENTS}/d/scale"
    assert (await api.ask("PUT", where, scale(2) | {"spec": {"replicas": "two"}})).status == 400
    strict = await api.ask("PUT", f"{where}?fieldValidation=Strict", scale(2) | {"foo": 1})
    assert (strict.status, 'unknown field "foo"' in strict.message) == (400, True)
    assert (await api.ask("PUT", where, scale(2) | {"metadata": {"name": "other"}})).status == 400
    stale = scale(2) | {"metadata": {"name": "d", "resourceVersion": "1"}}
    assert (await api.ask("PUT", where, stale)).status == 409
    assert (await api.ask("PUT", where, scale(2) | {"metadata": {"name": "d", "uid": "x"}})).status == 409
    assert (await api.ask("PUT", where, scale(-1))).status == 422
    unknown = await api.ask("PATCH", where, {"spec": {"replicass": 1}}, content_type=MERGE)
    assert unknown.headers["Warning"] == '299 - "unknown field \\"spec.replicass\\""'
