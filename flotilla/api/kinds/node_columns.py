"""Node and Namespace: their table columns."""

from __future__ import annotations

from datetime import datetime

from flotilla.api.conditions import get_condition
from flotilla.api.kinds.columns import AGE, NAME, NONE, column, spec_of, status_of
from flotilla.api.objects import KubeObject, labels_of

_ROLE_PREFIX = "node-role.kubernetes.io/"
_ROLE_LABEL = "kubernetes.io/role"


def _status(node: KubeObject, now: datetime) -> str:
    condition = get_condition(node, "Ready")
    known = {None: "Unknown", "True": "Ready"}
    text = known.get(None if condition is None else condition.get("status"), "NotReady")
    return f"{text},SchedulingDisabled" if spec_of(node).get("unschedulable") else text


def _roles(node: KubeObject, now: datetime) -> str:
    roles = {key.removeprefix(_ROLE_PREFIX) for key in labels_of(node) if key.startswith(_ROLE_PREFIX)}
    roles.add(labels_of(node).get(_ROLE_LABEL, ""))
    return ",".join(sorted(roles - {""})) or NONE


def _address(node: KubeObject, kind: str) -> str:
    addresses = status_of(node).get("addresses") or ()
    return next((each["address"] for each in addresses if each.get("type") == kind and each.get("address")), NONE)


def _info(node: KubeObject, field: str) -> str:
    return (status_of(node).get("nodeInfo") or {}).get(field) or "<unknown>"


NODE_COLUMNS = (
    NAME,
    column("Status", _status, description="The status of the node."),
    column("Roles", _roles, description="The roles of the node."),
    AGE,
    column(
        "Version",
        lambda node, now: (status_of(node).get("nodeInfo") or {}).get("kubeletVersion") or "",
        description="The version of the node's agent.",
    ),
    column("Internal-IP", lambda node, now: _address(node, "InternalIP"), description="Its address inside.", wide=True),
    column(
        "External-IP", lambda node, now: _address(node, "ExternalIP"), description="Its address outside.", wide=True
    ),
    column("OS-Image", lambda node, now: _info(node, "osImage"), description="Its operating system.", wide=True),
    column("Kernel-Version", lambda node, now: _info(node, "kernelVersion"), description="Its kernel.", wide=True),
    column(
        "Container-Runtime",
        lambda node, now: _info(node, "containerRuntimeVersion"),
        description="Its container runtime.",
        wide=True,
    ),
)
NAMESPACE_COLUMNS = (
    NAME,
    column("Status", lambda obj, now: status_of(obj).get("phase", ""), description="The status of the namespace."),
    AGE,
)
