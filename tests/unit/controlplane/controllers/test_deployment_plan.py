"""Tables for what is planned about a Deployment, and what its status says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controlplane.controllers.deployment import status as conditions
from controlplane.controllers.deployment.plan import DeploymentPlan, plan
from controlplane.controllers.deployment.replica_sets import disposable, view
from flotilla.api.conditions import get_condition
from flotilla.api.objects import KubeObject, annotations_of, format_time, name_of

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def _template(image: str) -> KubeObject:
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app", "image": image}]}}


def _deployment(*, image: str = "app:1", status: KubeObject | None = None, **spec: Any) -> KubeObject:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "uid": "d", "generation": 2},
        "spec": {
            "replicas": 4,
            "selector": {"matchLabels": {"app": "web"}},
            "template": _template(image),
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 10,
            **spec,
        },
        "status": status or {},
    }


def _set(name: str, image: str, replicas: int, *, available: int | None = None, **metadata: Any) -> KubeObject:
    present = replicas if available is None else available
    annotations = {"deployment.kubernetes.io/desired-replicas": "4", "deployment.kubernetes.io/revision": "1"}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": name, "namespace": "default", "uid": name, "creationTimestamp": name}
        | metadata
        | {"annotations": annotations | metadata.get("annotations", {})},
        "spec": {"replicas": replicas, "template": _template(image)},
        "status": {"replicas": replicas, "readyReplicas": present, "availableReplicas": present},
    }


def _plan(deployment: KubeObject, *sets: KubeObject, old_pods_run: bool = False) -> DeploymentPlan:
    return plan(deployment, sets, old_pods_run=old_pods_run, now=NOW)


def _sizes(planned: DeploymentPlan) -> dict[str, int]:
    return {change.name: change.replicas for change in planned.changes}


def _reason(planned: DeploymentPlan, type_: str = "Progressing") -> str:
    condition = get_condition({"status": planned.status}, type_)
    return str(condition["reason"]) if condition else ""


def test_a_new_deployment_gets_its_set() -> None:
    """Selector, labels and name carry the template's hash; the annotations say for what size it was made."""
    planned = _plan(_deployment())
    assert planned.create is not None
    label = planned.create["spec"]["selector"]["matchLabels"]["pod-template-hash"]
    assert name_of(planned.create) == f"web-{label}"
    assert planned.create["spec"]["template"]["metadata"]["labels"]["pod-template-hash"] == label
    assert planned.create["spec"]["replicas"] == 4
    assert annotations_of(planned.create)["deployment.kubernetes.io/max-replicas"] == "5"
    assert planned.annotations == {"deployment.kubernetes.io/revision": "1"}
    assert _reason(planned) == "NewReplicaSetCreated"
    assert _reason(planned, "Available") == "MinimumReplicasUnavailable"


def test_a_collision_changes_the_name() -> None:
    """Another collisionCount gives another hash."""
    first, second = _plan(_deployment()).create, _plan(_deployment(status={"collisionCount": 1})).create
    assert first is not None
    assert second is not None
    assert name_of(first) != name_of(second)


def test_a_rollout_starts_on_both_ends() -> None:
    """The new set gets the surge and the old one shrinks by what may be unavailable, in one plan."""
    planned = _plan(_deployment(image="app:2"), _set("1", "app:1", 4))
    assert planned.create is not None
    assert planned.create["spec"]["replicas"] == 1
    assert _sizes(planned) == {"1": 3}
    assert annotations_of(planned.create)["deployment.kubernetes.io/revision"] == "2"


def test_the_new_set_waits_for_old_pods_that_still_exist() -> None:
    """An old set that has not got rid of its pods yet takes up the room that they take."""
    old = _set("1", "app:1", 3) | {"status": {"replicas": 4, "availableReplicas": 4}}
    planned = _plan(_deployment(image="app:2"), old, _set("2", "app:2", 1, available=1))
    assert _sizes(planned).get("2", 1) == 1


@pytest.mark.parametrize(
    ("old_replicas", "old_pods_run", "sizes", "created"),
    [(4, True, {"1": 0}, False), (0, True, {}, False), (0, False, {}, True)],
)
def test_recreate_in_order(old_replicas: int, old_pods_run: bool, sizes: dict[str, int], created: bool) -> None:
    """First the old set shrinks to nothing, then its pods end, then the new set is made."""
    old = _set("1", "app:1", old_replicas)
    deployment = _deployment(image="app:2", strategy={"type": "Recreate"})
    planned = _plan(deployment, old, old_pods_run=old_pods_run)
    assert _sizes(planned) == sizes
    assert (planned.create is not None) is created


def test_a_paused_deployment_makes_no_set() -> None:
    """Paused: no set for a new template, sizes still follow."""
    planned = _plan(_deployment(image="app:2", paused=True, replicas=6), _set("1", "app:1", 4))
    assert planned.create is None
    assert _sizes(planned) == {"1": 6}
    assert _reason(planned) == "DeploymentPaused"


def test_a_deployment_that_is_going_is_left_alone() -> None:
    """Only the status of a Deployment under deletion is kept up."""
    deployment = _deployment(image="app:2")
    deployment["metadata"]["deletionTimestamp"] = format_time(NOW)
    planned = _plan(deployment, _set("1", "app:1", 4))
    assert (planned.create, planned.changes, planned.remove) == (None, (), ())


