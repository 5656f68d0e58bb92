"""LimitRanges give pods their defaults and hold pods and claims to their bounds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from controlplane.api.limits import ANNOTATION, claim_faults, complete_pod, pod_faults
from flotilla.api.objects import KubeObject

RANGES = "/api/v1/namespaces/default/limitranges"
PODS = "/api/v1/namespaces/default/pods"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
DEADLINE_S = 10.0


def _pod(*resources: KubeObject, init: KubeObject | None = None) -> KubeObject:
    containers = [{"name": f"c{number}", "image": "i", "resources": each} for number, each in enumerate(resources)]
    spec: KubeObject = {"containers": containers}
    if init is not None:
        spec["initContainers"] = [{"name": "init", "image": "i", "resources": init}]
    return {"metadata": {"name": "web"}, "spec": spec, "status": {}}


def test_defaults_fill_what_is_missing() -> None:
    """A container keeps what it asks for and gets the rest; an annotation tells what."""
    pod = _pod({"requests": {"cpu": "1"}}, {}, init={})
    item = {"type": "Container", "default": {"cpu": "2", "memory": "1Gi"}, "defaultRequest": {"cpu": "500m"}}
    complete_pod(pod, [item])
    first, second = pod["spec"]["containers"]
    assert first["resources"] == {"requests": {"cpu": "1"}, "limits": {"cpu": "2", "memory": "1Gi"}}
    assert second["resources"] == {"requests": {"cpu": "500m"}, "limits": {"cpu": "2", "memory": "1Gi"}}
    assert pod["metadata"]["annotations"][ANNOTATION] == (
        "LimitRanger plugin set: cpu, memory limit for container c0; cpu request for container c1; "
        "cpu, memory limit for container c1; cpu request for init container init; "
        "cpu, memory limit for init container init"
    )
    assert pod["status"]["qosClass"] == "Burstable"


def test_nothing_is_noted_where_nothing_is_missing() -> None:
    """A pod that asks for everything must stay as it is."""
    pod = _pod({"requests": {"cpu": "1"}, "limits": {"cpu": "1"}})
    complete_pod(pod, [{"type": "Container", "default": {"cpu": "2"}}, {"type": "Pod", "max": {"cpu": "4"}}])
    assert "annotations" not in pod["metadata"]
    assert pod["status"] == {}


CASES: list[tuple[KubeObject, KubeObject, list[str]]] = [
    (
        _pod({"requests": {"cpu": "50m"}, "limits": {"cpu": "1"}}),
        {"type": "Container", "min": {"cpu": "100m"}},
        ["minimum cpu usage per Container is 100m, but request is 50m"],
    ),
    (
        _pod({}),
        {"type": "Container", "min": {"cpu": "100m"}, "max": {"cpu": "1"}},
        [
            "minimum cpu usage per Container is 100m.  No request is specified",
            "maximum cpu usage per Container is 1.  No limit is specified",
        ],
    ),
    (
        _pod({"limits": {"memory": "2Gi"}}),
        {"type": "Container", "max": {"memory": "1Gi"}},
        ["maximum memory usage per Container is 1Gi, but limit is 2Gi"],
    ),
    (
        _pod({"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}}),
        {"type": "Container", "maxLimitRequestRatio": {"cpu": "4"}},
        ["cpu max limit to request ratio per Container is 4, but provided ratio is 10.000000"],
    ),
    (
        _pod({"limits": {"cpu": "1500m"}}, {"limits": {"cpu": "1"}}),
        {"type": "Pod", "max": {"cpu": "2"}},
        ["maximum cpu usage per Pod is 2, but limit is 2500m"],
    ),
    (
        _pod({"limits": {"cpu": "1"}}, init={"limits": {"cpu": "3"}}),
        {"type": "Pod", "max": {"cpu": "2"}},
        ["maximum cpu usage per Pod is 2, but limit is 3"],
    ),
    (_pod({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}), {"type": "Container", "max": {"cpu": "2"}}, []),
    (_pod({}), {"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}}, []),
]


@pytest.mark.parametrize(("pod", "item", "faults"), CASES)
def test_bounds_of_pods(pod: KubeObject, item: KubeObject, faults: list[str]) -> None:
    """What is too little, too much or not said must be refused in the words of Kubernetes."""
    assert pod_faults(pod, [item]) == faults


@pytest.mark.parametrize(
    ("size", "faults"),
    [
        ("1Gi", []),
        ("512Mi", ["minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 512Mi"]),
        ("3Gi", ["maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"]),
    ],
)
def test_bounds_of_claims(size: str, faults: list[str]) -> None:
    """A claim must ask for neither too little nor too much."""
    claim = {"spec": {"resources": {"requests": {"storage": size}}}}
    item = {"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}}
    assert claim_faults(claim, [item]) == faults


async def _limit(api: Any, name: str, item: KubeObject) -> None:
    """Make a LimitRange and wait until the cache shows it."""
    reply = await api.post(RANGES, {"metadata": {"name": name}, "spec": {"limits": [item]}})
    assert reply.status == 201, reply.body
    async with asyncio.timeout(DEADLINE_S):
        await api.cache.barrier()


async def test_new_pods_are_completed_and_held_to_the_bounds(api: Any) -> None:
    """The server must apply the ranges of the pod's namespace, and of no other one."""
    await _limit(api, "cpu", {"type": "Container", "max": {"cpu": "2"}, "default": {"cpu": "1"}})
    made = await api.post(PODS, {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    assert made.status == 201, made.body
    assert made.body["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}
    assert ANNOTATION in made.body["metadata"]["annotations"]
    large = {"name": "c", "image": "i", "resources": {"limits": {"cpu": "3"}}}
    refused = await api.post(PODS, {"metadata": {"name": "b"}, "spec": {"containers": [large]}})
    assert (refused.status, refused.body["reason"]) == (403, "Forbidden")
    assert refused.body["message"] == ('pods "b" is forbidden: maximum cpu usage per Container is 2, but limit is 3')
    await api.post("/api/v1/namespaces", {"metadata": {"name": "other"}})
    free = await api.post("/api/v1/namespaces/other/pods", {"metadata": {"name": "b"}, "spec": {"containers": [large]}})
    assert free.status == 201, free.body


async def test_pods_are_held_to_the_bounds_when_they_are_resized(api: Any) -> None:
    """A container must not grow, in place, beyond what a new one may have."""
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}}
    made = await api.post(PODS, {"metadata": {"name": "a"}, "spec": {"containers": [container]}})
    assert made.status == 201, made.body
    await _limit(api, "cpu", {"type": "Container", "max": {"cpu": "3"}})
    patch = {"content_type": "application/strategic-merge-patch+json"}
    for limit, status in (("4", 403), ("3", 200)):
        body = {"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": limit}}}]}}
        reply = await api.ask("PATCH", f"{PODS}/a/resize", body, **patch)
        assert reply.status == status, reply.body
        if status == 403:
            assert reply.message == 'pods "a" is forbidden: maximum cpu usage per Container is 3, but limit is 4'


async def test_claims_are_held_to_the_bounds(api: Any) -> None:
    """A claim must not be made larger than the range allows, nor grow so."""
    await _limit(api, "storage", {"type": "PersistentVolumeClaim", "max": {"storage": "2Gi"}})
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "3Gi"}}}
    refused = await api.post(CLAIMS, {"metadata": {"name": "a"}, "spec": spec})
    assert refused.status == 403
    assert refused.body["message"].endswith(
        "maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"
    )
