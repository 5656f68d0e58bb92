"""Bad input and failing parts: each a precise Status, nothing stored, the server up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


def deployment(**spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "main", "image": "busybox"}]}}
    body = {"replicas": 1, "selector": {"matchLabels": {"app": "d"}}, "template": template} | spec
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": body}


async def refused(api: Any, path: str, body: Any, **more: Any) -> tuple[int, str]:
    """The code and message of a refusal, once it is sure that nothing was stored and the server goes on."""
    reply = await api.post(path, body, **more)
    assert reply.status >= 400, reply.body
    assert (reply.body["kind"], reply.body["status"], reply.body["code"]) == ("Status", "Failure", reply.status)
    assert (await api.get(path.partition("?")[0])).body["items"] == []
    return reply.status, reply.message


async def test_a_truncated_body_names_the_place(api: Any) -> None:
    """JSON that ends too early is 400 with the byte, line and column."""
    code, message = await refused(api, CONFIG_MAPS, b'{"metadata":\n{"name": "a"')
    assert code == 400
    assert "truncated at byte 25 (line 2, column 13)" in message


async def test_malformed_json_names_the_place(api: Any) -> None:
    """A wrong character is reported where it is."""
    code, message = await refused(api, CONFIG_MAPS, b'{"metadata": {"name": x}}')
    assert (code, "at byte 22 (line 1, column 23)" in message) == (400, True)


async def test_malformed_yaml_names_the_line(api: Any) -> None:
    """YAML that does not parse is 400 with the parser's place."""
    code, message = await refused(api, CONFIG_MAPS, b"metadata:\n  name: [a\n", content_type="application/yaml")
    assert code == 400
    assert "line 3" in message


async def test_yaml_is_read_with_the_types_of_json(api: Any) -> None:
    """What looks like a date in YAML stays a string."""
    body = b"metadata: {name: a}\ndata: {day: 2026-01-02}\n"
    reply = await api.post(CONFIG_MAPS, body, content_type="application/yaml")
    assert reply.body["data"] == {"day": "2026-01-02"}


async def test_much_yaml_does_not_hold_the_server(api: Any) -> None:
    """YAML of many small values takes seconds to read; everybody else is served meanwhile."""
    body = b"metadata: {name: a}\ndata: [" + b"1," * 90_000 + b"1]\n"
    for method, path, content_type in (
        ("POST", CONFIG_MAPS, "application/yaml"),
        ("PATCH", f"{CONFIG_MAPS}/a?fieldManager=m", "application/apply-patch+yaml"),
    ):
        reading = asyncio.create_task(api.ask(method, path, body, content_type=content_type))
        served = 0
        while not reading.done():
            await api.get("/version")
            served += 1
        assert (await reading).status == 400
        assert served > 20


async def test_an_empty_body_is_refused(api: Any) -> None:
    """A create without a body is 400."""
    assert (await api.post(CONFIG_MAPS, b"")).status == 400


async def test_a_body_that_is_no_object_is_refused(api: Any) -> None:
    """A JSON array or string is 400."""
    code, message = await refused(api, CONFIG_MAPS, [1])
    assert (code, message) == (400, "the body must be an object, not an array")


async def test_unknown_fields_by_validation_mode(api: Any) -> None:
    """Strict refuses them by name, Warn stores without them and says so, Ignore stores silently."""
    body = deployment(foo=1)
    code, message = await refused(api, f"{DEPLOYMENTS}?fieldValidation=Strict", body)
    assert code == 400
    assert message == (
        'Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: unknown field "spec.foo"'
    )
    warned = await api.post(f"{DEPLOYMENTS}?fieldValidation=Warn&dryRun=All", body)
    assert warned.headers.getall("Warning") == ['299 - "unknown field \\"spec.foo\\""']
    assert "foo" not in warned.body["spec"]
    ignored = await api.post(f"{DEPLOYMENTS}?fieldValidation=Ignore", body)
    assert "Warning" not in ignored.headers
    assert "foo" not in ignored.body["spec"]
    assert (await api.post(f"{DEPLOYMENTS}?fieldValidation=Maybe", body)).status == 422


async def test_duplicate_fields_are_refused_strictly(api: Any) -> None:
    """A field given twice is found at any depth."""
    body = b'{"metadata":{"name":"a"},"data":{"k":"1","k":"2"}}'
    code, message = await refused(api, f"{CONFIG_MAPS}?fieldValidation=Strict", body)
    assert (code, 'duplicate field "data.k"' in message) == (400, True)


async def test_a_wrong_type_names_the_field(api: Any) -> None:
    """A string where a number belongs is 400 with the field's path."""
    code, message = await refused(api, DEPLOYMENTS, deployment(replicas="three"))
    assert code == 400
    assert "spec.replicas" in message


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"apiVersion": "apps/v2", "kind": "Deployment"}, "the API version in the data (apps/v2) does not match"),
        ({"apiVersion": "apps/v1", "kind": "Pod"}, 'Pod in version "v1" cannot be handled as a Deployment'),
    ],
)
async def test_a_wrong_type_meta_is_refused(api: Any, body: dict[str, Any], expected: str) -> None:
    """An object of another version or kind is 400."""
    code, message = await refused(api, DEPLOYMENTS, deployment() | body)
    assert code == 400
    assert expected in message


