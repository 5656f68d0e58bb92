"""Field selectors find objects by the fields of Kubernetes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flotilla.api.objects import KubeObject
from flotilla.api.registry import REGISTRY, Resource
from flotilla.api.resources import EVENTS, NAMESPACES, NODES, PODS, REPLICA_SETS, SECRETS
from flotilla.api.selectors import parse_field_selector

Sample = Callable[[Resource], KubeObject]
_ABOUT = {"kind": "Pod", "name": "web", "namespace": "default", "uid": "1"}
CASES: list[tuple[Resource, KubeObject, str, bool]] = [
    (PODS, {"spec": {"nodeName": "n"}}, "spec.nodeName=n", True),
    (PODS, {"spec": {}}, "spec.nodeName=", True),
    (PODS, {"spec": {}, "status": {"phase": "Running"}}, "status.phase!=Running", False),
    (PODS, {"spec": {"hostNetwork": True}}, "spec.hostNetwork=true", True),
    (EVENTS, {"involvedObject": _ABOUT}, "involvedObject.kind=Pod,involvedObject.uid=1", True),
    (EVENTS, {"involvedObject": _ABOUT, "type": "Normal"}, "type=Warning", False),
    (EVENTS, {"involvedObject": _ABOUT, "source": {"component": "agent"}}, "source=agent", True),
    (SECRETS, {"type": "Opaque"}, "type=Opaque", True),
    (NAMESPACES, {"status": {"phase": "Active"}}, "status.phase=Active", True),
    (NODES, {"spec": {}}, "spec.unschedulable=false", True),
    (REPLICA_SETS, {"status": {"replicas": 2}}, "status.replicas=2", True),
]


@pytest.mark.parametrize(("resource", "body", "selector", "expected"), CASES)
def test_fields(sample: Sample, resource: Resource, body: KubeObject, selector: str, expected: bool) -> None:
    """A selector on a field of the kind must decide by its value."""
    fields = resource.strategy.selectable_fields(sample(resource) | body)
    parsed = parse_field_selector(selector)
    assert parsed.fields <= fields.keys()
    assert parsed.matches(fields) is expected


@pytest.mark.parametrize("resource", REGISTRY.all(), ids=repr)
def test_all_kinds_have_name_and_namespace(sample: Sample, resource: Resource) -> None:
    """Every kind must be selectable by its name and namespace, and all values must be strings."""
    obj = sample(resource)
    fields = resource.strategy.selectable_fields(obj)
    where = (obj["metadata"]["name"], obj["metadata"].get("namespace", ""))
    assert (fields["metadata.name"], fields["metadata.namespace"]) == where
    assert all(isinstance(value, str) for value in fields.values())
