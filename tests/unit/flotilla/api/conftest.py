"""What the tests of the vocabulary share: objects as users write them, and the way of a write through a strategy."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from flotilla.api.errors import FieldError
from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource
from flotilla.api.resources import DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS, PODS, REPLICA_SETS, SERVICES

Written = Callable[..., KubeObject]
Faults = Callable[..., list[FieldError]]
Edited = Callable[..., KubeObject]


def _metadata(name: str) -> KubeObject:
    return {"name": name, "namespace": "default"}


def _template() -> KubeObject:
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}}


def _samples() -> dict[Resource, KubeObject]:
    selector = {"matchLabels": {"app": "web"}}
    target = {"type": "Utilization", "averageUtilization": 50}
    return {
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
