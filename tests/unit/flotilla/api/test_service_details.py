"""The rarer parts of Services, Endpoints and EndpointSlices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flotilla.api.errors import FieldError
from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource
from flotilla.api.resources import ENDPOINT_SLICES, ENDPOINTS, SERVICES

Sample = Callable[[Resource], KubeObject]
Edited = Callable[[KubeObject, str, Any], KubeObject]
Faults = Callable[..., list[FieldError]]
Written = Callable[..., KubeObject]
_BALANCED_ONLY = "may only be used when `type` is 'LoadBalancer'"
_TIMEOUT = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"

CASES: list[tuple[str, Any, str, str]] = [
    ("spec.ipFamilies", ["IPv6"], "spec.ipFamilies[0]", 'Invalid value: "IPv6": not configured on this cluster'),
    ("spec.ipFamilies", ["IPX"], "spec.ipFamilies[0]", 'supported values: "IPv4", "IPv6"'),
    ("spec.ipFamilies", ["IPv4", "IPv4"], "spec.ipFamilies[1]", 'Duplicate value: "IPv4"'),
    ("spec.ipFamilyPolicy", "RequireDualStack", "spec.ipFamilyPolicy", "not configured for dual-stack services"),
    ("spec.ipFamilyPolicy", "Both", "spec.ipFamilyPolicy", '"PreferDualStack", "RequireDualStack", "SingleStack"'),
    ("spec.loadBalancerClass", "example.com/lb", "spec.loadBalancerClass", f"Forbidden: {_BALANCED_ONLY}"),
    ("spec.allocateLoadBalancerNodePorts", True, "spec.allocateLoadBalancerNodePorts", f"Forbidden: {_BALANCED_ONLY}"),
    ("spec.loadBalancerSourceRanges", ["10.0.0.0/8"], "spec.LoadBalancerSourceRanges", f"Forbidden: {_BALANCED_ONLY}"),
    (
        "spec.healthCheckNodePort",
        30000,
        "spec.healthCheckNodePort",
        "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
    ),
    (
        "spec.externalIPs",
        ["127.0.0.1"],
        "spec.externalIPs[0]",
        "may not be in the loopback range (127.0.0.0/8, ::1/128)",
    ),
    ("spec.externalIPs", ["web"], "spec.externalIPs[0]", "must be a valid IP address"),
    ("spec.trafficDistribution", "Anywhere", "spec.trafficDistribution", '"PreferClose", "PreferSameNode"'),
    ("spec.ports.0.appProtocol", "a b", "spec.ports[0].appProtocol", "name part must consist of"),
    (
        "spec",
        {
            "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}},
            "ports": [{"port": 80}],
        },
        _TIMEOUT,
        "must be greater than 0 and less than 86400",
    ),
    (
        "spec",
        {"type": "NodePort", "clusterIP": "None", "ports": [{"port": 80}]},
        "spec.clusterIPs[0]",
        "may not be set to 'None' for NodePort services",
    ),
]


@pytest.mark.parametrize(("path", "value", "field", "message"), CASES)
def test_service_faults(
    sample: Sample, edited: Edited, faults: Faults, path: str, value: Any, field: str, message: str
) -> None:
    """One wrong value must give one fault, at its path."""
    (error,) = faults(SERVICES, edited(sample(SERVICES), path, value))
    assert error.field == field
    assert message in error.message


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "LoadBalancer", "loadBalancerClass": "example.com/lb", "loadBalancerSourceRanges": [" 10.0.0.0/8"]},
        {"clusterIP": "None", "ports": [{"port": 80, "targetPort": 8080}]},
        {"clusterIP": "None", "selector": None, "ipFamilies": ["IPv6"]},
        {"trafficDistribution": "PreferSameZone", "ipFamilyPolicy": "PreferDualStack"},
    ],
)
def test_valid_services(sample: Sample, edited: Edited, faults: Faults, changes: KubeObject) -> None:
    """What Kubernetes accepts must be accepted."""
    service = sample(SERVICES)
    for field, value in changes.items():
        service = edited(service, f"spec.{field}", value)
    assert faults(SERVICES, service) == []


def test_the_class_of_a_load_balancer_stays(sample: Sample, edited: Edited, faults: Faults, written: Written) -> None:
    """The class must not change while there is a load balancer, and go with it."""
    balanced = edited(edited(sample(SERVICES), "spec.type", "LoadBalancer"), "spec.loadBalancerClass", "example.com/a")
    old = written(SERVICES, balanced)
    (error,) = faults(SERVICES, edited(old, "spec.loadBalancerClass", "example.com/b"), old)
    assert str(error) == 'spec.loadBalancerClass: Invalid value: "example.com/b": may not change once set'
    plain = written(SERVICES, edited(old, "spec.type", "ClusterIP"), old)["spec"]
    assert not {"loadBalancerClass", "allocateLoadBalancerNodePorts"} & plain.keys()


def _slice(**endpoint: Any) -> KubeObject:
    return {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"], **endpoint}]}


SLICES: list[tuple[KubeObject, str, str]] = [
    (_slice(addresses=[]), "endpoints[0].addresses", "must contain at least 1 address"),
    (_slice(addresses=["::1"]), "endpoints[0].addresses[0]", "must be a valid IPv4 address"),
    (_slice(addresses=["169.254.1.1"]), "endpoints[0].addresses[0]", "may not be in the link-local range"),
    (_slice(hostname="a.b"), "endpoints[0].hostname", "a lowercase RFC 1123 label"),
    (_slice(nodeName="A"), "endpoints[0].nodeName", "a lowercase RFC 1123 subdomain"),
    (
        _slice(hints={"forZones": [{"name": "a"}, {"name": "a"}]}),
        "endpoints[0].hints.forZones[1].name",
        "Duplicate value",
    ),
    (
        _slice(hints={"forZones": [{"name": f"z{number}"} for number in range(9)]}),
        "endpoints[0].hints.forZones",
        "Too many: 9: must have at most 8 items",
    ),
    (_slice(deprecatedTopology={"a b": "c"}), "endpoints[0].deprecatedTopology", "name part must consist of"),
]


@pytest.mark.parametrize(("body", "field", "message"), SLICES)
def test_slice_faults(sample: Sample, faults: Faults, body: KubeObject, field: str, message: str) -> None:
    """One wrong value must give one fault, at its path."""
    (error,) = faults(ENDPOINT_SLICES, sample(ENDPOINT_SLICES) | body)
    assert error.field == field
    assert message in error.message


@pytest.mark.parametrize(
    ("address", "field", "message"),
    [
        ({"ip": "0.0.0.0"}, "subsets[0].addresses[0].ip", "may not be unspecified (0.0.0.0)"),
        ({"ip": "224.0.0.1"}, "subsets[0].addresses[0].ip", "may not be in the link-local multicast range"),
        ({"ip": "10.0.0.1", "hostname": "A"}, "subsets[0].addresses[0].hostname", "a lowercase RFC 1123 label"),
    ],
)
def test_endpoints_faults(sample: Sample, faults: Faults, address: KubeObject, field: str, message: str) -> None:
    """Addresses that lead nowhere must be refused."""
    (error,) = faults(ENDPOINTS, sample(ENDPOINTS) | {"subsets": [{"addresses": [address]}]})
    assert error.field == field
    assert message in error.message
