"""A Deployment's status: counts and the conditions Available, Progressing and ReplicaFailure.

Source: Kubernetes' ``deployment/progress.go`` and ``deployment/sync.go``; ``kubectl rollout status`` decides on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from controlplane.controllers.deployment.replica_sets import SetView
from controlplane.controllers.deployment.rolling import Limits
from flotilla.api.conditions import get_condition, set_condition
from flotilla.api.objects import KubeObject, format_time, name_of, parse_time

AVAILABLE = "Available"
PROGRESSING = "Progressing"
REPLICA_FAILURE = "ReplicaFailure"
NEW_SET_CREATED = "NewReplicaSetCreated"
FOUND_NEW_SET = "FoundNewReplicaSet"
SET_UPDATED = "ReplicaSetUpdated"
NEW_SET_AVAILABLE = "NewReplicaSetAvailable"
TIMED_OUT = "ProgressDeadlineExceeded"
PAUSED = "DeploymentPaused"
RESUMED = "DeploymentResumed"
_NO_DEADLINE = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Sets:
    """The sets as they were seen; ``created`` names the one of the present template if it is being made just now."""

    new: SetView | None
    olds: tuple[SetView, ...]
    created: str = ""

    @property
    def all(self) -> tuple[SetView, ...]:
        return self.olds if self.new is None else (*self.olds, self.new)


def deadline_s(deployment: KubeObject) -> int | None:
    """Seconds within which a rollout must progress, None if it may take forever."""
    deadline: int | None = deployment["spec"].get("progressDeadlineSeconds")
    return None if deadline is None or deadline == _NO_DEADLINE else deadline


def _counts(deployment: KubeObject, sets: Sets, desired_total: int) -> KubeObject:
    available = sum(each.available for each in sets.all)
    counts = {
        "observedGeneration": deployment["metadata"].get("generation", 0),
        "replicas": sum(each.status_replicas for each in sets.all),
        "updatedReplicas": sets.new.status_replicas if sets.new else 0,
        "readyReplicas": sum(each.ready for each in sets.all),
        "availableReplicas": available,
        "unavailableReplicas": max(0, desired_total - available),
        "collisionCount": (deployment.get("status") or {}).get("collisionCount") or 0,
    }
    return {key: value for key, value in counts.items() if value or key == "observedGeneration"}


def status(
    deployment: KubeObject, sets: Sets, *, limits: Limits, desired_total: int, rolling: bool, now: datetime
) -> KubeObject:
    """The status to be written.

    ``desired_total`` is the sum of the sets' desired replicas after this plan. ``rolling`` is False while the
    Deployment is paused or being scaled, when progress is not judged.
    """
    new = _counts(deployment, sets, desired_total)
    old = deployment.get("status") or {}
    conditions = [dict(condition) for condition in old.get("conditions") or ()]
    _judge_availability(conditions, new, limits, now)
    if deadline_s(deployment) is None:
        conditions = [condition for condition in conditions if condition["type"] != PROGRESSING]
    else:
        _note_pause(conditions, paused=bool(deployment["spec"].get("paused")), now=now)
        if rolling:
            _note_new_set(conditions, sets, now)
            _judge_progress(conditions, deployment, new, sets, now)
    if rolling:
        conditions = _with_replica_failure(conditions, sets)
    return new | {"conditions": conditions}


def complete(deployment: KubeObject, status: Mapping[str, Any]) -> bool:
    """Whether all replicas are of the present template and available, and no old one is left."""
    desired = deployment["spec"].get("replicas", 1)
    counts = ("updatedReplicas", "replicas", "availableReplicas")
    observed: int = status["observedGeneration"]
    return all(status.get(count, 0) == desired for count in counts) and (
        observed >= deployment["metadata"].get("generation", 0)
    )


def recheck_s(deployment: KubeObject, status: KubeObject, *, now: datetime) -> float | None:
    """Seconds until the progress deadline may have passed, None if it can't: a set that was complete once has none."""
    deadline = deadline_s(deployment)
    condition = get_condition({"status": status}, PROGRESSING)
    if deadline is None or condition is None or condition["reason"] in (TIMED_OUT, PAUSED, NEW_SET_AVAILABLE):
        return None
    if complete(deployment, status) or deployment["spec"].get("paused"):
        return None
    return (_last_update(condition) + timedelta(seconds=deadline) - now).total_seconds() + 1.0


def _last_update(condition: KubeObject) -> datetime:
    return parse_time(condition.get("lastUpdateTime") or condition["lastTransitionTime"])


def _find(conditions: Sequence[KubeObject], type_: str) -> KubeObject | None:
    return next((condition for condition in conditions if condition["type"] == type_), None)