async def test_invalid_values_are_named(api: Any) -> None:
    """A negative count is 422 with the field among the causes."""
    reply = await api.post(DEPLOYMENTS, deployment(replicas=-1))
    assert reply.status == 422
    assert reply.body["details"]["causes"][0]["field"] == "spec.replicas"
    assert reply.message.startswith('Deployment.apps "d" is invalid: spec.replicas: ')


async def test_a_name_with_capitals_is_refused(api: Any) -> None:
    """Names are DNS names."""
    code, message = await refused(api, CONFIG_MAPS, {"metadata": {"name": "Upper"}})
    assert (code, "metadata.name" in message) == (422, True)


async def test_a_name_is_required(api: Any) -> None:
    """An object without name and generateName is 422."""
    code, message = await refused(api, CONFIG_MAPS, {"metadata": {}})
    assert (code, "name or generateName is required" in message) == (422, True)


async def test_the_namespace_of_the_body_must_be_the_request_s(api: Any) -> None:
    """An object for another namespace is 400."""
    code, message = await refused(api, CONFIG_MAPS, {"metadata": {"name": "a", "namespace": "other"}})
    assert (code, "does not match the namespace sent on the request" in message) == (400, True)


async def test_a_resource_version_on_create_is_refused(api: Any) -> None:
    """Who creates can't know a version."""
    code, _ = await refused(api, CONFIG_MAPS, {"metadata": {"name": "a", "resourceVersion": "1"}})
    assert code == 400


async def test_objects_over_the_limit_are_413(api: Any) -> None:
    """2 MB fit the body limit and not the object limit; 4 MB fit neither."""
    for size in (2_000_000, 4_000_000):
        code, message = await refused(api, CONFIG_MAPS, {"metadata": {"name": "a"}, "data": {"k": "x" * size}})
        assert (code, "limit is" in message) == (413, True)


async def test_a_hundred_thousand_labels_are_refused(api: Any) -> None:
    """The number of labels is limited, and counting them does not take long."""
    labels = {f"l{n}": "v" for n in range(100_000)}
    reply = await api.post(CONFIG_MAPS, {"metadata": {"name": "a", "labels": labels}})
    assert reply.status in (413, 422)


async def test_protobuf_is_refused_so_that_clients_fall_back(api: Any) -> None:
    """A client that accepts nothing else is told 406; one that accepts JSON too gets JSON."""
    protobuf = "application/vnd.kubernetes.protobuf"
    assert (await api.get(CONFIG_MAPS, headers={"Accept": protobuf})).status == 406
    assert (await api.get(CONFIG_MAPS, headers={"Accept": f"{protobuf},application/json"})).status == 200


async def test_an_answer_that_can_not_be_given_is_refused_before_the_write(api: Any) -> None:
    """A write whose answer is wanted in a form that there is not, 406 or 400, stores and deletes nothing."""
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    body = {"metadata": {"name": "a"}}
    assert (await refused(api, CONFIG_MAPS, body, headers={"Accept": "text/html"}))[0] == 406
    assert (await refused(api, f"{CONFIG_MAPS}?includeObject=Some", body, headers={"Accept": table}))[0] == 400
    await api.post(CONFIG_MAPS, body)
    assert (await api.ask("DELETE", f"{CONFIG_MAPS}/a", headers={"Accept": "text/html"})).status == 406
    assert (await api.get(f"{CONFIG_MAPS}/a")).status == 200


async def test_unknown_paths_and_methods(api: Any) -> None:
    """A path that stands for nothing is 404, a method that a path does not have 405, both with a Status."""
    for path in ("/foo", "/api/v2/pods", "/api/v1/foos", "/apis/foo/v1/bars", f"{CONFIG_MAPS}/a/foo"):
        reply = await api.get(path)
        assert (reply.status, reply.message) == (404, "the server could not find the requested resource"), path
    of_all, of_one = "DELETE, GET, HEAD, POST", "DELETE, GET, HEAD, PATCH, PUT"
    for method, path, allowed in (
        ("POST", f"{CONFIG_MAPS}/a", of_one),
        ("PUT", CONFIG_MAPS, of_all),
        ("TRACE", CONFIG_MAPS, of_all),
        ("POST", "/api/v1/configmaps", "GET, HEAD"),
        ("PUT", "/api/v1/namespaces/default/pods/a/eviction", "POST"),
        ("POST", "/version", "GET, HEAD"),
    ):
        reply = await api.ask(method, path, b"{}")
        assert (reply.status, reply.body["reason"]) == (405, "MethodNotAllowed")
        assert reply.headers["Allow"] == allowed


