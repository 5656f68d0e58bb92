"""Whether a pod that is to grow still fits."""

from __future__ import annotations

from flotilla.api.objects import KubeObject
from nodeagent.room import resize_problem

NODE = {"cpu": 2000, "memory": 1 << 30}


def pod(uid: str, cpu: str, memory: str = "0") -> KubeObject:
    container = {"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}}
    return {"metadata": {"uid": uid, "name": uid}, "spec": {"containers": [container]}}


def test_what_fits() -> None:
    """A pod's own former share does not count against it."""
    assert resize_problem(pod("a", "1500m"), [pod("a", "1"), pod("b", "500m")], NODE) is None


def test_what_has_to_wait_and_what_never_fits() -> None:
    """Beside others it waits for them to go; beyond the node it never fits."""
    deferred = resize_problem(pod("a", "1600m"), [pod("b", "500m")], NODE)
    assert deferred is not None
    assert (deferred.reason, deferred.message) == (
        "Deferred",
        "Node has 1500m of CPU left, the pod requests 1600m of CPU",
    )
    infeasible = resize_problem(pod("a", "1", "2Gi"), [], NODE)
    assert infeasible is not None
    assert infeasible.reason == "Infeasible"
