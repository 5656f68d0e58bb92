"""What a PodDisruptionBudget's status says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controlplane.controllers.disruption.plan import Demand, demand, needs_scale, plan_budget, plan_failure
from flotilla.api.objects import KubeObject, format_time

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def pod(name: str, *, ready: bool = True, deleting: bool = False) -> KubeObject:
    metadata: KubeObject = {"name": name, "namespace": "default"}
    if deleting:
        metadata["deletionTimestamp"] = format_time(NOW)
    return {"metadata": metadata, "status": {"conditions": [{"type": "Ready", "status": str(ready)}]}}


def budget(**disrupted: timedelta) -> KubeObject:
    """A budget with pods that were evicted these times ago."""
    status: KubeObject = {"conditions": [{"type": "Other", "status": "True"}]}
    if disrupted:
        status["disruptedPods"] = {name: format_time(NOW - ago) for name, ago in disrupted.items()}
    return {"metadata": {"name": "b", "namespace": "default", "generation": 3}, "spec": {}, "status": status}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"minAvailable": 2}, Demand(5, 2)),
        ({"minAvailable": "50%"}, Demand(7, 4)),
        ({"minAvailable": "100%"}, Demand(7, 7)),
        ({"maxUnavailable": 1}, Demand(7, 6)),
        ({"maxUnavailable": 9}, Demand(7, 0)),
        ({"maxUnavailable": "50%"}, Demand(7, 3)),
        ({}, Demand(0, 0)),
    ],
)
def test_the_demand(spec: KubeObject, expected: Demand) -> None:
    """A number counts the pods that there are, everything else those that are wanted; percentages round up."""
    assert demand(spec, pods=5, scale=7) == expected
    assert needs_scale(spec) == (expected.expected == 7)


@pytest.mark.parametrize(
    ("pods", "wanted", "healthy", "allowed"),
    [
        ([], Demand(0, 0), 0, 0),
        ([pod("a"), pod("b")], Demand(2, 1), 2, 1),
        ([pod("a"), pod("b", ready=False)], Demand(2, 1), 1, 0),
        ([pod("a"), pod("b", ready=False)], Demand(2, 2), 1, 0),
        ([pod("a"), pod("b", deleting=True)], Demand(2, 1), 1, 0),
        ([pod("a"), pod("b"), pod("c")], Demand(3, 0), 3, 3),
    ],
)
def test_disruptions_are_what_is_healthy_beyond_the_demand(
    pods: list[KubeObject], wanted: Demand, healthy: int, allowed: int
) -> None:
    """Pods that are not ready or are being deleted don't count; below the demand nothing is allowed."""
    status = plan_budget(budget(), pods, wanted, now=NOW).budget["status"]
    assert (status["currentHealthy"], status["disruptionsAllowed"]) == (healthy, allowed)
    assert (status["expectedPods"], status["desiredHealthy"]) == (wanted.expected, wanted.desired)
    assert status["observedGeneration"] == 3
    condition = status["conditions"][1]
    assert condition["status"] == ("True" if allowed else "False")
    assert condition["reason"] == ("SufficientPods" if allowed else "InsufficientPods")


def test_an_evicted_pod_is_lost_until_it_is_overdue() -> None:
    """It counts as gone for two minutes; then it is forgotten, reported and counted again."""
    pods = [pod("fresh"), pod("old"), pod("other")]
    before = budget(fresh=timedelta(seconds=30), old=timedelta(minutes=3), gone=timedelta(seconds=1))
    plan = plan_budget(before, pods, Demand(3, 1), now=NOW)
    assert plan.budget["status"]["disruptedPods"].keys() == {"fresh"}
    assert plan.overdue == ("old",)
    assert plan.budget["status"]["currentHealthy"] == 2
    assert plan.recheck == NOW + timedelta(seconds=90)
    assert before["status"]["disruptedPods"].keys() == {"fresh", "old", "gone"}


def test_a_deletion_that_has_begun_is_confirmed() -> None:
    """The pod leaves the map, and the map leaves the status with the last one."""
    plan = plan_budget(budget(a=timedelta(seconds=1)), [pod("a", deleting=True)], Demand(1, 0), now=NOW)
    assert "disruptedPods" not in plan.budget["status"]
    assert plan.recheck is None


def test_without_knowledge_nothing_is_allowed() -> None:
    """A failure closes the budget and says why; the counts stay."""
    before: Any = plan_budget(budget(), [pod("a"), pod("b")], Demand(2, 1), now=NOW).budget
    failed = plan_failure(before, "found no controllers", now=NOW)
    assert failed["status"]["disruptionsAllowed"] == 0
    assert failed["status"]["currentHealthy"] == 2
    condition = failed["status"]["conditions"][1]
    assert (condition["status"], condition["reason"], condition["message"]) == (
        "False",
        "SyncFailed",
        "found no controllers",
    )
    assert before["status"]["disruptionsAllowed"] == 1
