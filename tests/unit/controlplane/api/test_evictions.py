"""Evictions: deletes that a budget may refuse."""

from __future__ import annotations

import asyncio
from typing import Any

from flotilla.api.objects import KubeObject
from flotilla.api.resources import POD_DISRUPTION_BUDGETS, PODS

PATH = "/api/v1/namespaces/default/pods"


async def running_pod(api: Any, name: str, *, ready: bool = True, phase: str = "Running") -> None:
    """A pod on a node, in a state that only its node would report."""
    body = {
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"nodeName": "n", "containers": [{"name": "main", "image": "busybox"}]},
    }
    assert (await api.post(PATH, body)).status == 201
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    status = {"status": {"phase": phase, "conditions": [condition]}}
    reply = await api.ask("PATCH", f"{PATH}/{name}/status", status, content_type="application/merge-patch+json")
    assert reply.status == 200


async def budget(api: Any, name: str = "b", *, policy: str = "", selector: Any = None, **status: int) -> None:
    """A budget whose status says what the controller would have written."""
    spec: KubeObject = {"minAvailable": 1, "selector": selector or {"matchLabels": {"app": "web"}}}
    if policy:
        spec["unhealthyPodEvictionPolicy"] = policy
    where = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
    assert (await api.post(where, {"metadata": {"name": name}, "spec": spec})).status == 201
    await say(api, name, **({"observedGeneration": 1} | status))


async def say(api: Any, name: str, **status: int) -> None:
    def change(obj: KubeObject) -> KubeObject:
        obj["status"] = (obj.get("status") or {}) | status
        return obj

    await api.operations.mutate(POD_DISRUPTION_BUDGETS, "default", name, change, manager="test", subresource="status")


async def evict(api: Any, name: str, *, version: str = "policy/v1", query: str = "", **options: Any) -> Any:
    body: KubeObject = {"apiVersion": version, "kind": "Eviction", "metadata": {"name": name, "namespace": "default"}}
    if options:
        body["deleteOptions"] = options
    return await api.post(f"{PATH}/{name}/eviction{query}", body)


async def stored_budget(api: Any, name: str = "b") -> KubeObject:
    await api.cache.barrier()
    status: KubeObject = (await api.operations.get(POD_DISRUPTION_BUDGETS, "default", name))["status"]
    return status


async def test_a_pod_without_a_budget_goes(api: Any) -> None:
    """In both versions of the body; its conditions say why it goes."""
    for name, version in (("a", "policy/v1"), ("b", "policy/v1beta1")):
        await running_pod(api, name)
        reply = await evict(api, name, version=version)
        assert (reply.status, reply.body["status"]) == (201, "Success")
        gone = (await api.get(f"{PATH}/{name}")).body
        assert gone["metadata"]["deletionTimestamp"]
        reasons = {condition["type"]: condition.get("reason") for condition in gone["status"]["conditions"]}
        assert reasons["DisruptionTarget"] == "EvictionByEvictionAPI"
    assert (await evict(api, "missing")).status == 404


async def test_a_budget_without_disruptions_refuses(api: Any) -> None:
    """429 with the cause that drains look for, and nothing is changed."""
    await running_pod(api, "p")
    await budget(api, desiredHealthy=1, currentHealthy=1, disruptionsAllowed=0)
    reply = await evict(api, "p")
    assert (reply.status, reply.body["reason"]) == (429, "TooManyRequests")
    assert reply.message == "Cannot evict pod as it would violate the pod's disruption budget."
    assert reply.body["details"]["causes"] == [
        {
            "reason": "DisruptionBudget",
            "message": "The disruption budget b needs 1 healthy pods and has 1 currently",
        }
    ]
    assert "deletionTimestamp" not in (await api.get(f"{PATH}/p")).body["metadata"]


