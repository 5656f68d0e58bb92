"""The status of an HPA, and when it is worth writing. Pure.

Decisions and conditions are written at once. Measured values alone change with every sample; they are written every ten
seconds at most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from controlplane.autoscaler.decision import Explanation
from flotilla.api.conditions import set_condition
from flotilla.api.objects import KubeObject

VALUES_EVERY_S = 10.0
_DECISIVE = ("type", "status", "reason", "message")
_ORDER = ("AbleToScale", "ScalingActive", "ScalingLimited")


def next_status(
    autoscaler: Mapping[str, Any],
    explanations: Sequence[Explanation],
    values: Sequence[KubeObject],
    *,
    current: int,
    desired: int,
    now: datetime,
) -> KubeObject:
    """The status after a decision; conditions that it says nothing about stay."""
    old = autoscaler.get("status") or {}
    conditions = [dict(condition) for condition in old.get("conditions") or ()]
    for each in explanations:
        holds = "True" if each.holds else "False"
        set_condition(conditions, each.type, status=holds, reason=each.reason, message=each.message, now=now)
    conditions.sort(key=lambda condition: _ORDER.index(condition["type"]) if condition["type"] in _ORDER else 3)
    status = {**old, "currentReplicas": current, "desiredReplicas": desired, "conditions": conditions}
    status["currentMetrics"] = list(values)
    if autoscaler["metadata"].get("generation"):
        status["observedGeneration"] = autoscaler["metadata"]["generation"]
    return status


def worth_writing(old: Mapping[str, Any], new: Mapping[str, Any], *, since_last_s: float) -> bool:
    """Whether the change between two statuses is to be written now."""
    if _decisive(old) != _decisive(new):
        return True
    return since_last_s >= VALUES_EVERY_S and old.get("currentMetrics") != new.get("currentMetrics")


def _decisive(status: Mapping[str, Any]) -> tuple[Any, ...]:
    conditions = [tuple(each.get(name) for name in _DECISIVE) for each in status.get("conditions") or ()]
    fields = ("currentReplicas", "desiredReplicas", "lastScaleTime", "observedGeneration")
    return (conditions, *(status.get(name) for name in fields))