def _set_reason(
    conditions: list[KubeObject], type_: str, *, status: str, reason: str, message: str, now: datetime
) -> None:
    """As :func:`set_condition`, but a mere change of the message doesn't count as an update."""
    present = _find(conditions, type_)
    if present is None or present["status"] != status or present["reason"] != reason:
        set_condition(conditions, type_, status=status, reason=reason, message=message, now=now, last_update=True)


def _judge_availability(conditions: list[KubeObject], counts: KubeObject, limits: Limits, now: datetime) -> None:
    if counts.get("availableReplicas", 0) >= limits.fewest_available:
        status, reason, message = "True", "MinimumReplicasAvailable", "Deployment has minimum availability."
    else:
        status, reason = "False", "MinimumReplicasUnavailable"
        message = "Deployment does not have minimum availability."
    _set_reason(conditions, AVAILABLE, status=status, reason=reason, message=message, now=now)


def _note_pause(conditions: list[KubeObject], *, paused: bool, now: datetime) -> None:
    condition = _find(conditions, PROGRESSING)
    reason = condition["reason"] if condition else ""
    if reason == TIMED_OUT:
        return
    if paused and reason != PAUSED:
        message = "Deployment is paused"
        _set_reason(conditions, PROGRESSING, status="Unknown", reason=PAUSED, message=message, now=now)
    elif not paused and reason == PAUSED:
        message = "Deployment is resumed"
        _set_reason(conditions, PROGRESSING, status="Unknown", reason=RESUMED, message=message, now=now)


def _note_new_set(conditions: list[KubeObject], sets: Sets, now: datetime) -> None:
    if sets.created:
        message = f'Created new replica set "{sets.created}"'
        _set_reason(conditions, PROGRESSING, status="True", reason=NEW_SET_CREATED, message=message, now=now)
    elif sets.new is not None and _find(conditions, PROGRESSING) is None:
        message = f'Found new replica set "{sets.new.name}"'
        _set_reason(conditions, PROGRESSING, status="True", reason=FOUND_NEW_SET, message=message, now=now)


def _judge_progress(
    conditions: list[KubeObject], deployment: KubeObject, new: KubeObject, sets: Sets, now: datetime
) -> None:
    current = _find(conditions, PROGRESSING)
    settled = new.get("replicas", 0) == new.get("updatedReplicas", 0)
    if settled and current is not None and current["reason"] == NEW_SET_AVAILABLE:
        return
    name = sets.created or (sets.new.name if sets.new else "")
    subject = f'ReplicaSet "{name}"' if name else f'Deployment "{name_of(deployment)}"'
    if complete(deployment, new):
        message = f"{subject} has successfully progressed."
        _set_reason(conditions, PROGRESSING, status="True", reason=NEW_SET_AVAILABLE, message=message, now=now)
    elif _progressed(deployment.get("status") or {}, new):
        message = f"{subject} is progressing."
        # Progress restarts the deadline even if the words stay the same.
        set_condition(
            conditions, PROGRESSING, status="True", reason=SET_UPDATED, message=message, now=now, last_update=True
        )
        updated = _find(conditions, PROGRESSING)
        assert updated is not None
        updated["lastUpdateTime"] = format_time(now)
    elif _timed_out(current, deadline_s(deployment), now):
        message = f"{subject} has timed out progressing."
        _set_reason(conditions, PROGRESSING, status="False", reason=TIMED_OUT, message=message, now=now)


def _progressed(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    def outdated(status: Mapping[str, Any]) -> int:
        return int(status.get("replicas", 0) - status.get("updatedReplicas", 0))

    grew = any(new.get(count, 0) > old.get(count, 0) for count in ("updatedReplicas", "readyReplicas"))
    return grew or outdated(new) < outdated(old) or new.get("availableReplicas", 0) > old.get("availableReplicas", 0)


def _timed_out(condition: KubeObject | None, deadline: int | None, now: datetime) -> bool:
    if condition is None or deadline is None or condition["reason"] == NEW_SET_AVAILABLE:
        return False
    return condition["reason"] == TIMED_OUT or _last_update(condition) + timedelta(seconds=deadline) < now


def _with_replica_failure(conditions: Sequence[KubeObject], sets: Sets) -> list[KubeObject]:
    kept = [condition for condition in conditions if condition["type"] != REPLICA_FAILURE]
    candidates = ([sets.new] if sets.new else []) + list(sets.olds)
    for each in candidates:
        failure = get_condition(each.obj, REPLICA_FAILURE)
        if failure is not None:
            moment = failure.get("lastTransitionTime")
            return [*kept, {**failure, "lastUpdateTime": moment}]
    return kept