async def test_an_eviction_uses_a_disruption_up(api: Any) -> None:
    """The status counts one less and notes the pod; the next one is refused."""
    await running_pod(api, "p")
    await running_pod(api, "q")
    await budget(api, desiredHealthy=1, currentHealthy=2, disruptionsAllowed=1)
    assert (await evict(api, "p")).status == 201
    status = await stored_budget(api)
    assert status["disruptionsAllowed"] == 0
    assert status["disruptedPods"].keys() == {"p"}
    assert [(one["type"], one["status"]) for one in status["conditions"]] == [("DisruptionAllowed", "False")]
    assert (await evict(api, "q")).status == 429


async def test_evictions_at_once_never_share_a_disruption(api: Any) -> None:
    """Of eight at the same time exactly as many pods go as the budget allows."""
    names = [f"p{number}" for number in range(8)]
    for name in names:
        await running_pod(api, name)
    await budget(api, desiredHealthy=5, currentHealthy=8, disruptionsAllowed=3)
    replies = await asyncio.gather(*(evict(api, name) for name in names))
    assert sorted(reply.status for reply in replies) == [201] * 3 + [429] * 5
    assert len((await stored_budget(api))["disruptedPods"]) == 3


async def test_a_budget_that_is_not_up_to_date_asks_to_wait(api: Any) -> None:
    """429 with Retry-After while its controller has not seen its last change."""
    await running_pod(api, "p")
    await budget(api, disruptionsAllowed=5, observedGeneration=0)
    reply = await evict(api, "p")
    assert (reply.status, reply.headers["Retry-After"]) == (429, "10")
    assert "still being processed" in reply.body["details"]["causes"][0]["message"]


async def test_what_disturbs_nobody_needs_no_budget(api: Any) -> None:
    """Pods that are finished or never ran, and unready ones while enough are healthy."""
    await budget(api, desiredHealthy=1, currentHealthy=1, disruptionsAllowed=0)
    await running_pod(api, "done", phase="Succeeded")
    await running_pod(api, "new", phase="Pending")
    await running_pod(api, "sick", ready=False)
    for name in ("done", "new", "sick"):
        assert (await evict(api, name)).status == 201
    assert (await stored_budget(api)).get("disruptedPods") in (None, {})


async def test_unready_pods_go_always_where_the_budget_says_so(api: Any) -> None:
    """With too few healthy pods an unready one is guarded, unless the policy is AlwaysAllow."""
    await running_pod(api, "sick", ready=False)
    await budget(api, desiredHealthy=2, currentHealthy=1, disruptionsAllowed=0)
    assert (await evict(api, "sick")).status == 429
    await api.ask("DELETE", "/apis/policy/v1/namespaces/default/poddisruptionbudgets/b")
    await budget(api, "c", policy="AlwaysAllow", desiredHealthy=2, currentHealthy=1, disruptionsAllowed=0)
    assert (await evict(api, "sick")).status == 201


async def test_a_dry_run_evicts_nothing(api: Any) -> None:
    """Asked for in the query or in the body, it checks the budget and changes nothing; both must agree."""
    await running_pod(api, "p")
    await budget(api, desiredHealthy=1, currentHealthy=2, disruptionsAllowed=1)
    assert (await evict(api, "p", query="?dryRun=All")).status == 201
    assert (await evict(api, "p", dryRun=["All"])).status == 201
    assert (await stored_budget(api))["disruptionsAllowed"] == 1
    assert "deletionTimestamp" not in (await api.get(f"{PATH}/p")).body["metadata"]


async def test_preconditions_hold(api: Any) -> None:
    """A pod of another uid stays; the name must be that of the URL."""
    await running_pod(api, "p")
    assert (await evict(api, "p", preconditions={"uid": "other"})).status == 409
    wrong = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "q"}}
    assert (await api.post(f"{PATH}/p/eviction", wrong)).status == 400
    assert (await api.operations.get(PODS, "default", "p"))["metadata"].get("deletionTimestamp") is None


async def test_two_budgets_are_one_too_many(api: Any) -> None:
    """Kubernetes refuses what it can't decide, and so do we."""
    await running_pod(api, "p")
    await budget(api, "a", disruptionsAllowed=1)
    await budget(api, "b", disruptionsAllowed=1)
    reply = await evict(api, "p")
    assert (reply.status, "more than one PodDisruptionBudget" in reply.message) == (500, True)
