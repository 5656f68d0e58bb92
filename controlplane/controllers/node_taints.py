"""The taints and conditions that a node's state calls for: pure functions of the Node and how it was judged.

Source: Kubernetes' node lifecycle controller. Taints that users set are left alone.
"""

from __future__ import annotations

from datetime import datetime

from controlplane.scheduler.taints import NO_EXECUTE, NO_SCHEDULE, taints_of
from flotilla.api.conditions import SHUTTING_DOWN, get_condition, is_true, set_condition
from flotilla.api.objects import KubeObject, format_time

UNREACHABLE = "node.kubernetes.io/unreachable"
NOT_READY = "node.kubernetes.io/not-ready"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
STATUS_UNKNOWN = "NodeStatusUnknown"
LOST_MESSAGE = "the agent's session is lost"
_PRESSURES = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
_MANAGED = frozenset({UNREACHABLE, NOT_READY, UNSCHEDULABLE, *_PRESSURES.values()})
_LOST_WITH_THE_NODE = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")

_Wanted = set[tuple[str, str]]


def wanted_taints(node: KubeObject, *, lost: bool, evict: bool, now: datetime) -> list[KubeObject]:
    """The node's taints as they shall be.

    A ``lost`` node is unreachable; with ``evict`` False (too many nodes are lost at once to believe it) its pods stay.
    A node that was found again keeps its taints until it reports that it is ready.
    """
    present = taints_of(node)
    wanted = _wanted(node, present, lost=lost, evict=evict)
    kept = [taint for taint in present if taint["key"] not in _MANAGED or (taint["key"], taint["effect"]) in wanted]
    known = {(taint["key"], taint["effect"]) for taint in kept}
    new = [_taint(key, effect, now) for key, effect in sorted(wanted - known)]
    return kept + new


def _taint(key: str, effect: str, now: datetime) -> KubeObject:
    return {"key": key, "effect": effect, "timeAdded": format_time(now)}


def _wanted(node: KubeObject, present: list[KubeObject], *, lost: bool, evict: bool) -> _Wanted:
    wanted: _Wanted = {(key, NO_SCHEDULE) for type_, key in _PRESSURES.items() if is_true(node, type_)}
    if (node.get("spec") or {}).get("unschedulable"):
        wanted.add((UNSCHEDULABLE, NO_SCHEDULE))
    ready = get_condition(node, "Ready")
    if lost:
        wanted |= _both(UNREACHABLE, evict)
    elif ready is not None and ready["status"] == "Unknown":
        wanted |= {(taint["key"], taint["effect"]) for taint in present if taint["key"] in (UNREACHABLE, NOT_READY)}
    elif ready is None or ready["status"] != "True":
        # The agent of a node that shuts down ends its pods itself, in their order and time.
        wanted |= _both(NOT_READY, evict and (ready or {}).get("reason") != SHUTTING_DOWN)
    return wanted


def _both(key: str, evict: bool) -> _Wanted:
    return {(key, NO_SCHEDULE), (key, NO_EXECUTE)} if evict else {(key, NO_SCHEDULE)}


def mark_lost(node: KubeObject, *, now: datetime) -> bool:
    """Write into the status, in place, that nothing is known of the node; whether that was news."""
    conditions = node.setdefault("status", {}).setdefault("conditions", [])
    present = {condition["type"] for condition in conditions}
    changed = False
    for type_ in _LOST_WITH_THE_NODE:
        if type_ == "Ready" or type_ in present:
            changed |= set_condition(
                conditions, type_, status="Unknown", reason=STATUS_UNKNOWN, message=LOST_MESSAGE, now=now
            )
    return changed
