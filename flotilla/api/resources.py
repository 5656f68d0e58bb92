"""The rows of the registry, one constant a kind, for code that needs a kind by name."""

from __future__ import annotations

from functools import partial

from flotilla.api.kinds import (
    autoscaler_columns,
    autoscalers,
    config_maps,
    deployments,
    endpoints,
    event_columns,
    events,
    leases,
    namespaces,
    node_columns,
    nodes,
    pod_columns,
    pods,
    replica_sets,
    secrets,
    service_accounts,
    service_columns,
    services,
    workload_columns,
)
from flotilla.api.kinds.resource import ALL_VERBS, Resource, guarded

_core = partial(Resource, group="", version="v1", namespaced=True)
_apps = partial(
    Resource, group="apps", version="v1", namespaced=True, categories=("all",), subresources=("status", "scale")
)

NAMESPACES = Resource(
    group="",
    version="v1",
    plural="namespaces",
    singular="namespace",
    kind="Namespace",
    namespaced=False,
    definition="io.k8s.api.core.v1.Namespace",
    columns=node_columns.NAMESPACE_COLUMNS,
    strategy=guarded(namespaces.STRATEGY),
    short_names=("ns",),
    subresources=("status", "finalize"),
    verbs=tuple(verb for verb in ALL_VERBS if verb != "deletecollection"),
)
NODES = Resource(
    group="",
    version="v1",
    plural="nodes",
    singular="node",
    kind="Node",
    namespaced=False,
    definition="io.k8s.api.core.v1.Node",
    columns=node_columns.NODE_COLUMNS,
    strategy=guarded(nodes.STRATEGY),
    short_names=("no",),
    subresources=("status",),
)
PODS = _core(
    plural="pods",
    singular="pod",
    kind="Pod",
    definition="io.k8s.api.core.v1.Pod",
    columns=pod_columns.COLUMNS,
    strategy=guarded(pods.STRATEGY),
    short_names=("po",),
    categories=("all",),
    subresources=("status", "log", "binding"),
)
SERVICES = _core(
    plural="services",
    singular="service",
    kind="Service",
    definition="io.k8s.api.core.v1.Service",
    columns=service_columns.SERVICE_COLUMNS,
    strategy=guarded(services.STRATEGY),
    short_names=("svc",),
    categories=("all",),
    subresources=("status",),
)
ENDPOINTS = _core(
    plural="endpoints",
    singular="endpoints",
    kind="Endpoints",
    definition="io.k8s.api.core.v1.Endpoints",
    columns=service_columns.ENDPOINTS_COLUMNS,
    strategy=guarded(endpoints.ENDPOINTS_STRATEGY),
    short_names=("ep",),
)
CONFIG_MAPS = _core(
    plural="configmaps",
    singular="configmap",
    kind="ConfigMap",
    definition="io.k8s.api.core.v1.ConfigMap",
    columns=workload_columns.CONFIG_MAP_COLUMNS,
    strategy=guarded(config_maps.STRATEGY),
    short_names=("cm",),
)
SECRETS = _core(
    plural="secrets",
    singular="secret",
    kind="Secret",
    definition="io.k8s.api.core.v1.Secret",
    columns=workload_columns.SECRET_COLUMNS,
    strategy=guarded(secrets.STRATEGY),
)
SERVICE_ACCOUNTS = _core(
    plural="serviceaccounts",
    singular="serviceaccount",
    kind="ServiceAccount",
    definition="io.k8s.api.core.v1.ServiceAccount",
    columns=workload_columns.SERVICE_ACCOUNT_COLUMNS,
    strategy=guarded(service_accounts.STRATEGY),
    short_names=("sa",),
)
EVENTS = _core(
    plural="events",
    singular="event",
    kind="Event",
    definition="io.k8s.api.core.v1.Event",
    columns=event_columns.COLUMNS,
    strategy=guarded(events.STRATEGY),
    short_names=("ev",),
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
ENDPOINT_SLICES = Resource(
    group="discovery.k8s.io",
    version="v1",
    plural="endpointslices",
    singular="endpointslice",
    kind="EndpointSlice",
    namespaced=True,
    definition="io.k8s.api.discovery.v1.EndpointSlice",
    columns=service_columns.SLICE_COLUMNS,
    strategy=guarded(endpoints.SLICE_STRATEGY),
)
HORIZONTAL_POD_AUTOSCALERS = Resource(
    group="autoscaling",
    version="v2",
    plural="horizontalpodautoscalers",
    singular="horizontalpodautoscaler",
    kind="HorizontalPodAutoscaler",
    namespaced=True,
    definition="io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
    columns=autoscaler_columns.COLUMNS,
    strategy=guarded(autoscalers.STRATEGY),
    short_names=("hpa",),
    categories=("all",),
    subresources=("status",),
)
LEASES = Resource(
    group="coordination.k8s.io",
    version="v1",
    plural="leases",
    singular="lease",
    kind="Lease",
    namespaced=True,
    definition="io.k8s.api.coordination.v1.Lease",
    columns=workload_columns.LEASE_COLUMNS,
    strategy=guarded(leases.STRATEGY),
)

ALL = (
    NAMESPACES,
    NODES,
    PODS,
    SERVICES,
    ENDPOINTS,
    CONFIG_MAPS,
    SECRETS,
    SERVICE_ACCOUNTS,
    EVENTS,
    DEPLOYMENTS,
    REPLICA_SETS,
    ENDPOINT_SLICES,
    HORIZONTAL_POD_AUTOSCALERS,
    LEASES,
)
