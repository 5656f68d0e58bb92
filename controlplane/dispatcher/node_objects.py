"""The Node object as an agent's reports make it. Pure.

The agent owns capacity, node info, addresses, images and its own conditions; labels that it reports win over older
values, other labels, taints and annotations are the users'. ``Ready`` is the control plane's: an open session means
True unless its agent says that it is not (its machine shuts down), and the node lifecycle controller says when there is
none. Extended resources (``example.com/card``) are advertised in the capacity by whoever administers the node.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flotilla.api.conditions import SHUTTING_DOWN, set_condition
from flotilla.api.objects import KubeObject, format_time, labels_of

AGENT_STATUS_FIELDS = ("capacity", "allocatable", "nodeInfo", "addresses", "images", "daemonEndpoints")
READY_REASON = "AgentReady"
READY_MESSAGE = "the agent's session is open"


def new_node(name: str, reported: Mapping[str, Any], *, pod_cidr: str, now: datetime) -> KubeObject:
    """The object to create for a node that joins."""
    node: KubeObject = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {}, "status": {}}
    apply_identity(node, reported, pod_cidr=pod_cidr)
    apply_status(node, reported.get("status") or {}, now=now)
    return node


def apply_identity(node: KubeObject, reported: Mapping[str, Any], *, pod_cidr: str) -> None:
    """Write labels and the pods' network into ``node`` in place; a network that it has stays."""
    metadata = node["metadata"]
    labels = {"kubernetes.io/hostname": metadata["name"], **(labels_of(node)), **_reported_labels(reported)}
    metadata["labels"] = labels
    spec = node.setdefault("spec", {})
    if not spec.get("podCIDR"):
        spec["podCIDR"] = pod_cidr
        spec["podCIDRs"] = [pod_cidr]


def apply_status(node: KubeObject, status: Mapping[str, Any], *, now: datetime) -> None:
    """Write what the agent reports of the node into its status in place, and whether it is ready."""
    target = node.setdefault("status", {})
    advertised = extended_resources(target.get("capacity") or {})
    target.update({name: status[name] for name in AGENT_STATUS_FIELDS if name in status})
    for name in ("capacity", "allocatable"):
        if name in status:
            target[name] = {**advertised, **status[name]}
    conditions = target.setdefault("conditions", [])
    ready: Mapping[str, Any] = {"type": "Ready", "status": "True", "reason": READY_REASON, "message": READY_MESSAGE}
    for condition in status.get("conditions") or ():
        if condition.get("type") != "Ready":
            _set(conditions, condition, now=now)
        elif (condition.get("status"), condition.get("reason")) == ("False", SHUTTING_DOWN):
            ready = condition
    _set(conditions, ready, now=now)


def extended_resources(amounts: Mapping[str, str]) -> dict[str, str]:
    """Those of a node's resources that its administrator advertises, by writing them into the capacity."""
    return {name: amount for name, amount in amounts.items() if "/" in name and "kubernetes.io/" not in name}


def lacks_extended(node: Mapping[str, Any]) -> bool:
    """Whether pods can't be given yet, or still are given, what the capacity says of extended resources."""
    status = node.get("status") or {}
    return extended_resources(status.get("capacity") or {}) != extended_resources(status.get("allocatable") or {})


def _set(conditions: list[KubeObject], condition: Mapping[str, Any], *, now: datetime) -> None:
    changed = set_condition(
        conditions,
        str(condition["type"]),
        status=str(condition["status"]),
        reason=str(condition.get("reason") or ""),
        message=str(condition.get("message") or ""),
        now=now,
    )
    if changed:  # what kubectl shows as the last heartbeat; a beat that says nothing new is not written
        stored = next(each for each in conditions if each["type"] == condition["type"])
        stored["lastHeartbeatTime"] = format_time(now)


def _reported_labels(reported: Mapping[str, Any]) -> dict[str, str]:
    metadata = reported.get("metadata") or {}
    labels: dict[str, str] = metadata.get("labels") or {}
    return labels
