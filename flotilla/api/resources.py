"""The rows of the registry, one constant a kind, for code that needs a kind by name.

They are written group by group in :mod:`flotilla.api.rows`. Groups stand in Kubernetes' order of preference, kinds
within one in the order of their names, which is how discovery and ``kubectl api-resources`` list them.
"""

from __future__ import annotations

from flotilla.api.rows import (
    apiextensions,
    apps,
    autoscaling,
    batch,
    certificates,
    coordination,
    core,
    discovery,
    events,
    networking,
    node,
    policy,
    rbac,
    scheduling,
    storage,
)
from flotilla.api.rows.apiextensions import CUSTOM_RESOURCE_DEFINITIONS
from flotilla.api.rows.apps import CONTROLLER_REVISIONS, DAEMON_SETS, DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS
from flotilla.api.rows.autoscaling import HORIZONTAL_POD_AUTOSCALERS, HORIZONTAL_POD_AUTOSCALERS_V1
from flotilla.api.rows.batch import CRON_JOBS, JOBS
from flotilla.api.rows.certificates import CERTIFICATE_SIGNING_REQUESTS
from flotilla.api.rows.coordination import LEASES
from flotilla.api.rows.core import (
    CONFIG_MAPS,
    ENDPOINTS,
    EVENTS,
    LIMIT_RANGES,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    POD_TEMPLATES,
    PODS,
    REPLICATION_CONTROLLERS,
    RESOURCE_QUOTAS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
)
from flotilla.api.rows.discovery import ENDPOINT_SLICES
from flotilla.api.rows.events import NEW_EVENTS
from flotilla.api.rows.networking import INGRESS_CLASSES, INGRESSES, IP_ADDRESSES, NETWORK_POLICIES, SERVICE_CIDRS
from flotilla.api.rows.node import RUNTIME_CLASSES
from flotilla.api.rows.policy import POD_DISRUPTION_BUDGETS
from flotilla.api.rows.rbac import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES
from flotilla.api.rows.scheduling import PRIORITY_CLASSES
from flotilla.api.rows.storage import (
    CSI_DRIVERS,
    CSI_NODES,
    CSI_STORAGE_CAPACITIES,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
    VOLUME_ATTRIBUTES_CLASSES,
)

__all__ = [
    "ALL",
    "CERTIFICATE_SIGNING_REQUESTS",
    "CLUSTER_ROLES",
    "CLUSTER_ROLE_BINDINGS",
    "CONFIG_MAPS",
    "CONTROLLER_REVISIONS",
    "CRON_JOBS",
    "CSI_DRIVERS",
    "CSI_NODES",
    "CSI_STORAGE_CAPACITIES",
    "CUSTOM_RESOURCE_DEFINITIONS",
    "DAEMON_SETS",
    "DEPLOYMENTS",
    "ENDPOINTS",
    "ENDPOINT_SLICES",
    "EVENTS",
    "HORIZONTAL_POD_AUTOSCALERS",
    "HORIZONTAL_POD_AUTOSCALERS_V1",
    "INGRESSES",
    "INGRESS_CLASSES",
    "IP_ADDRESSES",
    "JOBS",
    "LEASES",
    "LIMIT_RANGES",
    "NAMESPACES",
    "NETWORK_POLICIES",
    "NEW_EVENTS",
    "NODES",
    "PERSISTENT_VOLUMES",
    "PERSISTENT_VOLUME_CLAIMS",
    "PODS",
    "POD_DISRUPTION_BUDGETS",
    "POD_TEMPLATES",
    "PRIORITY_CLASSES",
    "REPLICATION_CONTROLLERS",
    "REPLICA_SETS",
    "RESOURCE_QUOTAS",
    "ROLES",
    "ROLE_BINDINGS",
    "RUNTIME_CLASSES",
    "SECRETS",
    "SERVICES",
    "SERVICE_ACCOUNTS",
    "SERVICE_CIDRS",
    "STATEFUL_SETS",
    "STORAGE_CLASSES",
    "VOLUME_ATTACHMENTS",
    "VOLUME_ATTRIBUTES_CLASSES",
]

ALL = (
    *core.ROWS,
    *apps.ROWS,
    *events.ROWS,
    *autoscaling.ROWS,
    *batch.ROWS,
    *certificates.ROWS,
    *networking.ROWS,
    *policy.ROWS,
    *rbac.ROWS,
    *storage.ROWS,
    *apiextensions.ROWS,
    *scheduling.ROWS,
    *coordination.ROWS,
    *node.ROWS,
    *discovery.ROWS,
)
