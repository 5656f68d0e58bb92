"""What a write's body and options may say, over HTTP: field validation, apply, and deletes of collections."""

from __future__ import annotations

import json
from typing import Any

import pytest

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
JSON_PATCH = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


async def config_map(api: Any, name: str, **metadata: Any) -> Any:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name} | metadata, "data": {"k": "v"}}
    reply = await api.post(CONFIG_MAPS, body)
    assert reply.status == 201, reply.body
    return reply.body


@pytest.mark.parametrize(
    ("content_type", "unknown", "twice"),
    [
        (MERGE, b'{"dataa":{"x":"y"}}', b'{"data":{"x":"1","x":"2"}}'),
        (STRATEGIC, b'{"dataa":{"x":"y"}}', b'{"data":{"x":"1","x":"2"}}'),
        (
            JSON_PATCH,
            b'[{"op":"add","path":"/dataa","value":{"x":"y"}}]',
            b'[{"op":"add","path":"/data/x","value":"1","value":"2"}]',
        ),
    ],
)
async def test_patches_are_validated(api: Any, content_type: str, unknown: bytes, twice: bytes) -> None:
    """Unknown and duplicate fields of a patch are refused, reported or dropped, as its query says."""
    await config_map(api, "a")
    where = f"{CONFIG_MAPS}/a?fieldValidation="
    for body, text in ((unknown, 'unknown field "dataa"'), (twice, "duplicate field ")):
        strict = await api.ask("PATCH", f"{where}Strict", body, content_type=content_type)
        assert (strict.status, text in strict.message) == (400, True), strict.body
        warned = await api.ask("PATCH", f"{where}Warn", body, content_type=content_type)
        assert (warned.status, text.replace('"', '\\"') in warned.headers["Warning"]) == (200, True)
        ignored = await api.ask("PATCH", f"{where}Ignore", body, content_type=content_type)
        assert (ignored.status, "Warning" in ignored.headers) == (200, False)


async def test_an_applied_configuration_is_validated(api: Any) -> None:
    """Unknown fields can't be owned and are always refused; what YAML gives twice is refused if that is asked for."""
    unknown = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndataa: {x: y}\n"
    where = f"{CONFIG_MAPS}/a?fieldManager=me"
    refused = await api.ask("PATCH", f"{where}&fieldValidation=Ignore", unknown, content_type=APPLY)
    assert refused.status == 400
    assert refused.message == (
        "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .dataa: field not declared in schema"
    )
    twice = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: a, x: b}\n"
    strict = await api.ask("PATCH", f"{where}&fieldValidation=Strict", twice, content_type=APPLY)
    assert (strict.status, 'line 4: key "x" already set in map' in strict.message) == (400, True)
    applied = await api.ask("PATCH", where, twice, content_type=APPLY)
    assert (applied.status, applied.body["data"]) == (201, {"x": "b"})
    nameless = await api.ask("PATCH", f"{CONFIG_MAPS}/a", twice, content_type=APPLY)
    assert nameless.message == (
        'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
    )


async def test_an_apply_may_name_the_object_it_means(api: Any) -> None:
    """A resourceVersion or a uid in the configuration is a precondition."""
    made = await config_map(api, "a")
    where = f"{CONFIG_MAPS}/a?fieldManager=me&force=true"

    async def apply(**metadata: str) -> Any:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"} | metadata, "data": {"k": "w"}}
        return await api.ask("PATCH", where, body, content_type=APPLY)

    assert (await apply(resourceVersion="1")).status == 409
    assert (await apply(uid="other")).status == 409
    applied = await apply(resourceVersion=made["metadata"]["resourceVersion"], uid=made["metadata"]["uid"])
    assert (applied.status, applied.body["data"]) == (200, {"k": "w"})
    await api.ask("DELETE", f"{CONFIG_MAPS}/a")
    gone = await apply(uid=made["metadata"]["uid"])
    assert (gone.status, "uid mismatch" in gone.message) == (409, True)


async def test_applies_through_subresources_own_what_these_set(api: Any) -> None:
    """A status, a resize, a debug container: each is owned under its subresource, and nothing beside it."""
    body = {
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "main", "image": "busybox", "resources": {"requests": {"cpu": "1"}}}]},
    }
    await api.post(PODS, body)
    head = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"not": "owned"}}}
    sized = {"name": "main", "image": "ignored", "resources": {"requests": {"cpu": "2"}}}
    for subresource, part, owned in (
        (
            "status",
            {"status": {"reason": "why"}},
            {"f:metadata": {"f:labels": {"f:not": {}}}, "f:status": {"f:reason": {}}},
        ),
        (
            "resize",
            {"spec": {"containers": [sized]}},
            {
                "f:spec": {
                    "f:containers": {
                        'k:{"name":"main"}': {".": {}, "f:name": {}, "f:resources": {"f:requests": {"f:cpu": {}}}}
                    }
                }
            },
        ),
        (
            "ephemeralcontainers",
            {"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox"}]}},
            {"f:spec": {"f:ephemeralContainers": {'k:{"name":"debug"}': {".": {}, "f:image": {}, "f:name": {}}}}},
        ),
    ):
        where = f"{PODS}/p/{subresource}?fieldManager=me&force=true"
        reply = await api.ask("PATCH", where, head | part, content_type=APPLY)
        assert reply.status == 200, reply.body
        entries = reply.body["metadata"]["managedFields"]
        (entry,) = [one for one in entries if one.get("subresource") == subresource]
        assert (entry["operation"], entry["fieldsV1"]) == ("Apply", owned)
    stored = (await api.get(f"{PODS}/p")).body
    assert stored["spec"]["containers"][0]["image"] == "busybox"
    assert stored["spec"]["containers"][0]["resources"] == {"requests": {"cpu": "2"}}


