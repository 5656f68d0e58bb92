"""The kinds of networking.k8s.io and PodDisruptionBudgets: defaults, faults in Kubernetes' words, generations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flotilla.api.errors import FieldError
from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource
from flotilla.api.resources import (
    INGRESS_CLASSES,
    INGRESSES,
    IP_ADDRESSES,
    NETWORK_POLICIES,
    POD_DISRUPTION_BUDGETS,
    SERVICE_CIDRS,
)

Edited = Callable[[KubeObject, str, Any], KubeObject]
Faults = Callable[..., list[FieldError]]
Written = Callable[..., KubeObject]

_BACKEND = {"service": {"name": "web", "port": {"number": 80}}}
_PATH = {"path": "/", "pathType": "Prefix", "backend": _BACKEND}
INGRESS: KubeObject = {
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {"rules": [{"host": "web.example.com", "http": {"paths": [_PATH]}}]},
}
INGRESS_CLASS: KubeObject = {
    "metadata": {"name": "web"},
    "spec": {
        "controller": "example.com/ingress",
        "parameters": {"apiGroup": "example.com", "kind": "Parameters", "name": "web"},
    },
}
POLICY: KubeObject = {
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {
        "podSelector": {"matchLabels": {"app": "web"}},
        "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 80}]}],
    },
}
ADDRESS: KubeObject = {
    "metadata": {"name": "10.43.0.1"},
    "spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "kubernetes"}},
}
NETWORK: KubeObject = {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.44.0.0/16"]}}
BUDGET: KubeObject = {
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
}
_HTTP = "spec.rules.0.http.paths.0"
_AT = "spec.rules[0].http.paths[0]"
_PARAMETERS = "spec.parameters"
_LABEL = "a lowercase RFC 1123 subdomain must consist of"

CASES: list[tuple[Resource, KubeObject, str, Any, str, str, str]] = [
    (INGRESSES, INGRESS, "spec.rules", None, "spec", "Invalid", "either `defaultBackend` or `rules` must be specified"),
    (INGRESSES, INGRESS, "spec.rules.0.host", "10.0.0.1", "spec.rules[0].host", "Invalid", "not an IP address"),
    (INGRESSES, INGRESS, "spec.rules.0.host", "a.*.com", "spec.rules[0].host", "Invalid", "must start with '*.'"),
    (INGRESSES, INGRESS, "spec.rules.0.host", "Web!", "spec.rules[0].host", "Invalid", _LABEL),
    (INGRESSES, INGRESS, "spec.rules.0.http.paths", [], "spec.rules[0].http.paths", "Required", "Required value"),
    (INGRESSES, INGRESS, f"{_HTTP}.pathType", None, f"{_AT}.pathType", "Required", "pathType must be specified"),
    (
        INGRESSES,
        INGRESS,
        f"{_HTTP}.pathType",
        "Regex",
        f"{_AT}.pathType",
        "NotSupported",
        'supported values: "Exact", "ImplementationSpecific", "Prefix"',
    ),
    (INGRESSES, INGRESS, f"{_HTTP}.path", "web", f"{_AT}.path", "Invalid", "must be an absolute path"),
    (INGRESSES, INGRESS, f"{_HTTP}.path", "/a//b", f"{_AT}.path", "Invalid", "must not contain '//'"),
    (INGRESSES, INGRESS, f"{_HTTP}.path", "/a/.", f"{_AT}.path", "Invalid", "cannot end with '/.'"),
    (
        INGRESSES,
        INGRESS,
        f"{_HTTP}.backend",
        {},
        f"{_AT}.backend",
        "Invalid",
        "resource or service backend is required",
    ),
    (
        INGRESSES,
        INGRESS,
        f"{_HTTP}.backend.resource",
        {"kind": "Bucket", "name": "b"},
        f"{_AT}.backend",
        "Invalid",
        "cannot set both resource and service backends",
    ),
    (
        INGRESSES,
        INGRESS,
        f"{_HTTP}.backend.service.name",
        "",
        f"{_AT}.backend.service.name",
        "Required",
        "Required value",
    ),
    (
        INGRESSES,
        INGRESS,
        f"{_HTTP}.backend.service.port",
        {},
        f"{_AT}.backend",
        "Required",
        "port name or number is required",
    ),
    (
        INGRESSES,
        INGRESS,
        f"{_HTTP}.backend.service.port.number",
        70000,
        f"{_AT}.backend.service.port.number",
        "Invalid",
        "must be between 1 and 65535, inclusive",
    ),
    (
        INGRESSES,
        INGRESS,
        f"{_HTTP}.backend.service.port.name",
        "http",
        f"{_AT}.backend",
        "Invalid",
        "cannot set both port name & port number",
    ),
    (INGRESSES, INGRESS, "spec.tls", [{"hosts": ["*"]}], "spec.tls[0].hosts[0]", "Invalid", "must start with '*.'"),
    (INGRESSES, INGRESS, "spec.tls", [{"secretName": "A"}], "spec.tls[0].secretName", "Invalid", _LABEL),
    (INGRESSES, INGRESS, "spec.ingressClassName", "A", "spec.ingressClassName", "Invalid", _LABEL),
    (INGRESS_CLASSES, INGRESS_CLASS, "spec.controller", "", "spec.controller", "Required", "Required value"),
    (INGRESS_CLASSES, INGRESS_CLASS, "spec.controller", "nginx", "spec.controller", "Invalid", "domain-prefixed path"),
    (INGRESS_CLASSES, INGRESS_CLASS, "spec.controller", "a.b/" + "c" * 250, "spec.controller", "TooLong", "250 bytes"),
    (INGRESS_CLASSES, INGRESS_CLASS, f"{_PARAMETERS}.kind", "", f"{_PARAMETERS}.kind", "Required", "Required value"),
    (
        INGRESS_CLASSES,
        INGRESS_CLASS,
        f"{_PARAMETERS}.name",
        "a/b",
        f"{_PARAMETERS}.name",
        "Invalid",
        "may not contain '/'",
    ),
    (
        INGRESS_CLASSES,
        INGRESS_CLASS,
        f"{_PARAMETERS}.scope",
        "Node",
        f"{_PARAMETERS}.scope",
        "NotSupported",
        'supported values: "Cluster", "Namespace"',
    ),
    (
        INGRESS_CLASSES,
        INGRESS_CLASS,
        f"{_PARAMETERS}.scope",
        "Namespace",
        f"{_PARAMETERS}.namespace",
        "Required",
        "`parameters.scope` is set to 'Namespace'",
    ),
    (
        INGRESS_CLASSES,
        INGRESS_CLASS,
        f"{_PARAMETERS}.namespace",
        "default",
        f"{_PARAMETERS}.namespace",
        "Forbidden",
        "`parameters.scope` is set to 'Cluster'",
    ),
    (
        NETWORK_POLICIES,
        POLICY,
        "spec.ingress.0.ports.0.protocol",
        "ICMP",
        "spec.ingress[0].ports[0].protocol",
        "NotSupported",
        'supported values: "TCP", "UDP", "SCTP"',
    ),
    (
        NETWORK_POLICIES,
        POLICY,
        "spec.ingress.0.ports.0.port",
        0,
        "spec.ingress[0].ports[0].port",
        "Invalid",
        "must be between 1 and 65535, inclusive",
    ),
    (
        NETWORK_POLICIES,
        POLICY,
        "spec.ingress.0.ports.0.endPort",
        79,
        "spec.ingress[0].ports[0].endPort",
        "Invalid",
        "must be greater than or equal to `port`",
    ),
    (
        NETWORK_POLICIES,
        POLICY,
        "spec.ingress.0.from",
        [{}],
        "spec.ingress[0].from[0]",
        "Required",
        "must specify a peer",
    ),
    (
        NETWORK_POLICIES,
        POLICY,
        "spec.ingress.0.from.0.podSelector",
        {},
        "spec.ingress[0].from[0]",
        "Forbidden",
        "may not specify both ipBlock and another peer",
    ),
    (
        NETWORK_POLICIES,
        POLICY,
        "spec.ingress.0.from.0.ipBlock.cidr",
        "10.0.0.0",
        "spec.ingress[0].from[0].ipBlock.cidr",
        "Invalid",
        "must be a valid CIDR value",
    ),
    (
        NETWORK_POLICIES,
        POLICY,
        "spec.ingress.0.from.0.ipBlock.except",
        ["11.0.0.0/16"],
        "spec.ingress[0].from[0].ipBlock.except[0]",
        "Invalid",
        "must be a strict subset of `cidr`",
    ),
    (
        NETWORK_POLICIES,
        POLICY,
        "spec.policyTypes",
        ["Sideways"],
        "spec.policyTypes[0]",
        "NotSupported",
        'supported values: "Ingress", "Egress"',
    ),
    (IP_ADDRESSES, ADDRESS, "metadata.name", "web", "metadata.name", "Invalid", "must be a valid IP address"),
    (
        IP_ADDRESSES,
        ADDRESS,
        "metadata.name",
        "2001:DB8::1",
        "metadata.name",
        "Invalid",
        'canonical form ("2001:db8::1")',
    ),
    (IP_ADDRESSES, ADDRESS, "spec.parentRef", None, "spec.parentRef", "Required", "Required value"),
    (IP_ADDRESSES, ADDRESS, "spec.parentRef.resource", "", "spec.parentRef.resource", "Required", "Required value"),
    (SERVICE_CIDRS, NETWORK, "spec.cidrs", [], "spec.cidrs", "Required", "at least one CIDR required"),
    (SERVICE_CIDRS, NETWORK, "spec.cidrs", ["x"], "spec.cidrs[0]", "Invalid", "must be a valid CIDR value"),
    (
        SERVICE_CIDRS,
        NETWORK,
        "spec.cidrs",
        ["10.0.0.1/8"],
        "spec.cidrs[0]",
        "Invalid",
        "bits set beyond the prefix length",
    ),
    (
        SERVICE_CIDRS,
        NETWORK,
        "spec.cidrs",
        ["10.0.0.0/8", "11.0.0.0/8"],
        "spec.cidrs",
        "Invalid",
        "may specify no more than one IP for each IP family",
    ),
    (
        POD_DISRUPTION_BUDGETS,
        BUDGET,
        "spec.maxUnavailable",
        1,
        "spec",
        "Invalid",
        "minAvailable and maxUnavailable cannot be both set",
    ),
    (
        POD_DISRUPTION_BUDGETS,
        BUDGET,
        "spec.minAvailable",
        -1,
        "spec.minAvailable",
        "Invalid",
        "greater than or equal to 0",
    ),
    (
        POD_DISRUPTION_BUDGETS,
        BUDGET,
        "spec.minAvailable",
        "101%",
        "spec.minAvailable",
        "Invalid",
        "not be greater than 100%",
    ),
    (
        POD_DISRUPTION_BUDGETS,
        BUDGET,
        "spec.minAvailable",
        "all",
        "spec.minAvailable",
        "Invalid",
        "a valid percent string",
    ),
    (
        POD_DISRUPTION_BUDGETS,
        BUDGET,
        "spec.unhealthyPodEvictionPolicy",
        "Never",
        "spec.unhealthyPodEvictionPolicy",
        "NotSupported",
        'supported values: "AlwaysAllow", "IfHealthyBudget"',
    ),
]


@pytest.mark.parametrize(("resource", "obj", "path", "value", "field", "reason", "message"), CASES)
def test_faults(
    edited: Edited,
    faults: Faults,
    resource: Resource,
    obj: KubeObject,
    path: str,
    value: Any,
    field: str,
    reason: str,
    message: str,
) -> None:
    """One wrong value must give one fault, at its path, with its reason."""
    (error,) = faults(resource, edited(obj, path, value))
    assert (error.field, error.reason) == (field, f"FieldValue{reason}")
    assert message in error.message


@pytest.mark.parametrize(
    ("resource", "obj"),
    [
        (INGRESSES, INGRESS),
        (INGRESSES, INGRESS | {"spec": {"defaultBackend": _BACKEND}}),
        (INGRESS_CLASSES, INGRESS_CLASS),
        (NETWORK_POLICIES, POLICY),
        (NETWORK_POLICIES, POLICY | {"spec": {}}),
        (IP_ADDRESSES, ADDRESS),
        (SERVICE_CIDRS, NETWORK),
        (SERVICE_CIDRS, NETWORK | {"spec": {"cidrs": ["10.44.0.0/16", "2001:db8::/64"]}}),
        (POD_DISRUPTION_BUDGETS, BUDGET),
        (POD_DISRUPTION_BUDGETS, BUDGET | {"metadata": {"name": "Web_1", "namespace": "default"}}),
    ],
)
def test_what_is_valid(faults: Faults, written: Written, resource: Resource, obj: KubeObject) -> None:
    """What Kubernetes takes must be taken, as new and as an update of itself."""
    assert faults(resource, obj) == []
    assert faults(resource, obj, written(resource, obj)) == []


UPDATES: list[tuple[Resource, KubeObject, str, Any, str, str]] = [
    (INGRESS_CLASSES, INGRESS_CLASS, "spec.controller", "example.com/other", "spec.controller", "field is immutable"),
    (IP_ADDRESSES, ADDRESS, "spec.parentRef.name", "other", "spec.parentRef", "field is immutable"),
    (SERVICE_CIDRS, NETWORK, "spec.cidrs.0", "10.45.0.0/16", "spec.cidrs[0]", "field is immutable"),
    (SERVICE_CIDRS, NETWORK, "spec.cidrs", [], "spec.cidrs", "field is immutable"),
]


@pytest.mark.parametrize(("resource", "obj", "path", "value", "field", "message"), UPDATES)
def test_what_may_not_change(
    edited: Edited,
    written: Written,
    faults: Faults,
    resource: Resource,
    obj: KubeObject,
    path: str,
    value: Any,
    field: str,
    message: str,
) -> None:
    """A field that is fixed for ever must be refused at its path."""
    (error,) = faults(resource, edited(obj, path, value), written(resource, obj))
    assert error.field == field
    assert message in error.message


def test_a_second_family_may_be_added(edited: Edited, written: Written, faults: Faults) -> None:
    """A network of services may become dual-stack, and no longer shrink."""
    both = edited(NETWORK, "spec.cidrs", ["10.44.0.0/16", "2001:db8::/64"])
    assert faults(SERVICE_CIDRS, both, written(SERVICE_CIDRS, NETWORK)) == []
    (error,) = faults(SERVICE_CIDRS, NETWORK, written(SERVICE_CIDRS, both))
    assert error.field == "spec.cidrs"


def test_the_old_class_annotation_must_agree(edited: Edited, faults: Faults) -> None:
    """A new Ingress may not name two classes."""
    obj = edited(
        edited(INGRESS, "spec.ingressClassName", "a"), "metadata.annotations", {"kubernetes.io/ingress.class": "b"}
    )
    (error,) = faults(INGRESSES, obj)
    assert error.field == "annotations.kubernetes.io/ingress.class"


def test_defaults(edited: Edited, written: Written) -> None:
    """Policies get their types, ports their protocol, parameters their scope."""
    spec = written(NETWORK_POLICIES, POLICY)["spec"]
    assert spec["policyTypes"] == ["Ingress"]
    assert spec["ingress"][0]["ports"] == [{"port": 80, "protocol": "TCP"}]
    both = written(NETWORK_POLICIES, edited(POLICY, "spec.egress", [{"to": [{"podSelector": {}}]}]))
    assert both["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert written(NETWORK_POLICIES, POLICY | {"spec": {}})["spec"]["podSelector"] == {}
    assert written(INGRESS_CLASSES, INGRESS_CLASS)["spec"]["parameters"]["scope"] == "Cluster"


@pytest.mark.parametrize(
    ("resource", "obj", "path", "value"),
    [
        (INGRESSES, INGRESS, "spec.ingressClassName", "other"),
        (INGRESS_CLASSES, INGRESS_CLASS, "spec.parameters", None),
        (NETWORK_POLICIES, POLICY, "spec.podSelector", {}),
        (POD_DISRUPTION_BUDGETS, BUDGET, "spec.minAvailable", 2),
    ],
)
def test_generations_count_what_is_desired(
    edited: Edited, written: Written, resource: Resource, obj: KubeObject, path: str, value: Any
) -> None:
    """A changed spec must raise the generation, changed labels must not."""
    first = written(resource, obj)
    assert first["metadata"]["generation"] == 1
    assert written(resource, edited(obj, "metadata.labels", {"a": "b"}), first)["metadata"]["generation"] == 1
    assert written(resource, edited(obj, path, value), first)["metadata"]["generation"] == 2


@pytest.mark.parametrize(
    ("resource", "obj"), [(INGRESSES, INGRESS), (POD_DISRUPTION_BUDGETS, BUDGET), (SERVICE_CIDRS, NETWORK)]
)
def test_status_is_not_the_users(edited: Edited, written: Written, resource: Resource, obj: KubeObject) -> None:
    """What a user writes into the status must be dropped, what is there must stay."""
    claimed = edited(obj, "status", {"made": "up"})
    assert "made" not in (written(resource, claimed).get("status") or {})
    old = written(resource, obj) | {"status": {"known": True}}
    assert written(resource, claimed, old)["status"] == {"known": True}


def test_unfiltered_traffic_is_told() -> None:
    """Nobody may think that a policy protects: it is stored only."""
    assert "does not filter traffic" in NETWORK_POLICIES.strategy.warnings(POLICY)[0]


def test_networks_without_effect_are_told(edited: Edited) -> None:
    """Services get addresses of one network: other networks and reserved addresses must say that they are data."""
    assert "the cluster's own network only" in SERVICE_CIDRS.strategy.warnings(NETWORK)[0]
    assert SERVICE_CIDRS.strategy.warnings(edited(NETWORK, "metadata.name", "kubernetes")) == []
    assert "keeps no address free" in IP_ADDRESSES.strategy.warnings(ADDRESS)[0]


def test_status_writes(edited: Edited) -> None:
    """Controllers may report what can be, and nothing else."""
    validate = INGRESSES.strategy.validate_subresource
    assert validate is not None
    good = edited(INGRESS, "status.loadBalancer.ingress", [{"ip": "10.0.0.1"}, {"hostname": "lb.example.com"}])
    assert validate("status", good, INGRESS) == []
    bad = edited(INGRESS, "status.loadBalancer.ingress", [{"ip": "web", "hostname": "10.0.0.1"}])
    assert [error.field.rpartition(".")[2] for error in validate("status", bad, INGRESS)] == ["ip", "hostname"]
    validate = POD_DISRUPTION_BUDGETS.strategy.validate_subresource
    assert validate is not None
    (error,) = validate("status", edited(BUDGET, "status.expectedPods", -1), BUDGET)
    assert error.field == "status.expectedPods"
