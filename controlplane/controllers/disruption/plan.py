"""What a PodDisruptionBudget's status has to say, computed from its pods. Pure: the time is an argument.

A pod that was evicted counts as lost from the moment of the eviction, although it may still be seen running, for two
minutes at most: a pod that has not been deleted by then never will be.
Source: Kubernetes' ``pkg/controller/disruption``.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flotilla.api.disruptions import allow_disruptions, state_disruption_condition
from flotilla.api.objects import KubeObject, is_deleting, name_of, parse_time
from flotilla.api.workloads import int_or_percent, pod_is_ready

DELETION_DEADLINE = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Demand:
    """How many pods there should be, and how many of them must be healthy."""

    expected: int
    desired: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetPlan:
    """``budget`` has the new status; ``overdue`` pods were evicted and are still there; look again at ``recheck``."""

    budget: KubeObject
    overdue: tuple[str, ...]
    recheck: datetime | None


def needs_scale(spec: Mapping[str, Any]) -> bool:
    """Whether the demand follows from how many pods their controllers want, not from those that there are."""
    return spec.get("maxUnavailable") is not None or isinstance(spec.get("minAvailable"), str)


def demand(spec: Mapping[str, Any], *, pods: int, scale: int) -> Demand:
    """The demand of a budget's spec; ``scale`` is what the pods' controllers want, used where ``needs_scale``."""
    unavailable, available = spec.get("maxUnavailable"), spec.get("minAvailable")
    if unavailable is not None:
        return Demand(scale, max(0, scale - int_or_percent(unavailable, scale, round_up=True)))
    if isinstance(available, str):
        return Demand(scale, int_or_percent(available, scale, round_up=True))
    return Demand(pods, available) if available is not None else Demand(0, 0)


def plan_budget(budget: KubeObject, pods: Sequence[KubeObject], wanted: Demand, *, now: datetime) -> BudgetPlan:
    """The status that follows from the budget's pods. ``budget`` is left alone."""
    evicted = {name: parse_time(time) for name, time in _disrupted(budget).items()}
    present = {name_of(pod): pod for pod in pods if not is_deleting(pod)}
    waiting = {name: moment for name, moment in evicted.items() if name in present}
    overdue = tuple(name for name, moment in waiting.items() if moment + DELETION_DEADLINE <= now)
    disrupted = {name: time for name, time in _disrupted(budget).items() if name in waiting and name not in overdue}
    healthy = sum(pod_is_ready(pod) for name, pod in present.items() if name not in disrupted)
    allowed = healthy - wanted.desired if wanted.expected > 0 else 0
    counts = {"currentHealthy": healthy, "desiredHealthy": wanted.desired, "expectedPods": wanted.expected}
    planned = _with_status(budget, counts | {"disruptedPods": disrupted})
    allow_disruptions(planned, max(0, allowed), now=now)
    moments = [moment + DELETION_DEADLINE for name, moment in waiting.items() if name in disrupted]
    return BudgetPlan(budget=planned, overdue=overdue, recheck=min(moments, default=None))


def plan_failure(budget: KubeObject, why: str, *, now: datetime) -> KubeObject:
    """The budget in a state in which nothing is evicted, with the reason in its condition. It is left alone."""
    failed = _with_status(budget, {"disruptionsAllowed": 0})
    state_disruption_condition(failed, status="False", reason="SyncFailed", message=why, now=now)
    return failed


def _disrupted(budget: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = (budget.get("status") or {}).get("disruptedPods") or {}
    return found


def _with_status(budget: KubeObject, fields: KubeObject) -> KubeObject:
    status = copy.deepcopy(budget.get("status") or {}) | fields
    status["observedGeneration"] = budget["metadata"].get("generation", 0)
    if not status.get("disruptedPods"):
        status.pop("disruptedPods", None)
    return budget | {"status": status}
