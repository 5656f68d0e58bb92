"""The rows of the registry, one constant a kind, for code that needs a kind by name."""

from __future__ import annotations

from typing import Any

from flotilla.api.kinds.metadata import (
    begin_generation,
    carry_generation,
    metadata_fields,
    no_defaults,
    no_warnings,
    prepare_plain,
    prepare_plain_update,
    validate_metadata_only,
)
from flotilla.api.kinds.resource import ALL_VERBS, Column, Resource, Strategy

_PLAIN = Strategy(
    no_defaults, validate_metadata_only, prepare_plain, prepare_plain_update, no_warnings, metadata_fields
)
_WITH_STATUS = Strategy(
    no_defaults,
    validate_metadata_only,
    begin_generation,
    carry_generation,
    no_warnings,
    metadata_fields,
    status_subresource=True,
)
_COLUMNS = (Column("Name", "string", "", 0, "name", lambda obj, now: obj["metadata"]["name"]),)


def _core(kind: str, plural: str, *, namespaced: bool = True, strategy: Strategy = _PLAIN, **more: Any) -> Resource:
    return Resource(
        group="",
        version="v1",
        plural=plural,
        singular=kind.lower(),
        kind=kind,
        namespaced=namespaced,
        definition=f"io.k8s.api.core.v1.{kind}",
        columns=_COLUMNS,
        strategy=strategy,
        **more,
    )


NAMESPACES = _core(
    "Namespace",
    "namespaces",
    namespaced=False,
    strategy=_WITH_STATUS,
    short_names=("ns",),
    subresources=("status", "finalize"),
    verbs=tuple(verb for verb in ALL_VERBS if verb != "deletecollection"),
)
NODES = _core("Node", "nodes", namespaced=False, strategy=_WITH_STATUS, short_names=("no",), subresources=("status",))
PODS = _core(
    "Pod",
    "pods",
    strategy=Strategy(
        no_defaults,
        validate_metadata_only,
        begin_generation,
        carry_generation,
        no_warnings,
        metadata_fields,
        graceful_deletion=True,
        status_subresource=True,
    ),
    short_names=("po",),
    categories=("all",),
    subresources=("status", "log", "binding"),
)
SERVICES = _core(
    "Service",
    "services",
    strategy=_WITH_STATUS,
    short_names=("svc",),
    categories=("all",),
    subresources=("status",),
)
ENDPOINTS = _core("Endpoints", "endpoints", short_names=("ep",))
CONFIG_MAPS = _core("ConfigMap", "configmaps", short_names=("cm",))
SECRETS = _core("Secret", "secrets")
SERVICE_ACCOUNTS = _core("ServiceAccount", "serviceaccounts", short_names=("sa",))
EVENTS = _core("Event", "events", short_names=("ev",))
DEPLOYMENTS = Resource(
    group="apps",
    version="v1",
    plural="deployments",
    singular="deployment",
    kind="Deployment",
    namespaced=True,
    definition="io.k8s.api.apps.v1.Deployment",
    columns=_COLUMNS,
    strategy=_WITH_STATUS,
    short_names=("deploy",),
    categories=("all",),
    subresources=("status", "scale"),
)
REPLICA_SETS = Resource(
    group="apps",
    version="v1",
    plural="replicasets",
    singular="replicaset",
    kind="ReplicaSet",
    namespaced=True,
    definition="io.k8s.api.apps.v1.ReplicaSet",
    columns=_COLUMNS,
    strategy=_WITH_STATUS,
    short_names=("rs",),
    categories=("all",),
    subresources=("status", "scale"),
)
ENDPOINT_SLICES = Resource(
    group="discovery.k8s.io",
    version="v1",
    plural="endpointslices",
    singular="endpointslice",
    kind="EndpointSlice",
    namespaced=True,
    definition="io.k8s.api.discovery.v1.EndpointSlice",
    columns=_COLUMNS,
    strategy=_PLAIN,
)
HORIZONTAL_POD_AUTOSCALERS = Resource(
    group="autoscaling",
    version="v2",
    plural="horizontalpodautoscalers",
    singular="horizontalpodautoscaler",
    kind="HorizontalPodAutoscaler",
    namespaced=True,
    definition="io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
    columns=_COLUMNS,
    strategy=_WITH_STATUS,
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
    columns=_COLUMNS,
    strategy=_PLAIN,
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