async def test_the_record_is_handed_over_by_json_patch(api: Any) -> None:
    """kubectl makes what it had applied from the client its own, at the version that it has read."""
    made = await config_map(api, "a")
    entry = made["metadata"]["managedFields"][0] | {"manager": "kubectl", "operation": "Apply"}
    patch = [
        {"op": "replace", "path": "/metadata/managedFields", "value": [entry]},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": made["metadata"]["resourceVersion"]},
    ]
    handed = await api.ask("PATCH", f"{CONFIG_MAPS}/a", patch, content_type=JSON_PATCH)
    assert handed.body["metadata"]["managedFields"] == [entry]
    late = await api.ask("PATCH", f"{CONFIG_MAPS}/a", patch, content_type=JSON_PATCH)
    assert late.status == 409
    reset = await api.ask("PATCH", f"{CONFIG_MAPS}/a", {"metadata": {"managedFields": [{}]}}, content_type=MERGE)
    assert "managedFields" not in reset.body["metadata"]


async def test_a_collection_is_deleted_by_selectors_and_options(api: Any) -> None:
    """Fields and labels select; a dry run deletes nothing; options come in the body or the query."""
    for name in ("a", "b", "c"):
        await config_map(api, name, finalizers=["example.com/wait"] if name == "c" else [])
    dry = await api.ask("DELETE", f"{CONFIG_MAPS}?dryRun=All")
    assert sorted(item["metadata"]["name"] for item in dry.body["items"]) == ["a", "b", "c"]
    assert len((await api.get(CONFIG_MAPS)).body["items"]) == 3
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Orphan"}
    one = await api.ask("DELETE", f"{CONFIG_MAPS}?fieldSelector=metadata.name=a", options)
    assert one.body["items"][0]["metadata"]["finalizers"] == ["orphan"]
    rest = await api.ask("DELETE", f"{CONFIG_MAPS}?fieldSelector=metadata.name!=a")
    assert (rest.body["kind"], len(rest.body["items"])) == ("ConfigMapList", 2)
    left = {item["metadata"]["name"]: item["metadata"] for item in (await api.get(CONFIG_MAPS)).body["items"]}
    assert left.keys() == {"a", "c"}
    assert all(metadata["deletionTimestamp"] for metadata in left.values())
    assert (await api.ask("DELETE", "/api/v1/configmaps")).status == 405


async def test_dependents_of_jobs_stay_by_default(api: Any) -> None:
    """batch/v1 orphans where a delete does not say otherwise, and an earlier decision stands."""
    jobs = "/apis/batch/v1/namespaces/default/jobs"
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]}}
    for name in ("a", "b"):
        assert (await api.post(jobs, {"metadata": {"name": name}, "spec": {"template": template}})).status == 201
    assert (await api.ask("DELETE", f"{jobs}/a")).body["metadata"]["finalizers"] == ["orphan"]
    foreground = await api.ask("DELETE", f"{jobs}/b?propagationPolicy=Foreground")
    assert foreground.body["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert (await api.ask("DELETE", f"{jobs}/b")).body["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert (await api.ask("DELETE", f"{jobs}/b?propagationPolicy=Background")).status == 200
    assert (await api.get(f"{jobs}/b")).status == 404


async def test_sizes_are_bounded(api: Any) -> None:
    """Annotations up to 256 KiB in all, names and finalizers by their syntax."""
    body: dict[str, Any] = {"metadata": {"name": "a", "annotations": {"k": "v" * 2**18}}}
    refused = await api.post(CONFIG_MAPS, body)
    assert (refused.status, "metadata.annotations: Too long" in refused.message) == (422, True)
    body["metadata"]["annotations"]["k"] = "v" * (2**18 - 1)
    assert (await api.post(CONFIG_MAPS, body)).status == 201
    for metadata in ({"name": "A"}, {"name": "b", "finalizers": ["no slash"]}, {"name": "b", "labels": {"k": "-"}}):
        assert (await api.post(CONFIG_MAPS, json.loads(json.dumps({"metadata": metadata})))).status == 422
