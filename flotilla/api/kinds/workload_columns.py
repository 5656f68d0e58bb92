"""The kinds of ``apps`` and what is like them: their table columns."""

from __future__ import annotations

from datetime import datetime

from flotilla.api.kinds.columns import (
    AGE,
    NAME,
    NONE,
    TEMPLATE_DETAILS,
    WORKLOAD_DETAILS,
    column,
    map_text,
    spec_of,
    status_number,
    status_of,
    template_columns,
)
from flotilla.api.objects import KubeObject, labels_of


def _desired(obj: KubeObject, now: datetime) -> int:
    return int(spec_of(obj).get("replicas", 1))


def _ready_of_desired(obj: KubeObject, now: datetime) -> str:
    return f"{status_of(obj).get('readyReplicas', 0)}/{_desired(obj, now)}"


def _node_selector(daemon_set: KubeObject, now: datetime) -> str:
    return map_text(spec_of(spec_of(daemon_set).get("template") or {}).get("nodeSelector"))


def _controller(revision: KubeObject, now: datetime) -> str:
    """The kind, group and name of what the revision belongs to."""
    for owner in revision["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            group = str(owner.get("apiVersion", "")).rpartition("/")[0]
            kind = str(owner.get("kind", "")).lower()
            return f"{kind}.{group}/{owner.get('name')}" if group else f"{kind}/{owner.get('name')}"
    return NONE


DEPLOYMENT_COLUMNS = (
    NAME,
    column("Ready", _ready_of_desired, description="Number of the pod with ready state."),
    status_number("Up-to-date", "updatedReplicas", "Number of pods that have the desired template."),
    status_number("Available", "availableReplicas", "Number of pods that have been ready for long enough."),
    AGE,
    *WORKLOAD_DETAILS,
)
_REPLICAS = (
    NAME,
    column("Desired", _desired, description="Number of desired pods.", type_="integer"),
    status_number("Current", "replicas", "Number of pods."),
    status_number("Ready", "readyReplicas", "Number of pods that are ready."),
    AGE,
)
REPLICA_SET_COLUMNS = (*_REPLICAS, *WORKLOAD_DETAILS)
REPLICATION_CONTROLLER_COLUMNS = (
    *_REPLICAS,
    *TEMPLATE_DETAILS,
    column(
        "Selector",
        lambda obj, now: map_text(spec_of(obj).get("selector")),
        description="Labels of the pods of this workload.",
        wide=True,
    ),
)
STATEFUL_SET_COLUMNS = (
    NAME,
    column("Ready", _ready_of_desired, description="Number of the pod with ready state."),
    AGE,
    *TEMPLATE_DETAILS,
)
DAEMON_SET_COLUMNS = (
    NAME,
    status_number("Desired", "desiredNumberScheduled", "Number of nodes that should run a pod."),
    status_number("Current", "currentNumberScheduled", "Number of those that do."),
    status_number("Ready", "numberReady", "Number of nodes whose pod is ready."),
    status_number("Up-to-date", "updatedNumberScheduled", "Number of nodes whose pod has the desired template."),
    status_number("Available", "numberAvailable", "Number of nodes whose pod has been ready for long enough."),
    column("Node Selector", _node_selector, description="Labels of the nodes that should run a pod."),
    AGE,
    *WORKLOAD_DETAILS,
)
CONTROLLER_REVISION_COLUMNS = (
    NAME,
    column("Controller", _controller, description="The workload that the revision belongs to."),
    column("Revision", lambda obj, now: obj.get("revision", 0), description="The revision's number."),
    AGE,
)
POD_TEMPLATE_COLUMNS = (
    NAME,
    *template_columns(lambda obj: obj, wide=False),
    column(
        "Pod Labels",
        lambda obj, now: map_text(labels_of(obj.get("template") or {"metadata": {}})),
        description="The labels of the pods.",
    ),
)
