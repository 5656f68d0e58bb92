"""Which pods a node in distress still takes in.

The scheduler sends none, because of the taint that goes with each condition; but a pod may be on its way, or bound by
hand, or tolerate the taint. Under memory pressure pods that request something are taken in: what they need was set
aside.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from flotilla.api.workloads import qos_class
from nodeagent.pressure.ranking import is_critical

MEMORY_PRESSURE_TAINT = "node.kubernetes.io/memory-pressure"


def refusal(pod: Mapping[str, Any], conditions: Collection[str]) -> str:
    """Why a pod can't start here while the node is in these conditions; empty if it can."""
    if not conditions or is_critical(pod):
        return ""
    if set(conditions) == {"MemoryPressure"} and (
        qos_class(pod["spec"]) != "BestEffort" or _tolerates_memory_pressure(pod)
    ):
        return ""
    return f"The node had condition: [{' '.join(sorted(conditions))}]. "


def _tolerates_memory_pressure(pod: Mapping[str, Any]) -> bool:
    for toleration in pod["spec"].get("tolerations") or ():
        same_key = toleration.get("key") == MEMORY_PRESSURE_TAINT or (
            not toleration.get("key") and toleration.get("operator") == "Exists"
        )
        value = toleration.get("operator") == "Exists" or not toleration.get("value")
        if same_key and value and toleration.get("effect") in (None, "", "NoSchedule"):
            return True
    return False
