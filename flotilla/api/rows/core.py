"""The core group: what pods are made of, what they run on, and what stands beside them."""

from __future__ import annotations

from functools import partial

from flotilla.api.kinds import (
    claims,
    config_maps,
    data_columns,
    endpoints,
    event_columns,
    events,
    limit_ranges,
    namespaces,
    node_columns,
    nodes,
    persistent_volumes,
    pod_columns,
    pods,
    replication_controllers,
    resource_quotas,
    secrets,
    service_accounts,
    service_columns,
    services,
    stored_templates,
    volume_columns,
    workload_columns,
)
from flotilla.api.kinds.resource import ALL_VERBS, Resource, guarded

_core = partial(Resource, group="", version="v1", namespaced=True)

CONFIG_MAPS = _core(
    plural="configmaps",
    singular="configmap",
    kind="ConfigMap",
    definition="io.k8s.api.core.v1.ConfigMap",
    columns=data_columns.CONFIG_MAP_COLUMNS,
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
    deprecation="v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
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
LIMIT_RANGES = _core(
    plural="limitranges",
    singular="limitrange",
    kind="LimitRange",
    definition="io.k8s.api.core.v1.LimitRange",
    columns=volume_columns.LIMIT_RANGE_COLUMNS,
    strategy=guarded(limit_ranges.STRATEGY),
    short_names=("limits",),
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
    subresources=("status", "proxy"),
)
PERSISTENT_VOLUME_CLAIMS = _core(
    plural="persistentvolumeclaims",
    singular="persistentvolumeclaim",
    kind="PersistentVolumeClaim",
    definition="io.k8s.api.core.v1.PersistentVolumeClaim",
    columns=volume_columns.PERSISTENT_VOLUME_CLAIM_COLUMNS,
    strategy=guarded(claims.STRATEGY),
    short_names=("pvc",),
    subresources=("status",),
)
PERSISTENT_VOLUMES = Resource(
    group="",
    version="v1",
    plural="persistentvolumes",
    singular="persistentvolume",
    kind="PersistentVolume",
    namespaced=False,
    definition="io.k8s.api.core.v1.PersistentVolume",
    columns=volume_columns.PERSISTENT_VOLUME_COLUMNS,
    strategy=guarded(persistent_volumes.STRATEGY),
    short_names=("pv",),
    subresources=("status",),
)
POD_TEMPLATES = _core(
    plural="podtemplates",
    singular="podtemplate",
    kind="PodTemplate",
    definition="io.k8s.api.core.v1.PodTemplate",
    columns=workload_columns.POD_TEMPLATE_COLUMNS,
    strategy=guarded(stored_templates.STRATEGY),
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
    subresources=(
        "status",
        "log",
        "attach",
        "binding",
        "ephemeralcontainers",
        "eviction",
        "exec",
        "portforward",
        "resize",
    ),
)
REPLICATION_CONTROLLERS = _core(
    plural="replicationcontrollers",
    singular="replicationcontroller",
    kind="ReplicationController",
    definition="io.k8s.api.core.v1.ReplicationController",
    columns=workload_columns.REPLICATION_CONTROLLER_COLUMNS,
    strategy=guarded(replication_controllers.STRATEGY),
    short_names=("rc",),
    categories=("all",),
    subresources=("status", "scale"),
)
RESOURCE_QUOTAS = _core(
    plural="resourcequotas",
    singular="resourcequota",
    kind="ResourceQuota",
    definition="io.k8s.api.core.v1.ResourceQuota",
    columns=volume_columns.RESOURCE_QUOTA_COLUMNS,
    strategy=guarded(resource_quotas.STRATEGY),
    short_names=("quota",),
    subresources=("status",),
)
SECRETS = _core(
    plural="secrets",
    singular="secret",
    kind="Secret",
    definition="io.k8s.api.core.v1.Secret",
    columns=data_columns.SECRET_COLUMNS,
    strategy=guarded(secrets.STRATEGY),
)
SERVICE_ACCOUNTS = _core(
    plural="serviceaccounts",
    singular="serviceaccount",
    kind="ServiceAccount",
    definition="io.k8s.api.core.v1.ServiceAccount",
    columns=data_columns.SERVICE_ACCOUNT_COLUMNS,
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
    LIMIT_RANGES,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    POD_TEMPLATES,
    REPLICATION_CONTROLLERS,
    RESOURCE_QUOTAS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
)
