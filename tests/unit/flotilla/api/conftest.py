"""What the tests of the vocabulary share: objects as users write them, and the way of a write through a strategy."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from flotilla.api.errors import FieldError
from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource
from flotilla.api.resources import (
    CONTROLLER_REVISIONS,
    CRON_JOBS,
    CUSTOM_RESOURCE_DEFINITIONS,
    DAEMON_SETS,
    DEPLOYMENTS,
    HORIZONTAL_POD_AUTOSCALERS,
    HORIZONTAL_POD_AUTOSCALERS_V1,
    JOBS,
    LIMIT_RANGES,
    NEW_EVENTS,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    POD_TEMPLATES,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    SERVICES,
    STATEFUL_SETS,
)

Written = Callable[..., KubeObject]
Faults = Callable[..., list[FieldError]]
Edited = Callable[..., KubeObject]


def _metadata(name: str) -> KubeObject:
    return {"name": name, "namespace": "default"}


def _template() -> KubeObject:
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}}


def _job_template() -> KubeObject:
    return {"spec": {"restartPolicy": "Never", "containers": [{"name": "work", "image": "work:1"}]}}


def _batch_samples() -> dict[Resource, KubeObject]:
    job_spec = {"template": _job_template()}
    return {
        JOBS: {"metadata": _metadata("web") | {"uid": "u-1"}, "spec": job_spec},
        CRON_JOBS: {
            "metadata": _metadata("web"),
            "spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": job_spec}},
        },
    }


def _view_samples() -> dict[Resource, KubeObject]:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    return {
        HORIZONTAL_POD_AUTOSCALERS_V1: {
            "metadata": _metadata("web"),
            "spec": {"scaleTargetRef": target, "maxReplicas": 8},
        },
        NEW_EVENTS: {"metadata": _metadata("web"), "eventTime": "2026-01-01T00:00:00.000000Z"},
    }


def _claim_spec() -> KubeObject:
    return {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


def _definition() -> KubeObject:
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}}
    return {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
    }


def _stored_samples() -> dict[Resource, KubeObject]:
    selector = {"matchLabels": {"app": "web"}}
    volume = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/srv"}}
    claim = {"metadata": {"name": "data"}, "spec": _claim_spec()}
    limits = [{"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "100m"}}]
    return {
        STATEFUL_SETS: {
            "metadata": _metadata("web"),
            "spec": {
                "serviceName": "web",
                "selector": selector,
                "template": _template(),
                "volumeClaimTemplates": [claim],
            },
        },
        DAEMON_SETS: {"metadata": _metadata("web"), "spec": {"selector": selector, "template": _template()}},
        REPLICATION_CONTROLLERS: {"metadata": _metadata("web"), "spec": {"template": _template()}},
        CONTROLLER_REVISIONS: {"metadata": _metadata("web"), "revision": 1, "data": {"spec": {}}},
        POD_TEMPLATES: {"metadata": _metadata("web"), "template": _template()},
        PERSISTENT_VOLUME_CLAIMS: {"metadata": _metadata("web"), "spec": _claim_spec()},
        PERSISTENT_VOLUMES: {"metadata": _metadata("web"), "spec": volume},
        LIMIT_RANGES: {"metadata": _metadata("web"), "spec": {"limits": limits}},
    }


def _samples() -> dict[Resource, KubeObject]:
    selector = {"matchLabels": {"app": "web"}}
    target = {"type": "Utilization", "averageUtilization": 50}
    return {
        **_batch_samples(),
        **_stored_samples(),
        **_view_samples(),
        CUSTOM_RESOURCE_DEFINITIONS: {"metadata": {"name": "widgets.example.com"}, "spec": _definition()},
        PODS: {"metadata": _metadata("web"), "spec": _template()["spec"]},
        DEPLOYMENTS: {"metadata": _metadata("web"), "spec": {"selector": selector, "template": _template()}},
        REPLICA_SETS: {"metadata": _metadata("web"), "spec": {"selector": selector, "template": _template()}},
        SERVICES: {"metadata": _metadata("web"), "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}},
        HORIZONTAL_POD_AUTOSCALERS: {
            "metadata": _metadata("web"),
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "maxReplicas": 8,
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
            },
        },
    }


@pytest.fixture
def sample() -> Callable[[Resource], KubeObject]:
    """A small valid object of a kind, not yet defaulted."""

    def make(resource: Resource) -> KubeObject:
        obj = copy.deepcopy(_samples().get(resource) or {"metadata": _metadata("web")})
        return {"apiVersion": resource.api_version, "kind": resource.kind, **obj}

    return make


@pytest.fixture
def edited() -> Edited:
    """A copy with one value set, or with None removed; list items are addressed by number: ``spec.ports.0.port``."""

    def edit(obj: KubeObject, path: str, value: Any) -> KubeObject:
        result = copy.deepcopy(obj)
        steps = [int(step) if step.isdecimal() else step for step in path.split(".")]
        holder: Any = result
        for step in steps[:-1]:
            holder = holder[step] if isinstance(step, int) else holder.setdefault(step, {})
        if value is None:
            holder.pop(steps[-1], None)
        else:
            holder[steps[-1]] = value
        return result

    return edit


@pytest.fixture
def written() -> Written:
    """The object as the server would store it: defaulted and prepared."""

    def write(resource: Resource, obj: KubeObject, old: KubeObject | None = None) -> KubeObject:
        result = copy.deepcopy(obj)
        resource.strategy.default(result)
        if old is None:
            resource.strategy.prepare_for_create(result)
        else:
            resource.strategy.prepare_for_update(result, old)
        return result

    return write


@pytest.fixture
def faults(written: Written) -> Faults:
    """What a write of the object is refused for."""

    def find(resource: Resource, obj: KubeObject, old: KubeObject | None = None) -> list[FieldError]:
        return resource.strategy.validate(written(resource, obj, old), old)

    return find
