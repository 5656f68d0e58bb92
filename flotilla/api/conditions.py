"""Conditions: the observations in an object's ``status.conditions``, one a type.

Source: Kubernetes' API conventions. ``lastTransitionTime`` moves only when ``status`` changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flotilla.api.objects import KubeObject, format_time

SHUTTING_DOWN = "NodeShutdown"
"""The reason of a node that is not ready because its machine goes down."""


def get_condition(obj: Mapping[str, Any], type_: str) -> KubeObject | None:
    """The object's condition of that type, the very dict in its status; None if it has none."""
    for condition in (obj.get("status") or {}).get("conditions") or ():
        if condition.get("type") == type_:
            found: KubeObject = condition
            return found
    return None


def is_true(obj: Mapping[str, Any], type_: str) -> bool:
    """Whether the condition is present with status ``True``."""
    condition = get_condition(obj, type_)
    return condition is not None and condition.get("status") == "True"


def set_condition(
    conditions: list[KubeObject],
    type_: str,
    *,
    status: str,
    reason: str,
    message: str,
    now: datetime,
    last_update: bool = False,
) -> bool:
    """Write one condition into the list in place; whether anything changed.

    ``status`` is ``True``, ``False`` or ``Unknown``. With ``last_update`` the condition also carries
    ``lastUpdateTime`` (Deployments), the moment of this change. Other fields of an existing condition are kept.
    """
    condition = next((each for each in conditions if each.get("type") == type_), None)
    wanted = {"status": status, "reason": reason, "message": message}
    if condition is not None and all(condition.get(key) == value for key, value in wanted.items()):
        return False
    if condition is None:
        condition = {"type": type_}
        conditions.append(condition)
    if condition.get("status") != status:
        condition["lastTransitionTime"] = format_time(now)
    if last_update:
        condition["lastUpdateTime"] = format_time(now)
    condition.update(wanted)
    return True
