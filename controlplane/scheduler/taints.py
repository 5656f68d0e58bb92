"""Taints and tolerations: what a node keeps away and what a pod puts up with.

Source: Kubernetes' ``component-helpers/scheduling/corev1`` and the taint-eviction controller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from flotilla.api.objects import KubeObject, parse_time

NO_SCHEDULE = "NoSchedule"
NO_EXECUTE = "NoExecute"
PREFER_NO_SCHEDULE = "PreferNoSchedule"


def tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """Whether one toleration covers one taint; an empty effect or key covers all."""
    effect, key = toleration.get("effect"), toleration.get("key")
    if effect and effect != taint["effect"]:
        return False
    if key and key != taint["key"]:
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(key) and (toleration.get("value") or "") == (taint.get("value") or "")


def first_untolerated(
    taints: Iterable[Mapping[str, Any]], tolerations: Sequence[Mapping[str, Any]], *, effects: Sequence[str]
) -> Mapping[str, Any] | None:
    """The first taint with one of the effects that no toleration covers."""
    for taint in taints:
        if taint["effect"] in effects and not any(tolerates(each, taint) for each in tolerations):
            return taint
    return None


def eviction_due(
    taints: Iterable[Mapping[str, Any]], tolerations: Sequence[Mapping[str, Any]], *, first_seen: datetime
) -> datetime | None:
    """When a pod must leave its node because of NoExecute taints; None if it may stay.

    A taint without ``timeAdded`` counts from ``first_seen``. A taint that isn't tolerated counts from its start.
    ``timeAdded`` has whole seconds: where the taint was seen within that second, the exact moment counts.
    """
    due: list[datetime] = []
    for taint in taints:
        if taint["effect"] != NO_EXECUTE:
            continue
        since = _since(taint, first_seen)
        used = [each for each in tolerations if tolerates(each, taint)]
        if not used:
            due.append(since)
            continue
        limited = [each["tolerationSeconds"] for each in used if each.get("tolerationSeconds") is not None]
        if limited:
            due.append(since + timedelta(seconds=max(0, min(limited))))
    return min(due, default=None)


def _since(taint: Mapping[str, Any], first_seen: datetime) -> datetime:
    if not taint.get("timeAdded"):
        return first_seen
    added = parse_time(taint["timeAdded"])
    return first_seen if added <= first_seen < added + timedelta(seconds=1) else added


def taints_of(node: Mapping[str, Any]) -> list[KubeObject]:
    """The taints in a Node's spec."""
    taints: list[KubeObject] = (node.get("spec") or {}).get("taints") or []
    return taints
