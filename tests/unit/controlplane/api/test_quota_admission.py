"""Quotas over HTTP: what is refused in which words, what is charged, and what is not."""

from __future__ import annotations

import asyncio
from typing import Any

from flotilla.api.objects import KubeObject
from flotilla.api.resources import RESOURCE_QUOTAS

BASE = "/api/v1/namespaces/default"


async def limit(
    api: Any, name: str = "q", *, used: dict[str, str] | None = None, spec: Any = None, **hard: str
) -> None:
    """A quota whose status says what the controller would have written; in names ``__`` stands for a dot."""
    amounts = {each.replace("__", "."): amount for each, amount in hard.items()}
    body = {"metadata": {"name": name}, "spec": {"hard": amounts} | (spec or {})}
    assert (await api.post(f"{BASE}/resourcequotas", body)).status == 201
    none = dict.fromkeys(amounts, "0") if used is None else used

    def say(quota: KubeObject) -> KubeObject:
        quota["status"] = {"hard": amounts, "used": none}
        return quota

    await api.operations.mutate(RESOURCE_QUOTAS, "default", name, say, manager="test", subresource="status")
    await api.cache.barrier()


async def used(api: Any, name: str = "q") -> dict[str, str]:
    found: dict[str, str] = (await api.get(f"{BASE}/resourcequotas/{name}")).body["status"]["used"]
    return found


def pod(name: str, cpu: str = "", **spec: Any) -> KubeObject:
    resources = {"resources": {"requests": {"cpu": cpu}}} if cpu else {}
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "main", "image": "i"} | resources]} | spec}


async def test_a_pod_beyond_the_quota_is_refused(api: Any) -> None:
    """403 in Kubernetes' words; what fits is charged at once."""
    await limit(api, pods="2", requests__cpu="1")
    assert (await api.post(f"{BASE}/pods", pod("a", "300m"))).status == 201
    assert await used(api) == {"pods": "1", "requests.cpu": "300m"}
    reply = await api.post(f"{BASE}/pods", pod("b", "800m"))
    assert (reply.status, reply.body["reason"]) == (403, "Forbidden")
    assert reply.message == (
        'pods "b" is forbidden: exceeded quota: q, requested: requests.cpu=800m, used: requests.cpu=300m, '
        "limited: requests.cpu=1"
    )
    assert reply.body["details"] == {"name": "b", "kind": "pods"}
    reply = await api.post(f"{BASE}/pods", pod("b"))
    assert reply.message == 'pods "b" is forbidden: failed quota: q: must specify requests.cpu for: main'
    assert await used(api) == {"pods": "1", "requests.cpu": "300m"}


async def test_a_dry_run_is_held_to_the_quota_and_not_charged(api: Any) -> None:
    """It says what the real write would say."""
    await limit(api, pods="1")
    assert (await api.post(f"{BASE}/pods?dryRun=All", pod("a"))).status == 201
    assert await used(api) == {"pods": "0"}
    assert (await api.post(f"{BASE}/pods", pod("a"))).status == 201
    assert (await api.post(f"{BASE}/pods?dryRun=All", pod("b"))).status == 403


async def test_concurrent_creates_share_the_rest(api: Any) -> None:
    """Of fifty at once exactly as many are let through as fit, whatever their kind of quota."""
    await limit(api, pods="7", requests__cpu="100")
    replies = await asyncio.gather(*(api.post(f"{BASE}/pods", pod(f"p{number}", "1m")) for number in range(50)))
    assert sorted({reply.status for reply in replies}) == [201, 403]
    assert [reply.status for reply in replies].count(201) == 7
    assert len((await api.get(f"{BASE}/pods")).body["items"]) == 7
    assert await used(api) == {"pods": "7", "requests.cpu": "7m"}


async def test_all_quotas_of_a_namespace_count(api: Any) -> None:
    """One that has room does not help against one that has none, and scopes keep out what they don't select."""
    await limit(api, pods="10")
    await limit(api, "best", pods="0", spec={"scopes": ["BestEffort"]})
    reply = await api.post(f"{BASE}/pods", pod("a"))
    assert "exceeded quota: best, requested: pods=1, used: pods=0, limited: pods=0" in reply.message
    assert (await api.post(f"{BASE}/pods", pod("a", "1m"))).status == 201


async def test_services_and_claims_are_charged_when_they_grow(api: Any) -> None:
    """An update pays the difference; one that changes nothing of it is let through even if the quota is full."""
    await limit(api, services="1", services__nodeports="1", requests__storage="2Gi", persistentvolumeclaims="1")
    service = {"metadata": {"name": "s"}, "spec": {"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}]}}
    assert (await api.post(f"{BASE}/services", service)).status == 201
    merge = {"content_type": "application/merge-patch+json"}
    reply = await api.ask("PATCH", f"{BASE}/services/s", {"spec": {"type": "NodePort"}}, **merge)
    assert "requested: services.nodeports=2, used: services.nodeports=0, limited: services.nodeports=1" in reply.message
    assert (await api.ask("PATCH", f"{BASE}/services/s", {"metadata": {"labels": {"a": "b"}}}, **merge)).status == 200
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    path = f"{BASE}/persistentvolumeclaims"
    assert (await api.post(path, {"metadata": {"name": "c"}, "spec": claim})).status == 201
    expected = {"services": "1", "services.nodeports": "0", "requests.storage": "1Gi", "persistentvolumeclaims": "1"}
    assert await used(api) == expected


async def test_a_quota_that_was_not_counted_yet_refuses(api: Any) -> None:
    """What is used of it is not known, so nothing can be promised."""
    await limit(api, pods="2", used={})
    reply = await api.post(f"{BASE}/pods", pod("a"))
    assert reply.message == 'pods "a" is forbidden: status unknown for quota: q, resources: pods'


async def test_objects_of_any_kind_can_be_counted(api: Any) -> None:
    """By ``count/<resource>.<group>``; events never are."""
    body = {"metadata": {"name": "q"}, "spec": {"hard": {"count/leases.coordination.k8s.io": "1"}}}
    assert (await api.post(f"{BASE}/resourcequotas", body)).status == 201

    def say(quota: KubeObject) -> KubeObject:
        quota["status"] = {"hard": quota["spec"]["hard"], "used": dict.fromkeys(quota["spec"]["hard"], "0")}
        return quota

    await api.operations.mutate(RESOURCE_QUOTAS, "default", "q", say, manager="test", subresource="status")
    await api.cache.barrier()
    leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    assert (await api.post(leases, {"metadata": {"name": "a"}})).status == 201
    reply = await api.post(leases, {"metadata": {"name": "b"}})
    name = "count/leases.coordination.k8s.io"
    why = f"exceeded quota: q, requested: {name}=1, used: {name}=1, limited: {name}=1"
    assert reply.message == f'leases.coordination.k8s.io "b" is forbidden: {why}'
