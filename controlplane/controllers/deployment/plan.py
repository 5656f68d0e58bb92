"""What to do next about a Deployment: a pure function of it, its ReplicaSets and the time.

The plan is complete (sizes, annotations, what to create and remove, status, when to look again), and each part of it
is safe on its own, so that a crash between two writes leaves a state from which the next plan goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from controlplane.controllers.deployment import status as conditions
from controlplane.controllers.deployment.replica_sets import (
    REVISION,
    SetView,
    current_annotations,
    disposable,
    new_set,
    next_revision,
    sized,
    split_new,
    view,
)
from controlplane.controllers.deployment.rolling import (
    Limits,
    Share,
    Size,
    grow_new,
    limits_of,
    proportional,
    shrink_old,
)
from flotilla.api.objects import KubeObject, annotations_of, is_deleting, name_of


@dataclass(frozen=True, slots=True)
class SetChange:
    """What a ReplicaSet shall have; ``previous`` is its desired replicas so far."""

    name: str
    replicas: int
    previous: int
    annotations: Mapping[str, str]
    min_ready_s: int


@dataclass(frozen=True, slots=True)
class DeploymentPlan:
    """Writes in order: ``create``, ``changes`` and ``remove``, the Deployment's ``annotations``, its ``status``."""

    status: KubeObject
    create: KubeObject | None = None
    changes: tuple[SetChange, ...] = ()
    remove: tuple[SetView, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    recheck_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Situation:
    deployment: KubeObject
    limits: Limits
    new: SetView | None
    olds: tuple[SetView, ...]

    @property
    def all(self) -> tuple[SetView, ...]:
        return self.olds if self.new is None else (*self.olds, self.new)


def plan(
    deployment: KubeObject, replica_sets: Sequence[KubeObject], *, old_pods_run: bool, now: datetime
) -> DeploymentPlan:
    """Plan one step. ``old_pods_run``: pods of other than the present template have not ended (for Recreate)."""
    limits = limits_of(deployment)
    new, olds = split_new(deployment, map(view, replica_sets))
    situation = _Situation(deployment, limits, new, olds)
    if is_deleting(deployment):
        return DeploymentPlan(_status(situation, {}, None, rolling=False, now=now))
    if deployment["spec"].get("paused") or _is_being_scaled(situation):
        return _assemble(situation, scaled_sizes(situation), create=None, rolling=False, now=now)
    if (deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
        sizes, wanted = _recreate(situation, old_pods_run=old_pods_run)
    else:
        sizes, wanted = _rolling(situation)
    create = None
    if wanted is not None:
        create = new_set(deployment, replicas=wanted, revision=next_revision(olds), limits=limits)
    return _assemble(situation, sizes, create=create, rolling=True, now=now)


def _is_being_scaled(situation: _Situation) -> bool:
    active = [each for each in situation.all if each.replicas > 0]
    return any(each.desired is not None and each.desired != situation.limits.desired for each in active)


def scaled_sizes(situation: _Situation) -> dict[str, int]:
    """Sizes that bring the sets to the Deployment's size without going on with a rollout."""
    limits = situation.limits
    active = [each for each in situation.all if each.replicas > 0]
    if len(active) <= 1:
        only = active[0] if active else situation.new or (situation.olds[-1] if situation.olds else None)
        return {only.name: limits.desired} if only is not None else {}
    if situation.new is not None and _saturated(situation.new, limits):
        return {each.name: 0 for each in situation.olds if each.replicas > 0}
    if (situation.deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
        return {}
    shares = [Share(each.name, each.replicas, each.most, each.created) for each in active]
    status_replicas = (situation.deployment.get("status") or {}).get("replicas") or 0
    return proportional(limits, shares, status_replicas=status_replicas)


def _saturated(new: SetView, limits: Limits) -> bool:
    return new.desired == new.replicas == new.available == limits.desired


def _rolling(situation: _Situation) -> tuple[dict[str, int], int | None]:
    """Next sizes, and the size of the set to be created if the present template has none."""
    limits, new, olds = situation.limits, situation.new, situation.olds
    present = new.size if new is not None else Size("", 0, 0)
    grown = present.replicas
    if all(old.observed for old in olds) or grown > limits.desired:
        grown = grow_new(limits, new=present.replicas, total=sum(each.present for each in situation.all))
    after = Size(present.name, grown, present.available)
    sizes = shrink_old(limits, new=after, olds=[old.size for old in olds])
    if new is None:
        return sizes, grown
    return sizes | {new.name: grown}, None


def _recreate(situation: _Situation, *, old_pods_run: bool) -> tuple[dict[str, int], int | None]:
    running = {old.name: 0 for old in situation.olds if old.replicas > 0}
    if running or old_pods_run:
        return running, None
    if situation.new is None:
        return {}, situation.limits.desired
    return {situation.new.name: situation.limits.desired}, None


def _assemble(
    situation: _Situation, sizes: Mapping[str, int], *, create: KubeObject | None, rolling: bool, now: datetime
) -> DeploymentPlan:
    deployment = situation.deployment
    status = _status(situation, sizes, create, rolling=rolling, now=now)
    tidy = bool(deployment["spec"].get("paused")) or conditions.complete(deployment, status)
    keep = deployment["spec"].get("revisionHistoryLimit", 10)
    return DeploymentPlan(
        status=status,
        create=create,
        changes=_changes(situation, sizes),
        remove=disposable(situation.olds, keep=keep) if tidy else (),
        annotations=_deployment_annotations(situation, create),
        recheck_s=conditions.recheck_s(deployment, status, now=now),
    )


def _status(
    situation: _Situation, sizes: Mapping[str, int], create: KubeObject | None, *, rolling: bool, now: datetime
) -> KubeObject:
    total = sum(sizes.get(each.name, each.replicas) for each in situation.all)
    created = ""
    if create is not None:
        total += create["spec"]["replicas"]
        created = name_of(create)
    sets = conditions.Sets(situation.new, situation.olds, created)
    return conditions.status(
        situation.deployment, sets, limits=situation.limits, desired_total=total, rolling=rolling, now=now
    )


def _changes(situation: _Situation, sizes: Mapping[str, int]) -> tuple[SetChange, ...]:
    wanted = [_change(situation, each, sizes.get(each.name, each.replicas)) for each in situation.all]
    return tuple(change for change in wanted if change is not None)


def _change(situation: _Situation, each: SetView, replicas: int) -> SetChange | None:
    annotations = dict(annotations_of(each.obj))
    min_ready_s = each.obj["spec"].get("minReadySeconds") or 0
    if each is situation.new:
        annotations = current_annotations(situation.deployment, each, next_revision(situation.olds))
        min_ready_s = situation.deployment["spec"].get("minReadySeconds") or 0
    if replicas > 0:
        # Every active set keeps for what size it was made, or a later plan would take this one for a scaling.
        annotations |= sized(situation.limits)
    unchanged = (
        replicas == each.replicas
        and annotations == annotations_of(each.obj)
        and min_ready_s == (each.obj["spec"].get("minReadySeconds") or 0)
    )
    return None if unchanged else SetChange(each.name, replicas, each.replicas, annotations, min_ready_s)


def _deployment_annotations(situation: _Situation, create: KubeObject | None) -> dict[str, str]:
    """The revision that the Deployment shall show, empty if it shows it already or has no current set."""
    if create is not None:
        revision = annotations_of(create)[REVISION]
    elif situation.new is not None:
        revision = str(max(next_revision(situation.olds), situation.new.revision))
    else:
        return {}
    shown = annotations_of(situation.deployment).get(REVISION)
    return {} if shown == revision else {REVISION: revision}
