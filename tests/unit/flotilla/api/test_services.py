"""Services: defaults, faults, and what an update keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flotilla.api.errors import FieldError
from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource
from flotilla.api.resources import SERVICES

Sample = Callable[[Resource], KubeObject]
Edited = Callable[[KubeObject, str, Any], KubeObject]
Faults = Callable[..., list[FieldError]]
Written = Callable[..., KubeObject]


@pytest.fixture
def node_port(sample: Sample, edited: Edited, written: Written) -> KubeObject:
    """A stored NodePort Service with its allocations."""
    service = written(SERVICES, edited(sample(SERVICES), "spec.type", "NodePort"))
    service["spec"]["ports"][0]["nodePort"] = 30080
    service["spec"] |= {"clusterIP": "10.43.0.5", "clusterIPs": ["10.43.0.5"]}
    return service


def test_defaults(sample: Sample, written: Written) -> None:
    """A minimal Service must come out complete but for its address."""
    assert written(SERVICES, sample(SERVICES))["spec"] == {
        "selector": {"app": "web"},
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "internalTrafficPolicy": "Cluster",
        "ipFamilyPolicy": "SingleStack",
        "ipFamilies": ["IPv4"],
    }


def test_affinity_has_a_timeout(sample: Sample, edited: Edited, written: Written) -> None:
    """Session affinity lasts three hours unless it says otherwise."""
    spec = written(SERVICES, edited(sample(SERVICES), "spec.sessionAffinity", "ClientIP"))["spec"]
    assert spec["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}


CASES: list[tuple[str, Any, str, str]] = [
    ("spec.type", "Ingress", "spec.type", 'supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"'),
    ("spec.ports", None, "spec.ports", "Required value"),
    ("spec.ports", [{"port": 80, "name": "a"}, {"port": 81}], "spec.ports[1].name", "Required value"),
    ("spec.ports", [{"port": 80, "name": "a"}, {"port": 81, "name": "a"}], "spec.ports[1].name", "Duplicate value"),
    ("spec.ports", [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}], "spec.ports[1]", "Duplicate value"),
    ("spec.ports", [{"port": 70000, "targetPort": 80}], "spec.ports[0].port", "must be between 1 and 65535"),
    ("spec.ports.0.protocol", "HTTP", "spec.ports[0].protocol", "Unsupported value"),
    ("spec.ports.0.targetPort", "Web!", "spec.ports[0].targetPort", "must contain only alpha-numeric"),
    ("spec.ports.0.nodePort", 30000, "spec.ports[0].nodePort", "may not be used when `type` is 'ClusterIP'"),
    ("spec.clusterIP", "10.43", "spec.clusterIP", "must be a valid IPv4 address"),
    ("spec.ipFamilies", ["IPv6"], "spec.ipFamilies[0]", "not configured on this cluster"),
    ("spec.sessionAffinity", "Cookie", "spec.sessionAffinity", "Unsupported value"),
    ("spec.externalTrafficPolicy", "Local", "spec.externalTrafficPolicy", "externally-accessible services"),
    ("spec.selector", {"a": "b c"}, "spec.selector", "a valid label must be"),
]


@pytest.mark.parametrize(("path", "value", "field", "message"), CASES)
def test_faults(
    sample: Sample, edited: Edited, faults: Faults, path: str, value: Any, field: str, message: str
) -> None:
    """A wrong value must be reported at its path."""
    errors = faults(SERVICES, edited(sample(SERVICES), path, value))
    assert {error.field for error in errors} == {field}
    assert message in errors[0].message


@pytest.mark.parametrize(
    "spec",
    [
        {"clusterIP": "None", "selector": {"a": "b"}},
        {"type": "ExternalName", "externalName": "example.com."},
        {"type": "NodePort", "ports": [{"port": 80, "nodePort": 32767, "targetPort": "http"}]},
        {"type": "LoadBalancer", "ports": [{"port": 80}], "externalTrafficPolicy": "Local"},
        {"ports": [{"port": 53, "name": "a"}, {"port": 53, "name": "b", "protocol": "UDP"}]},
    ],
)
def test_valid_services(sample: Sample, faults: Faults, spec: KubeObject) -> None:
    """What Kubernetes accepts must be accepted."""
    assert faults(SERVICES, sample(SERVICES) | {"spec": spec}) == []


def test_node_ports_have_a_range(sample: Sample, faults: Faults) -> None:
    """A node port outside the range must be refused with the range."""
    spec = {"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]}
    (error,) = faults(SERVICES, sample(SERVICES) | {"spec": spec})
    assert "The range of valid ports is 30000-32767" in error.message


def test_an_update_keeps_allocations(sample: Sample, edited: Edited, written: Written, node_port: KubeObject) -> None:
    """Replacing a Service by the manifest that made it must keep its address and node port."""
    manifest = edited(sample(SERVICES), "spec.type", "NodePort")
    assert written(SERVICES, manifest, node_port)["spec"] == node_port["spec"]


def test_a_set_cluster_ip_may_not_change(edited: Edited, faults: Faults, node_port: KubeObject) -> None:
    """The address that clients know must stay."""
    new = edited(edited(node_port, "spec.clusterIP", "10.43.0.6"), "spec.clusterIPs", ["10.43.0.6"])
    (error,) = faults(SERVICES, new, node_port)
    assert (error.field, "may not change once set" in error.message) == ("spec.clusterIPs[0]", True)


def test_changes_of_type(edited: Edited, faults: Faults, written: Written, node_port: KubeObject) -> None:
    """A Service must lose what only its old type had, and be valid afterwards."""
    inner = written(SERVICES, edited(node_port, "spec.type", "ClusterIP"), node_port)
    assert "nodePort" not in inner["spec"]["ports"][0]
    assert "externalTrafficPolicy" not in inner["spec"]
    assert inner["spec"]["clusterIP"] == "10.43.0.5"
    alias = edited(edited(node_port, "spec.type", "ExternalName"), "spec.externalName", "example.com")
    assert "clusterIP" not in written(SERVICES, alias, node_port)["spec"]
    assert faults(SERVICES, alias, node_port) == []


def test_warnings(sample: Sample, edited: Edited) -> None:
    """What no part of this version carries out must be told."""
    service = edited(edited(sample(SERVICES), "spec.type", "LoadBalancer"), "spec.trafficDistribution", "PreferClose")
    paths = [warning.partition(": ")[0] for warning in SERVICES.strategy.warnings(service)]
    assert paths == ["spec.trafficDistribution", "spec.type"]