def test_a_rolled_back_template_becomes_the_newest_revision() -> None:
    """The old set is used again; its history keeps the revision that it had."""
    old = _set("1", "app:1", 4)
    newer = _set("2", "app:2", 0, annotations={"deployment.kubernetes.io/revision": "2"})
    planned = _plan(_deployment(image="app:1"), old, newer)
    (change,) = [change for change in planned.changes if change.name == "1"]
    assert change.annotations["deployment.kubernetes.io/revision"] == "3"
    assert change.annotations["deployment.kubernetes.io/revision-history"] == "1"
    assert planned.annotations == {"deployment.kubernetes.io/revision": "3"}


@pytest.mark.parametrize(
    ("extra", "same"),
    [
        ({"env": []}, True),
        ({"tty": False, "resources": {}}, True),
        ({"env": [{"name": "A", "value": ""}]}, False),
        ({"securityContext": {"runAsNonRoot": False}}, False),
    ],
)
def test_a_template_is_compared_by_what_it_says(extra: KubeObject, same: bool) -> None:
    """A typed client's update, which leaves empty fields out, starts no rollout; any other difference does."""
    deployment = _deployment()
    deployment["spec"]["template"]["spec"]["containers"][0] |= extra
    assert (_plan(deployment, _set("1", "app:1", 4)).create is None) is same


def _progressing(reason: str, *, age_s: float, status: str = "True") -> KubeObject:
    moment = format_time(NOW - timedelta(seconds=age_s))
    times = {"lastUpdateTime": moment, "lastTransitionTime": moment}
    return {"type": "Progressing", "status": status, "reason": reason, "message": "", **times}


@pytest.mark.parametrize(
    ("before", "counts", "available", "reason", "rechecks"),
    [
        (_progressing("NewReplicaSetCreated", age_s=5), {}, 2, "ReplicaSetUpdated", True),
        (_progressing("ReplicaSetUpdated", age_s=5), {"availableReplicas": 2}, 2, "ReplicaSetUpdated", True),
        (_progressing("ReplicaSetUpdated", age_s=5), {"availableReplicas": 2}, 4, "NewReplicaSetAvailable", False),
        (_progressing("ReplicaSetUpdated", age_s=601), {"availableReplicas": 2}, 2, "ProgressDeadlineExceeded", False),
        (
            _progressing("NewReplicaSetAvailable", age_s=9999),
            {"availableReplicas": 4},
            3,
            "NewReplicaSetAvailable",
            False,
        ),
        (_progressing("ProgressDeadlineExceeded", age_s=9999, status="False"), {}, 4, "NewReplicaSetAvailable", False),
        (
            _progressing("DeploymentPaused", age_s=9999, status="Unknown"),
            {"availableReplicas": 2},
            2,
            "DeploymentResumed",
            True,
        ),
    ],
)
def test_progress_is_judged_as_in_kubernetes(
    before: KubeObject, counts: dict[str, int], available: int, reason: str, rechecks: bool
) -> None:
    """Progress renews the deadline, completion ends it, too long a pause between steps breaks it."""
    old = {"replicas": 4, "updatedReplicas": 4, "readyReplicas": counts.get("availableReplicas", 0), **counts}
    deployment = _deployment(status=old | {"conditions": [before]})
    planned = _plan(deployment, _set("1", "app:1", 4, available=available))
    assert _reason(planned) == reason
    assert (planned.recheck_s is not None) is rechecks
    assert planned.recheck_s is None or planned.recheck_s >= 1.0


def test_without_a_deadline_there_is_no_progress_condition() -> None:
    """No deadline, or the largest number, means that progress isn't judged."""
    deployment = _deployment(status={"conditions": [_progressing("ReplicaSetUpdated", age_s=5)]})
    deployment["spec"]["progressDeadlineSeconds"] = 2**31 - 1
    assert _reason(_plan(deployment, _set("1", "app:1", 4))) == ""


def test_a_failure_of_the_set_is_shown() -> None:
    """ReplicaFailure of the newest set becomes the Deployment's, and goes with it."""
    failing = _set("1", "app:1", 4, available=0)
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}
    failing["status"]["conditions"] = [failure]
    planned = _plan(_deployment(), failing)
    assert _reason(planned, conditions.REPLICA_FAILURE) == "FailedCreate"
    again = _plan(_deployment(status=planned.status), _set("1", "app:1", 4))
    assert _reason(again, conditions.REPLICA_FAILURE) == ""


def test_a_settled_plan_changes_nothing() -> None:
    """Planning on the outcome of a plan is a no-op: level-triggered reconciles come to rest."""
    deployment = _deployment()
    first = _plan(deployment, _set("1", "app:1", 4))
    (change,) = first.changes
    settled = _set("1", "app:1", 4, annotations=dict(change.annotations))
    deployment = _deployment(status=first.status)
    deployment["metadata"]["annotations"] = dict(first.annotations)
    second = _plan(deployment, settled)
    assert second.changes == ()
    assert second.annotations == {}
    assert second.status == first.status


def test_only_empty_and_oldest_sets_are_disposed_of() -> None:
    """Of the sets beyond the limit those with pods, or about to have some, stay."""
    sets = [
        _set(str(number), "x", 0, annotations={"deployment.kubernetes.io/revision": str(number)}) for number in range(5)
    ]
    sets[0]["spec"]["replicas"] = 1
    assert [each.name for each in disposable([view(each) for each in sets], keep=2)] == ["1", "2"]
