"""What the server says about itself: discovery, OpenAPI, version, health, metrics."""

from __future__ import annotations

from typing import Any

import pytest

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList,application/json"


async def test_legacy_discovery_names_every_resource(api: Any) -> None:
    """Groups, versions and resources with verbs, short names and subresources."""
    assert (await api.get("/api")).body["versions"] == ["v1"]
    groups = {group["name"]: group for group in (await api.get("/apis")).body["groups"]}
    assert groups["apps"]["preferredVersion"] == {"groupVersion": "apps/v1", "version": "v1"}
    core = {one["name"]: one for one in (await api.get("/api/v1")).body["resources"]}
    assert core["pods"]["shortNames"] == ["po"]
    assert core["pods"]["namespaced"] is True
    assert "watch" in core["pods"]["verbs"]
    assert core["pods/log"]["verbs"] == ["get"]
    apps = {one["name"]: one for one in (await api.get("/apis/apps/v1")).body["resources"]}
    assert {"group": "autoscaling", "version": "v1", "kind": "Scale"}.items() <= apps["deployments/scale"].items()
    assert (await api.get("/apis/apps")).body["kind"] == "APIGroup"
    assert (await api.get("/apis/nothing")).status == 404


@pytest.mark.parametrize("version", ["v2", "v2beta1"])
async def test_aggregated_discovery_is_one_document(api: Any, version: str) -> None:
    """The form that kubectl asks for first, with the content type that it checks."""
    reply = await api.get("/apis", headers={"Accept": AGGREGATED.format(version)})
    assert (
        reply.headers["Content-Type"] == f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
    )
    assert reply.body["apiVersion"] == f"apidiscovery.k8s.io/{version}"
    groups = {item["metadata"]["name"]: item for item in reply.body["items"]}
    resources = {one["resource"]: one for one in groups["apps"]["versions"][0]["resources"]}
    assert resources["deployments"]["responseKind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert {sub["subresource"] for sub in resources["deployments"]["subresources"]} == {"status", "scale"}
    core = await api.get("/api", headers={"Accept": AGGREGATED.format(version)})
    assert [item["versions"][0]["version"] for item in core.body["items"]] == ["v1"]


async def test_discovery_is_cached_by_etag(api: Any) -> None:
    """A client that has the document already is told 304."""
    first = await api.get("/apis", headers={"Accept": AGGREGATED.format("v2")})
    etag = {"Accept": AGGREGATED.format("v2"), "If-None-Match": first.headers["ETag"]}
    assert (await api.get("/apis", headers=etag)).status == 304


async def test_openapi_v3_names_documents_by_hash(api: Any) -> None:
    """The root links each group version; a document asked for by its hash may be kept forever."""
    paths = (await api.get("/openapi/v3")).body["paths"]
    assert {"api/v1", "apis/apps/v1"} <= paths.keys()
    reply = await api.get(paths["apis/apps/v1"]["serverRelativeURL"])
    assert reply.headers["Cache-Control"] == "public, immutable"
    assert (await api.get("/openapi/v3/apis/nothing/v1")).status == 404


async def test_openapi_v3_describes_kinds_as_kubectl_needs_it(api: Any) -> None:
    """PATCH knows fieldValidation, schemas carry merge keys and kinds, and every reference resolves."""
    document = (await api.get("/openapi/v3/apis/apps/v1")).body
    path = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]
    assert path["patch"]["x-kubernetes-group-version-kind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert "fieldValidation" in {parameter["name"] for parameter in path["patch"]["parameters"]}
    schemas = document["components"]["schemas"]
    assert schemas["io.k8s.api.apps.v1.Deployment"]["x-kubernetes-group-version-kind"][0]["kind"] == "Deployment"
    containers = schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert references(document) <= {f"#/components/schemas/{name}" for name in schemas}


async def test_openapi_v2_is_whole(api: Any) -> None:
    """All kinds in one document, every reference resolving."""
    document = (await api.get("/openapi/v2")).body
    assert document["swagger"] == "2.0"
    assert references(document) <= {f"#/definitions/{name}" for name in document["definitions"]}
    assert "/api/v1/namespaces/{namespace}/pods/{name}/log" in document["paths"]
    operation_ids = [
        operation["operationId"]
        for path in document["paths"].values()
        for method, operation in path.items()
        if method != "parameters"
    ]
    assert len(operation_ids) == len(set(operation_ids))
    assert (await api.get("/openapi/v2", headers={"Accept": "text/html"})).status == 406


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(references(child) for child in value.values()))
    if isinstance(value, list):
        return set().union(*(references(child) for child in value))
    return set()


async def test_version(api: Any) -> None:
    """The API level and the program's own version."""
    assert (await api.get("/version")).body["gitVersion"].startswith("v1.35.0+flotilla-")


async def test_health(api: Any) -> None:
    """Ready only with a store; alive without one too; verbose names the checks, and what is excluded is not asked."""
    for path in ("/livez", "/readyz", "/healthz"):
        assert ((await api.get(path)).status, (await api.get(path)).body) == (200, "ok")
    checks = ["[+]ping ok", "[+]etcd ok", "[+]informer-sync ok", "[+]shutdown ok", "readyz check passed"]
    assert (await api.get("/readyz?verbose")).body.splitlines() == checks
    assert (await api.get("/livez?verbose")).body == "[+]ping ok\nlivez check passed\n"
    assert (await api.get("/readyz/etcd")).body == "ok"
    assert (await api.get("/readyz/nothing")).status == 404
    excluded = (await api.get("/readyz?verbose&exclude=etcd&exclude=moon")).body
    assert "[+]etcd excluded: ok" in excluded
    assert 'warn: some health checks cannot be excluded: no matches for "moon"' in excluded
    assert (await api.get("/readyzzz")).status == 404


async def test_metrics_count_requests(api: Any) -> None:
    """Requests by verb and resource; paths that clients make up make no series."""
    await api.get("/api/v1/namespaces/default/pods")
    await api.get("/api/v1/namespaces/default/made-up-by-a-client")
    text = (await api.get("/metrics")).body
    labels = 'component="apiserver",dry_run="",group="",resource="pods",scope="namespace",subresource="",verb="LIST"'
    assert f'apiserver_request_total{{code="200",{labels},version="v1"}} 1.0' in text
    assert f'apiserver_request_duration_seconds_count{{{labels},version="v1"}} 1.0' in text
    assert 'apiserver_current_inflight_requests{request_kind="mutating"} 0.0' in text
    assert (
        'apiserver_flowcontrol_dispatched_requests_total{flow_schema="readOnly",priority_level="readOnly"} 2.0' in text
    )
    assert "made-up-by-a-client" not in text
    assert "flotilla_loop_lag_seconds_bucket" in text


async def test_the_root_lists_paths(api: Any) -> None:
    """Who looks at / finds the way."""
    assert "/apis" in (await api.get("/")).body["paths"]
