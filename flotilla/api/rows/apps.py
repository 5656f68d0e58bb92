"""``apps``: the workloads that make pods from a template."""

from __future__ import annotations

from functools import partial

from flotilla.api.kinds import deployments, replica_sets, workload_columns
from flotilla.api.kinds.resource import Resource, guarded

_apps = partial(
    Resource, group="apps", version="v1", namespaced=True, categories=("all",), subresources=("status", "scale")
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

ROWS = (DEPLOYMENTS, REPLICA_SETS)