async def test_bad_options_are_named(api: Any) -> None:
    """Selectors, numbers and tokens that can't be are 400, and 422 what makes no sense together."""
    for query, status in (
        ("labelSelector=a in", 400),
        ("fieldSelector=foo=bar", 400),
        ("limit=many", 400),
        ("resourceVersion=x", 400),
        ("resourceVersionMatch=Exact", 422),
        ("continue=!!!", 400),
        ("watch=1&timeoutSeconds=long", 400),
        ("watch=1&sendInitialEvents=true", 422),
    ):
        assert (await api.get(f"{CONFIG_MAPS}?{query}")).status == status, query


async def test_a_store_that_is_away_is_503_for_writes_and_consistent_reads(api: Any) -> None:
    """Clients are told to retry; what the cache has is still served to those who ask for any version."""
    await api.post(CONFIG_MAPS, {"metadata": {"name": "a"}})
    api.store.available = False
    write = await api.post(CONFIG_MAPS, {"metadata": {"name": "b"}})
    assert (write.status, write.body["reason"]) == (503, "ServiceUnavailable")
    assert int(write.headers["Retry-After"]) >= 1
    assert (await api.get(f"{CONFIG_MAPS}/a")).status == 503
    assert (await api.get(f"{CONFIG_MAPS}/a?resourceVersion=0")).status == 200
    assert len((await api.get(f"{CONFIG_MAPS}?resourceVersion=0")).body["items"]) == 1
    api.store.available = True
    assert (await api.post(CONFIG_MAPS, {"metadata": {"name": "b"}})).status == 201


async def test_a_full_store_is_named_with_its_remedy(api: Any) -> None:
    """Writes say that the store is out of space and what to do; reads work."""
    api.store.full = True
    reply = await api.post(CONFIG_MAPS, {"metadata": {"name": "a"}})
    assert reply.status == 507
    assert "out of space" in reply.message and "quota" in reply.message
    assert reply.body["details"]["causes"][0]["reason"] == "StoreOutOfSpace"
    assert (await api.get(CONFIG_MAPS)).status == 200


async def test_an_unexpected_failure_is_500_without_its_details(api: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The client learns nothing of the inside; the log does."""
    api.metrics.nodes = [{"metadata": None}]
    reply = await api.get("/apis/metrics.k8s.io/v1beta1/nodes")
    assert (reply.status, reply.body["reason"]) == (500, "InternalError")
    assert "NoneType" not in reply.message
    assert any(record.message == "request_failed" for record in caplog.records)


async def test_sent_warnings_of_fields_that_are_not_acted_upon(api: Any) -> None:
    """What the kind's rules warn of arrives as Warning headers."""
    body = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}], "foo": 1}}
    reply = await api.post(PODS, body)
    assert any("spec.foo" in warning for warning in reply.headers.getall("Warning"))


@pytest.mark.parametrize(
    ("method", "query", "kind", "reason", "message"),
    [
        (
            "POST",
            "dryRun=Some",
            "CreateOptions",
            "NotSupported",
            'dryRun: Unsupported value: ["Some"]: supported values',
        ),
        ("PUT", "fieldValidation=X", "UpdateOptions", "NotSupported", 'fieldValidation: Unsupported value: "X"'),
        ("PATCH", f"fieldManager={'a' * 129}", "PatchOptions", "TooLong", "fieldManager: Too long: may not be more"),
        ("PATCH", "force=true", "PatchOptions", "Forbidden", "force: Forbidden: may not be specified for non-apply"),
        ("DELETE", "propagationPolicy=X", "DeleteOptions", "NotSupported", 'propagationPolicy: Unsupported value: "X"'),
        ("DELETE", "dryRun=Some", "DeleteOptions", "NotSupported", 'dryRun: Unsupported value: ["Some"]'),
    ],
)
async def test_options_are_refused_by_their_kind(
    api: Any, method: str, query: str, kind: str, reason: str, message: str
) -> None:
    """Which options the request has depends on its verb, and the reason tells what is wrong with one."""
    path = "/api/v1/namespaces/default/configmaps" + ("" if method == "POST" else "/c")
    patch = "application/merge-patch+json" if method == "PATCH" else "application/json"
    reply = await api.ask(method, f"{path}?{query}", {"metadata": {"name": "c"}}, content_type=patch)
    assert reply.status == 422
    assert reply.message.startswith(f'{kind}.meta.k8s.io "" is invalid: {message}')
    assert [cause["reason"] for cause in reply.body["details"]["causes"]] == [f"FieldValue{reason}"]


async def test_an_update_names_its_object(api: Any) -> None:
    """An object without a name may be meant for another place than the one of the path."""
    unnamed: list[Any] = [{}, {"metadata": {}}, {"metadata": {"name": ""}}]
    for body in unnamed:
        reply = await api.ask("PUT", "/api/v1/namespaces/default/configmaps/c", body)
        assert reply.status == 400
        assert reply.message == "the name of the object (c based on URL) was undeterminable: name must be provided"
