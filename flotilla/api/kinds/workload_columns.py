"""Deployment, ReplicaSet, and the kinds that only hold data: their table columns."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from flotilla.api.kinds.columns import AGE, NAME, WORKLOAD_DETAILS, column, spec_of, status_of
from flotilla.api.kinds.resource import Column
from flotilla.api.objects import KubeObject


def _status_number(name: str, field: str, description: str) -> Column:
    return column(name, lambda obj, now: status_of(obj).get(field, 0), description=description, type_="integer")


def _desired(obj: KubeObject, now: datetime) -> int:
    return int(spec_of(obj).get("replicas", 1))


def _ready_of_desired(obj: KubeObject, now: datetime) -> str:
    return f"{status_of(obj).get('readyReplicas', 0)}/{_desired(obj, now)}"


def _count_of(*fields: str) -> Callable[[KubeObject, datetime], int]:
    return lambda obj, now: sum(len(obj.get(field) or ()) for field in fields)


DEPLOYMENT_COLUMNS = (
    NAME,
    column("Ready", _ready_of_desired, description="Number of the pod with ready state."),
    _status_number("Up-to-date", "updatedReplicas", "Number of pods that have the desired template."),
    _status_number("Available", "availableReplicas", "Number of pods that have been ready for long enough."),
    AGE,
    *WORKLOAD_DETAILS,
)
REPLICA_SET_COLUMNS = (
    NAME,
    column("Desired", _desired, description="Number of desired pods.", type_="integer"),
    _status_number("Current", "replicas", "Number of pods."),
    _status_number("Ready", "readyReplicas", "Number of pods that are ready."),
    AGE,
    *WORKLOAD_DETAILS,
)
CONFIG_MAP_COLUMNS = (
    NAME,
    column("Data", _count_of("data", "binaryData"), description="Number of keys.", type_="integer"),
    AGE,
)
SECRET_COLUMNS = (
    NAME,
    column("Type", lambda obj, now: obj.get("type", ""), description="What kind of secret it is."),
    column("Data", _count_of("data"), description="Number of keys.", type_="integer"),
    AGE,
)
SERVICE_ACCOUNT_COLUMNS = (
    NAME,
    column("Secrets", _count_of("secrets"), description="Number of secrets that its pods may use.", type_="integer"),
    AGE,
)
LEASE_COLUMNS = (
    NAME,
    column("Holder", lambda obj, now: spec_of(obj).get("holderIdentity", ""), description="Who holds the lease."),
    AGE,
)
