"""How a PodDisruptionBudget's status says how many pods may be taken away.

The disruption controller and the evictions that use its figures up write it in one and the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flotilla.api.conditions import set_condition
from flotilla.api.objects import KubeObject
from flotilla.api.selectors import label_selector_of

CONDITION = "DisruptionAllowed"


def covers(budget: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether the budget selects pods with these labels; an empty selector selects all, none selects none."""
    selector = (budget.get("spec") or {}).get("selector")
    return selector is not None and label_selector_of(selector).matches(labels)


def allow_disruptions(budget: KubeObject, allowed: int, *, now: datetime) -> None:
    """Set ``status.disruptionsAllowed`` and the condition that follows from it, in place."""
    status = budget.setdefault("status", {})
    status["disruptionsAllowed"] = allowed
    reason = "SufficientPods" if allowed > 0 else "InsufficientPods"
    state_disruption_condition(budget, status="True" if allowed > 0 else "False", reason=reason, message="", now=now)


def state_disruption_condition(budget: KubeObject, *, status: str, reason: str, message: str, now: datetime) -> None:
    """Set the condition ``DisruptionAllowed`` for the budget's present generation, in place."""
    conditions = budget["status"].setdefault("conditions", [])
    set_condition(conditions, CONDITION, status=status, reason=reason, message=message, now=now)
    generation = budget["metadata"].get("generation")
    for condition in conditions:
        if condition["type"] == CONDITION and generation:
            condition["observedGeneration"] = generation
