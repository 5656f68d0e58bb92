"""What controllers may write into a status, and what a gated pod may still become."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flotilla.api.errors import FieldError
from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource
from flotilla.api.resources import (
    DAEMON_SETS,
    DEPLOYMENTS,
    JOBS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    RESOURCE_QUOTAS,
    STATEFUL_SETS,
)

Sample = Callable[[Resource], KubeObject]
Edited = Callable[[KubeObject, str, Any], KubeObject]
Faults = Callable[..., list[FieldError]]
Written = Callable[..., KubeObject]
_START, _END = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"
_NODE_TERMS = "requiredDuringSchedulingIgnoredDuringExecution"


def _true(*conditions: str) -> list[KubeObject]:
    return [{"type": condition, "status": "True"} for condition in conditions]


def _status_faults(resource: Resource, obj: KubeObject, old: KubeObject) -> list[FieldError]:
    validate = resource.strategy.validate_subresource
    assert validate is not None
    return validate("status", obj, old)


COUNTS: list[tuple[Resource, KubeObject, str, str]] = [
    (REPLICA_SETS, {"replicas": -1}, "status.replicas", "must be greater than or equal to 0"),
    (
        REPLICA_SETS,
        {"replicas": 1, "readyReplicas": 2},
        "status.readyReplicas",
        "cannot be greater than status.replicas",
    ),
    (
        REPLICATION_CONTROLLERS,
        {"replicas": 2, "readyReplicas": 1, "availableReplicas": 2},
        "status.availableReplicas",
        "cannot be greater than readyReplicas",
    ),
    (DEPLOYMENTS, {"unavailableReplicas": -1}, "status.unavailableReplicas", "must be greater than or equal to 0"),
    (
        DEPLOYMENTS,
        {"replicas": 1, "updatedReplicas": 2},
        "status.updatedReplicas",
        "cannot be greater than status.replicas",
    ),
    (
        STATEFUL_SETS,
        {"replicas": 2, "readyReplicas": 1, "availableReplicas": 2},
        "status.availableReplicas",
        "cannot be greater than status.readyReplicas",
    ),
    (DAEMON_SETS, {"numberReady": -1}, "status.numberReady", "must be greater than or equal to 0"),
    (RESOURCE_QUOTAS, {"used": {"pods": "-1"}}, "status.used[pods]", "must be greater than or equal to 0"),
]


@pytest.mark.parametrize(("resource", "status", "field", "message"), COUNTS)
def test_counts(sample: Sample, resource: Resource, status: KubeObject, field: str, message: str) -> None:
    """Numbers that can't be must be refused, at their path."""
    old = sample(resource)
    error = _status_faults(resource, old | {"status": status}, old)[0]
    assert error.field == field
    assert message in error.message


def test_collisions_are_never_forgotten(sample: Sample) -> None:
    """The count of collisions names new ReplicaSets, so it must not fall."""
    old = sample(DEPLOYMENTS) | {"status": {"collisionCount": 2}}
    (error,) = _status_faults(DEPLOYMENTS, sample(DEPLOYMENTS) | {"status": {}}, old)
    assert str(error) == "status.collisionCount: Invalid value: 0: cannot be decremented"


JOB_STATUSES: list[tuple[KubeObject, str, str]] = [
    ({"ready": 1}, "status.ready", "cannot set more ready pods than active"),
    ({"completionTime": _END, "startTime": _START}, "status.completionTime", "there is no Complete=True condition"),
    (
        {"conditions": _true("Failed"), "startTime": _START},
        "status.conditions",
        "cannot set Failed=True condition without the FailureTarget=true condition",
    ),
    (
        {"conditions": _true("Failed", "FailureTarget")},
        "status.startTime",
        "startTime is required for finished job",
    ),
    (
        {"conditions": _true("Failed", "FailureTarget"), "startTime": _START, "active": 1},
        "status.active",
        "active>0 is invalid for finished job",
    ),
    (
        {"conditions": _true("Complete", "SuccessCriteriaMet"), "startTime": _END, "completionTime": _START},
        "status.completionTime",
        "must be equal to or after `startTime`",
    ),
    ({"completedIndexes": "0"}, "status.completedIndexes", "non-indexed completion mode"),
    ({"failedIndexes": "0"}, "status.failedIndexes", "backoffLimitPerIndex is null"),
]


