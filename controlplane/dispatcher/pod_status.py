"""How a status that a node reports becomes the pod's status. Pure.

The report is whole and the newest wins, but a few facts are others': conditions that the node does not set itself
(``PodScheduled``, readiness gates, ``DisruptionTarget``), the nominated node, and the moment the pod was first seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.objects import KubeObject

_KEPT = ("qosClass", "nominatedNodeName", "startTime", "resize", "observedGeneration")


def merged_status(current: Mapping[str, Any], reported: Mapping[str, Any]) -> KubeObject:
    """The status to store, for a pod whose status is ``current``. Neither is changed."""
    kept = {name: current[name] for name in _KEPT if name in current and name not in reported}
    own = list(reported.get("conditions") or ())
    types = {condition.get("type") for condition in own}
    others = [condition for condition in current.get("conditions") or () if condition.get("type") not in types]
    merged = {**kept, **reported}
    if own or others:
        merged["conditions"] = [*others, *own]
    return merged
