"""The core group: what pods are made of, what they run on, and what stands beside them."""

from __future__ import annotations

from functools import partial

from flotilla.api.kinds import (
    config_maps,
    endpoints,
    event_columns,
    events,
    namespaces,
    node_columns,
    nodes,
    pod_columns,
    pods,
    secrets,
    service_accounts,
    service_columns,
    services,
    workload_columns,
)
from flotilla.api.kinds.resource import ALL_VERBS, Resource, guarded

_core = partial(Resource, group="", version="v1", namespaced=True)

CONFIG_MAPS = _core(
    plural="configmaps",
    singular="configmap",
    kind="ConfigMap",
    definition="io.k8s.api.core.v1.ConfigMap",
    columns=workload_columns.CONFIG_MAP_COLUMNS,
    strategy=guarded(config_maps.STRATEGY),
    short_names=("cm",),
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
EVENTS = _core(
    plural="events",
    singular="event",
    kind="Event",
    definition="io.k8s.api.core.v1.Event",
    columns=event_columns.COLUMNS,
    strategy=guarded(events.STRATEGY),
    short_names=("ev",),
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

ROWS = (
    CONFIG_MAPS,
    ENDPOINTS,
    EVENTS,
    NAMESPACES,
    NODES,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
)