@pytest.mark.parametrize(("status", "field", "message"), JOB_STATUSES)
def test_job_statuses(sample: Sample, status: KubeObject, field: str, message: str) -> None:
    """Conditions, counts and times of a Job must fit each other."""
    old = sample(JOBS)
    (error,) = _status_faults(JOBS, old | {"status": status}, old)
    assert error.field == field
    assert message in error.message


def test_a_job_ends_once(sample: Sample) -> None:
    """What a finished Job says must be accepted, and stay."""
    done = {"conditions": _true("Complete", "SuccessCriteriaMet"), "startTime": _START, "completionTime": _END}
    running = sample(JOBS) | {"status": {"startTime": _START, "succeeded": 1}}
    finished = sample(JOBS) | {"status": {**done, "succeeded": 1}}
    assert _status_faults(JOBS, finished, running) == []
    fields = [error.message for error in _status_faults(JOBS, running, finished)]
    assert fields == [
        "Invalid value: cannot disable the terminal Complete=True condition",
        "Invalid value: cannot disable the SuccessCriteriaMet=True condition",
    ]


@pytest.fixture
def gated(sample: Sample, edited: Edited, written: Written) -> KubeObject:
    """A pod that waits behind two gates, on nodes with disks."""
    pod = edited(sample(PODS), "spec.schedulingGates", [{"name": "a.example/x"}, {"name": "b.example/y"}])
    return written(PODS, edited(pod, "spec.nodeSelector", {"disk": "ssd"}))


def test_gates_are_only_taken_away(gated: KubeObject, edited: Edited, faults: Faults) -> None:
    """A gate may go, in any order, and none may come."""
    assert faults(PODS, edited(gated, "spec.schedulingGates", [{"name": "b.example/y"}]), gated) == []
    assert faults(PODS, edited(gated, "spec.schedulingGates", None), gated) == []
    (error,) = faults(PODS, edited(gated, "spec.schedulingGates", [{"name": "c.example/z"}]), gated)
    assert str(error) == (
        "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'c.example/z'"
    )


def test_a_gated_pod_may_be_directed(gated: KubeObject, edited: Edited, faults: Faults) -> None:
    """Until it is let through, a pod may be narrowed down to fewer nodes, never to others."""
    assert faults(PODS, edited(gated, "spec.nodeSelector.zone", "a"), gated) == []
    (error,) = faults(PODS, edited(gated, "spec.nodeSelector", {"disk": "hdd"}), gated)
    assert error.field == "spec.nodeSelector"
    term = {"matchExpressions": [{"key": "zone", "operator": "Exists"}]}
    affine = edited(gated, f"spec.affinity.nodeAffinity.{_NODE_TERMS}", {"nodeSelectorTerms": [term]})
    assert faults(PODS, affine, gated) == []
    narrowed = {"matchExpressions": [*term["matchExpressions"], {"key": "disk", "operator": "Exists"}]}
    path = f"spec.affinity.nodeAffinity.{_NODE_TERMS}.nodeSelectorTerms"
    assert faults(PODS, edited(affine, path, [narrowed]), affine) == []
    (error,) = faults(PODS, edited(affine, path, [{"matchExpressions": []}]), affine)
    assert "only additions are allowed" in error.message


def test_a_pod_without_gates_is_not_directed(sample: Sample, edited: Edited, faults: Faults, written: Written) -> None:
    """A pod that may be bound any moment must keep its node selector and affinity."""
    old = written(PODS, sample(PODS))
    (error,) = faults(PODS, edited(old, "spec.nodeSelector", {"zone": "a"}), old)
    assert "spec.nodeSelector" in error.message


def test_a_gated_pod_is_not_bound(gated: KubeObject, edited: Edited, faults: Faults) -> None:
    """Gates and a node exclude each other."""
    (error,) = faults(PODS, edited(gated, "spec.nodeName", "n1"))
    assert (error.field, error.message.startswith("Forbidden: cannot be set until all")) == ("spec.nodeName", True)
