"""pods/log, metrics.k8s.io and the questions a client may ask about itself."""

from __future__ import annotations

import asyncio
from typing import Any

from flotilla.api.errors import bad_request

PODS = "/api/v1/namespaces/default/pods"
METADATA = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
USAGE = "/apis/metrics.k8s.io/v1beta1"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
DEADLINE_S = 10.0


async def make_pod(api: Any, *containers: str) -> None:
    spec = {"nodeName": "n", "containers": [{"name": name, "image": "busybox"} for name in containers]}
    await api.post(PODS, {"metadata": {"name": "p"}, "spec": spec})


async def test_a_log_is_streamed_as_text(api: Any) -> None:
    """The source's bytes arrive as they are, and the options reach the source."""
    await make_pod(api, "main")
    api.logs.chunks = [b"one\n", b"two\n"]
    reply = await api.get(f"{PODS}/p/log?tailLines=2&timestamps=true&sinceSeconds=5")
    assert (reply.status, reply.body) == (200, "one\ntwo\n")
    options = {"timestamps": True, "sinceSeconds": 5, "tailLines": 2, "container": "main"}
    assert api.logs.asked == [("main", options)]


async def test_a_followed_log_arrives_before_it_ends(api: Any) -> None:
    """What is there is sent at once although more may come."""
    await make_pod(api, "main")
    api.logs.chunks, api.logs.endless = [b"now\n"], True
    async with asyncio.timeout(DEADLINE_S), api.session.get(f"{api.url}{PODS}/p/log?follow=true") as response:
        assert await response.content.readline() == b"now\n"


async def test_a_quiet_followed_log_begins(api: Any) -> None:
    """A stream without any line yet is answered, not kept waiting for its headers."""
    await make_pod(api, "main")
    api.logs.endless = True
    async with asyncio.timeout(DEADLINE_S), api.session.get(f"{api.url}{PODS}/p/log?follow=true") as response:
        assert response.status == 200


async def test_a_failing_source_is_a_status(api: Any) -> None:
    """What the node refuses before the first byte is the answer."""
    await make_pod(api, "main")
    api.logs.chunks = [bad_request("container is waiting to start")]
    reply = await api.get(f"{PODS}/p/log")
    assert (reply.status, reply.message) == (400, "container is waiting to start")


async def test_the_container_has_to_be_clear(api: Any) -> None:
    """With several containers one has to be named, and it has to be there."""
    await make_pod(api, "a", "b")
    unclear = await api.get(f"{PODS}/p/log")
    assert unclear.message == "a container name must be specified for pod p, choose one of: [a b]"
    assert (await api.get(f"{PODS}/p/log?container=c")).message == "container c is not valid for pod p"
    assert (await api.get(f"{PODS}/p/log?container=b")).status == 200
    assert (await api.get(f"{PODS}/q/log")).status == 404
    assert (await api.get(f"{PODS}/p/log?container=a&tailLines=-1")).status == 400
    assert (await api.get(f"{PODS}/p/log?container=a&sinceTime=noon")).status == 400


async def test_usage_of_pods_and_nodes(api: Any) -> None:
    """kubectl top reads lists, single objects and tables of what the source knows."""
    usage = {"cpu": "250m", "memory": "64Mi"}
    api.metrics.nodes = [{"metadata": {"name": "n"}, "window": "5s", "usage": usage}]
    api.metrics.pods = [
        {
            "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
            "containers": [{"usage": usage}] * 2,
        }
        for name in ("a", "b")
    ]
    nodes = (await api.get(f"{USAGE}/nodes")).body
    assert (nodes["kind"], nodes["items"][0]["usage"]) == ("NodeMetricsList", usage)
    pods = (await api.get(f"{USAGE}/namespaces/default/pods?labelSelector=app=b")).body
    assert [pod["metadata"]["name"] for pod in pods["items"]] == ["b"]
    assert (await api.get(f"{USAGE}/namespaces/default/pods/a")).body["metadata"]["name"] == "a"
    assert (await api.get(f"{USAGE}/namespaces/default/pods/c")).status == 404
    assert (await api.get(f"{USAGE}/namespaces/other/pods")).body["items"] == []
    table = (await api.get(f"{USAGE}/pods", headers={"Accept": TABLE})).body
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "cpu", "memory", "Window"]
    assert table["rows"][0]["cells"][:3] == ["a", "500m", "128Mi"]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    whole = (await api.get(f"{USAGE}/pods?includeObject=Object", headers={"Accept": TABLE})).body
    assert whole["rows"][0]["object"]["containers"][0]["usage"] == usage
    named = (await api.get(f"{USAGE}/pods?fieldSelector=metadata.name=b")).body
    assert [pod["metadata"]["name"] for pod in named["items"]] == ["b"]
    assert (await api.get(f"{USAGE}/pods?fieldSelector=spec.nodeName=n")).status == 400
    heads = (await api.get(f"{USAGE}/nodes", headers={"Accept": METADATA})).body
    assert (heads["kind"], list(heads["items"][0])) == (
        "PartialObjectMetadataList",
        ["kind", "apiVersion", "metadata"],
    )
    assert (await api.post(f"{USAGE}/nodes", {})).status == 405


async def test_who_am_i_and_what_may_i_do(api: Any) -> None:
    """SelfSubjectReview tells the user, SelfSubjectAccessReview the authorizer's answer."""
    who = await api.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", {"kind": "SelfSubjectReview"})
    assert who.body["status"]["userInfo"]["username"] == "system:admin"
    question = {"spec": {"resourceAttributes": {"verb": "create", "resource": "pods", "namespace": "default"}}}
    may = await api.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", question)
    assert (may.status, may.body["status"]["allowed"]) == (201, True)
    assert (await api.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {"spec": {}})).status == 422


async def test_what_may_i_and_others_do_at_all(api: Any) -> None:
    """SelfSubjectRulesReview lists the caller's rules, SubjectAccessReview answers for any user and groups."""
    reviews = "/apis/authorization.k8s.io/v1"
    listed = await api.post(f"{reviews}/selfsubjectrulesreviews", {"spec": {"namespace": "default"}})
    assert listed.status == 201
    assert {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]} in listed.body["status"]["resourceRules"]
    assert {"verbs": ["*"], "nonResourceURLs": ["*"]} in listed.body["status"]["nonResourceRules"]
    assert listed.body["status"]["incomplete"] is False
    assert (await api.post(f"{reviews}/selfsubjectrulesreviews", {"spec": {}})).status == 400

    async def may(verb: str, **subject: Any) -> tuple[int, Any]:
        spec = {"resourceAttributes": {"verb": verb, "resource": "pods"}} | subject
        answer = await api.post(f"{reviews}/subjectaccessreviews", {"spec": spec})
        return answer.status, answer.body.get("status")

    assert await may("list", user="prometheus", groups=["system:monitoring"]) == (201, {"allowed": True})
    refused = await may("delete", user="prometheus", groups=["system:monitoring"])
    assert refused == (201, {"allowed": False})
    assert (await may("list"))[0] == 422
    assert (await may("list", user="ann", groups="admins"))[0] == 400
