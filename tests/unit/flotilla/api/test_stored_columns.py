"""Tables of workloads, jobs, volumes and quotas say what kubectl's users know."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource
from flotilla.api.resources import (
    CONTROLLER_REVISIONS,
    CRON_JOBS,
    DAEMON_SETS,
    JOBS,
    LIMIT_RANGES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    POD_TEMPLATES,
    REPLICATION_CONTROLLERS,
    RESOURCE_QUOTAS,
    STATEFUL_SETS,
)

Sample = Callable[[Resource], KubeObject]
Written = Callable[..., KubeObject]
NOW = datetime(2026, 1, 1, 0, 10, tzinfo=UTC)
_TEN_MINUTES_AGO = "2026-01-01T00:00:00Z"
_FIVE_SECONDS_AGO = "2026-01-01T00:09:55Z"
_DETAILS = "Containers Images Selector"

HEADERS: list[tuple[Resource, str, str]] = [
    (STATEFUL_SETS, "Name Ready Age", "Containers Images"),
    (DAEMON_SETS, "Name Desired Current Ready Up-to-date Available Node Selector Age", _DETAILS),
    (REPLICATION_CONTROLLERS, "Name Desired Current Ready Age", _DETAILS),
    (CONTROLLER_REVISIONS, "Name Controller Revision Age", ""),
    (POD_TEMPLATES, "Name Containers Images Pod Labels", ""),
    (JOBS, "Name Status Completions Duration Age", _DETAILS),
    (CRON_JOBS, "Name Schedule Timezone Suspend Active Last Schedule Age", _DETAILS),
    (
        PERSISTENT_VOLUMES,
        "Name Capacity Access Modes Reclaim Policy Status Claim StorageClass VolumeAttributesClass Reason Age",
        "VolumeMode",
    ),
    (
        PERSISTENT_VOLUME_CLAIMS,
        "Name Status Volume Capacity Access Modes StorageClass VolumeAttributesClass Age",
        "VolumeMode",
    ),
    (RESOURCE_QUOTAS, "Name Request Limit Age", ""),
    (LIMIT_RANGES, "Name Created At", ""),
]


@pytest.mark.parametrize(("resource", "shown", "wide"), HEADERS, ids=[repr(case[0]) for case in HEADERS])
def test_headers(resource: Resource, shown: str, wide: str) -> None:
    """A kind must have the columns of Kubernetes, in order, at the same priority."""
    by_priority = [[column.name for column in resource.columns if column.priority == level] for level in (0, 1)]
    assert " ".join(by_priority[0]) == shown
    assert " ".join(by_priority[1]) == wide


def _row(resource: Resource, obj: KubeObject) -> dict[str, Any]:
    obj["metadata"].setdefault("creationTimestamp", _TEN_MINUTES_AGO)
    return {column.name: column.value(obj, NOW) for column in resource.columns}


def test_stateful_set_row(sample: Sample, written: Written) -> None:
    """Ready pods must be shown of the desired ones."""
    row = _row(STATEFUL_SETS, written(STATEFUL_SETS, sample(STATEFUL_SETS)) | {"status": {"readyReplicas": 1}})
    assert (row["Ready"], row["Age"], row["Images"]) == ("1/1", "10m", "web:1")


def test_daemon_set_row(sample: Sample) -> None:
    """Counts must come from the status, the node selector from the template."""
    daemon_set = sample(DAEMON_SETS) | {"status": {"desiredNumberScheduled": 3, "numberReady": 2}}
    daemon_set["spec"]["template"]["spec"]["nodeSelector"] = {"disk": "ssd"}
    row = _row(DAEMON_SETS, daemon_set)
    assert (row["Desired"], row["Current"], row["Ready"], row["Node Selector"]) == (3, 0, 2, "disk=ssd")


def test_controller_of_a_revision(sample: Sample) -> None:
    """The controller must be shown by kind, group and name."""
    revision = sample(CONTROLLER_REVISIONS)
    assert _row(CONTROLLER_REVISIONS, revision)["Controller"] == "<none>"
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "controller": True}
    revision["metadata"]["ownerReferences"] = [owner]
    assert _row(CONTROLLER_REVISIONS, revision)["Controller"] == "statefulset.apps/db"


JOB_ROWS: list[tuple[KubeObject, tuple[str, str, str]]] = [
    ({}, ("Running", "0/1", "")),
    ({"startTime": _FIVE_SECONDS_AGO}, ("Running", "0/1", "5s")),
    ({"conditions": [{"type": "Suspended", "status": "True"}]}, ("Suspended", "0/1", "")),
    (
        {
            "conditions": [
                {"type": "SuccessCriteriaMet", "status": "True"},
                {"type": "Complete", "status": "True"},
            ],
            "succeeded": 1,
            "startTime": _TEN_MINUTES_AGO,
            "completionTime": "2026-01-01T00:00:30Z",
        },
        ("Complete", "1/1", "30s"),
    ),
    ({"conditions": [{"type": "FailureTarget", "status": "True"}]}, ("FailureTarget", "0/1", "")),
]


@pytest.mark.parametrize(("status", "cells"), JOB_ROWS)
def test_job_rows(sample: Sample, written: Written, status: KubeObject, cells: tuple[str, str, str]) -> None:
    """The word for a job must be its most final condition, its duration end with it."""
    row = _row(JOBS, written(JOBS, sample(JOBS)) | {"status": status})
    assert (row["Status"], row["Completions"], row["Duration"]) == cells


def test_a_work_queue_shows_its_parallelism(sample: Sample, written: Written) -> None:
    """A job without a number of completions must show how many pods work on it."""
    job = sample(JOBS)
    job["spec"]["parallelism"] = 3
    assert _row(JOBS, written(JOBS, job))["Completions"] == "0/1 of 3"


def test_cron_job_row(sample: Sample, written: Written) -> None:
    """A schedule must be shown with its zone, its running jobs and its last start."""
    cron_job = written(CRON_JOBS, sample(CRON_JOBS))
    row = _row(CRON_JOBS, cron_job)
    assert (row["Timezone"], row["Suspend"], row["Active"], row["Last Schedule"]) == ("<none>", "False", 0, "<none>")
    cron_job["spec"] |= {"timeZone": "Etc/UTC", "suspend": True}
    cron_job["status"] = {"active": [{}], "lastScheduleTime": _FIVE_SECONDS_AGO}
    row = _row(CRON_JOBS, cron_job)
    assert (row["Timezone"], row["Suspend"], row["Active"], row["Last Schedule"]) == ("Etc/UTC", "True", 1, "5s")
    assert (row["Containers"], row["Selector"]) == ("work", "<none>")


def test_volume_rows(sample: Sample, written: Written) -> None:
    """Sizes, modes and what is bound to what must be shown as Kubernetes abbreviates them."""
    volume = written(PERSISTENT_VOLUMES, sample(PERSISTENT_VOLUMES))
    volume["spec"] |= {"claimRef": {"namespace": "a", "name": "b"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"]}
    row = _row(PERSISTENT_VOLUMES, volume)
    assert (row["Capacity"], row["Access Modes"], row["Claim"], row["VolumeMode"]) == (
        "1Gi",
        "RWO,RWX",
        "a/b",
        "Filesystem",
    )
    claim = written(PERSISTENT_VOLUME_CLAIMS, sample(PERSISTENT_VOLUME_CLAIMS))
    row = _row(PERSISTENT_VOLUME_CLAIMS, claim)
    assert (row["Status"], row["Volume"], row["Capacity"], row["Access Modes"]) == ("Pending", "", "", "")
    claim["spec"]["volumeName"] = "v"
    claim["status"] = {"phase": "Bound", "capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOncePod"]}
    row = _row(PERSISTENT_VOLUME_CLAIMS, claim)
    assert (row["Status"], row["Volume"], row["Capacity"], row["Access Modes"]) == ("Bound", "v", "2Gi", "RWOP")
    claim["metadata"]["deletionTimestamp"] = _FIVE_SECONDS_AGO
    assert _row(PERSISTENT_VOLUME_CLAIMS, claim)["Status"] == "Terminating"


def test_quota_row(sample: Sample) -> None:
    """Used and hard amounts must be shown, limits apart from requests."""
    status = {"hard": {"pods": "4", "limits.cpu": "2", "cpu": "1"}, "used": {"pods": "1", "limits.cpu": "500m"}}
    row = _row(RESOURCE_QUOTAS, sample(RESOURCE_QUOTAS) | {"status": status})
    assert (row["Request"], row["Limit"]) == ("cpu: 0/1, pods: 1/4", "limits.cpu: 500m/2")
