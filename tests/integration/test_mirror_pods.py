"""Pods of the API that stand for a node's static pods: what the server makes of what a node says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controlplane.pki import ensure_cluster_pki
from flotilla.api.errors import ApiError
from flotilla.api.objects import KubeObject, encode, uid_of
from flotilla.api.resources import EVENTS, NODES, PODS
from protos import dispatcher_pb2 as pb
from tests.integration.dispatcher_lab import (
    Agent,
    Server,
    add_pod,
    eventually,
    new_pod,
    open_session,
    pod_status,
    running_server,
)

MIRROR = "kubernetes.io/config.mirror"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with running_server(ensure_cluster_pki(tmp_path / "pki"), tmp_path) as running:
        yield running


def mirror(name: str, static_uid: str, *, node: str = "n1", namespace: str = "default") -> KubeObject:
    pod = new_pod(name, node)
    pod["metadata"] |= {"namespace": namespace, "annotations": {MIRROR: static_uid}}
    return pod


async def want(agent: Agent, *pods: KubeObject) -> None:
    await agent.send(static_pods=pb.StaticPods(pods_json=[encode(pod) for pod in pods]))


def find(server: Server, name: str) -> KubeObject | None:
    entry = server.cache.get(PODS, "default", name)
    return entry.obj if entry is not None else None


async def test_mirrors_are_made_and_belong_to_the_node(server: Server) -> None:
    """A mirror is a pod of the node, owned by it, assigned to it, and no other pod is touched."""
    await add_pod(server, "other", "n1")
    async with open_session(server, "n1") as agent:
        await want(agent, mirror("web-n1", "hash-1"))
        await agent.until(lambda agent: agent.pods() == {"other", "web-n1"})
    made = find(server, "web-n1")
    node = server.cache.get(NODES, "", "n1")
    assert made is not None and node is not None
    assert [owner["uid"] for owner in made["metadata"]["ownerReferences"]] == [node.uid]


async def test_mirrors_follow_what_the_node_wants(server: Server) -> None:
    """A changed static pod gets another mirror of the same name, one that is gone none; the unchanged stays."""
    async with open_session(server, "n1") as agent:
        await want(agent, mirror("web-n1", "hash-1"), mirror("db-n1", "hash-2"))
        await agent.until(lambda agent: agent.pods() == {"web-n1", "db-n1"})
        web, db = find(server, "web-n1"), find(server, "db-n1")
        assert web is not None and db is not None
        await want(agent, mirror("web-n1", "hash-3"), mirror("db-n1", "hash-2"))
        await eventually(lambda: uid_of(find(server, "web-n1") or web) != uid_of(web), server)
        assert find(server, "db-n1") == db
        await want(agent)
        await eventually(lambda: not (find(server, "web-n1") or find(server, "db-n1")), server)


async def test_a_deleted_mirror_is_let_go_and_made_again(server: Server) -> None:
    """The node gives up the deleted one at once; what it then asks for is a new pod."""
    async with open_session(server, "n1") as agent:
        await want(agent, mirror("web-n1", "hash-1"))
        await agent.until(lambda agent: agent.pods() == {"web-n1"})
        first = find(server, "web-n1")
        assert first is not None
        await server.objects.delete(PODS, "default", "web-n1", manager="test")
        await agent.send(pod_statuses=pb.PodStatusBatch(statuses=[pod_status(first, 1, "Running", terminated=True)]))
        await agent.until(lambda agent: not agent.pods())
        await want(agent, mirror("web-n1", "hash-1"))
        await agent.until(lambda agent: agent.pods() == {"web-n1"})
        assert uid_of(find(server, "web-n1") or first) != uid_of(first)


async def test_a_node_makes_mirrors_of_its_own_only(server: Server) -> None:
    """Neither pods of other nodes nor plain pods can be slipped in as mirrors."""
    async with open_session(server, "n1") as agent:
        await want(agent, mirror("alien", "hash-1", node="n2"), new_pod("plain", "n1"), mirror("web-n1", "hash-2"))
        await agent.until(lambda agent: agent.pods() == {"web-n1"})
    assert find(server, "alien") is None and find(server, "plain") is None


async def test_what_cannot_be_made_is_told_on_the_node(server: Server) -> None:
    """A namespace that is missing is an event about the Node, once however often the node asks."""
    async with open_session(server, "n1") as agent:
        for _ in range(2):
            await want(agent, mirror("web-n1", "hash-1", namespace="missing"), mirror("db-n1", "hash-2"))
            await agent.until(lambda agent: agent.pods() == {"db-n1"})
        await eventually(lambda: bool(list(server.cache.list(EVENTS))), server)
        (event,) = [entry.obj for entry in server.cache.list(EVENTS)]
    assert event["reason"] == "FailedMirrorPod"
    assert event["message"] == ('static pod missing/web-n1 can\'t be shown in the API: namespaces "missing" not found')


async def test_a_pod_can_neither_become_nor_cease_to_be_a_mirror(server: Server) -> None:
    """The annotation decides whether a node runs a pod, so it never changes."""
    plain = await add_pod(server, "plain", "n1")
    made = await server.objects.create(PODS, mirror("web-n1", "hash-1"), manager="test")
    changes: list[tuple[KubeObject, dict[str, str], str]] = [
        (plain, {MIRROR: "x"}, "may not add mirror pod annotation"),
        (made, {}, "may not remove or update mirror pod annotation"),
        (made, {MIRROR: "other"}, "may not remove or update mirror pod annotation"),
    ]
    for pod, marks, fault in changes:
        with pytest.raises(ApiError, match=fault):
            changed = {**pod, "metadata": {**pod["metadata"], "annotations": marks}}
            await server.objects.update(PODS, changed, manager="test")
    unbound = mirror("free", "hash-2", node="")
    with pytest.raises(ApiError, match=r"must set spec\.nodeName"):
        await server.objects.create(PODS, unbound, manager="test")
