"""The rows of the registry, one constant a kind, for code that needs a kind by name.

They are written group by group in :mod:`flotilla.api.rows`. Groups stand in Kubernetes' order of preference, kinds
within one in the order of their names, which is how discovery and ``kubectl api-resources`` list them.
"""

from __future__ import annotations

from flotilla.api.rows import apps, autoscaling, coordination, core, discovery
from flotilla.api.rows.apps import DEPLOYMENTS, REPLICA_SETS
from flotilla.api.rows.autoscaling import HORIZONTAL_POD_AUTOSCALERS
from flotilla.api.rows.coordination import LEASES
from flotilla.api.rows.core import (
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
from flotilla.api.rows.discovery import ENDPOINT_SLICES

__all__ = [
    "ALL",
    "CONFIG_MAPS",
    "DEPLOYMENTS",
    "ENDPOINTS",
    "ENDPOINT_SLICES",
    "EVENTS",
    "HORIZONTAL_POD_AUTOSCALERS",
    "LEASES",
    "NAMESPACES",
    "NODES",
    "PODS",
    "REPLICA_SETS",
    "SECRETS",
    "SERVICES",
    "SERVICE_ACCOUNTS",
]

ALL = (
    *core.ROWS,
    *apps.ROWS,
    *autoscaling.ROWS,
    *coordination.ROWS,
    *discovery.ROWS,
)
