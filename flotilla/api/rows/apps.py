"""``apps``: the workloads that make pods from a template."""

from __future__ import annotations

from functools import partial

from flotilla.api.kinds import (
    controller_revisions,
    daemon_sets,
    deployments,
    replica_sets,
    stateful_sets,
    workload_columns,
)
from flotilla.api.kinds.resource import Resource, guarded

_apps = partial(
    Resource, group="apps", version="v1", namespaced=True, categories=("all",), subresources=("status", "scale")
)

CONTROLLER_REVISIONS = Resource(
    group="apps",
    version="v1",
    plural="controllerrevisions",
    singular="controllerrevision",
    kind="ControllerRevision",
    namespaced=True,
    definition="io.k8s.api.apps.v1.ControllerRevision",
    columns=workload_columns.CONTROLLER_REVISION_COLUMNS,
    strategy=guarded(controller_revisions.STRATEGY),
)
DAEMON_SETS = Resource(
    group="apps",
    version="v1",
    plural="daemonsets",
    singular="daemonset",
    kind="DaemonSet",
    namespaced=True,
    definition="io.k8s.api.apps.v1.DaemonSet",
    columns=workload_columns.DAEMON_SET_COLUMNS,
    strategy=guarded(daemon_sets.STRATEGY),
    short_names=("ds",),
    categories=("all",),
    subresources=("status",),
)
DEPLOYMENTS = _apps(
    plural="deployments",
    singular="deployment",
    kind="Deployment",
    definition="io.k8s.api.apps.v1.Deployment",
    columns=workload_columns.DEPLOYMENT_COLUMNS,
    strategy=guarded(deployments.STRATEGY),
    short_names=("deploy",),
)
REPLICA_SETS = _apps(
    plural="replicasets",
    singular="replicaset",
    kind="ReplicaSet",
    definition="io.k8s.api.apps.v1.ReplicaSet",
    columns=workload_columns.REPLICA_SET_COLUMNS,
    strategy=guarded(replica_sets.STRATEGY),
    short_names=("rs",),
)
STATEFUL_SETS = _apps(
    plural="statefulsets",
    singular="statefulset",
    kind="StatefulSet",
    definition="io.k8s.api.apps.v1.StatefulSet",
    columns=workload_columns.STATEFUL_SET_COLUMNS,
    strategy=guarded(stateful_sets.STRATEGY),
    short_names=("sts",),
)

ROWS = (CONTROLLER_REVISIONS, DAEMON_SETS, DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS)
