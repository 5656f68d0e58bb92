"""The status that a new object has before anything was observed: clients read the counts that are always there."""

from __future__ import annotations

import pytest

from flotilla.api.kinds.resource import Resource
from flotilla.api.objects import KubeObject
from flotilla.api.resources import (
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    HORIZONTAL_POD_AUTOSCALERS,
    JOBS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    RESOURCE_QUOTAS,
    SERVICES,
    STATEFUL_SETS,
)

NEW = [
    (CRON_JOBS, {}),
    (
        DAEMON_SETS,
        {"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0},
    ),
    (DEPLOYMENTS, {}),
    (HORIZONTAL_POD_AUTOSCALERS, {"currentReplicas": 0, "desiredReplicas": 0}),
    (JOBS, {}),
    (REPLICA_SETS, {"replicas": 0}),
    (REPLICATION_CONTROLLERS, {"replicas": 0}),
    (RESOURCE_QUOTAS, {}),
    (SERVICES, {"loadBalancer": {}}),
    (STATEFUL_SETS, {"replicas": 0, "availableReplicas": 0}),
]


@pytest.mark.parametrize(
    ("resource", "status"), NEW, ids=lambda value: value.plural if hasattr(value, "plural") else ""
)
def test_a_new_object_has_the_status_of_its_kind(resource: Resource, status: KubeObject) -> None:
    """Whatever its author wrote there is dropped; two objects never share it."""
    first: KubeObject = {"metadata": {"uid": "u"}, "status": {"replicas": 7}, "spec": {"template": {}}}
    second: KubeObject = {"metadata": {"uid": "v"}, "spec": {"template": {}}}
    for obj in (first, second):
        resource.strategy.prepare_for_create(obj)
        assert obj["status"] == status
    assert first["status"] is not second["status"]
