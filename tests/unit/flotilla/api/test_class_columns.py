"""Tables of networking, policy, scheduling, storage, roles and certificates say what kubectl's users know."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource
from flotilla.api.resources import (
    CERTIFICATE_SIGNING_REQUESTS,
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    CSI_DRIVERS,
    CSI_NODES,
    CSI_STORAGE_CAPACITIES,
    INGRESS_CLASSES,
    INGRESSES,
    IP_ADDRESSES,
    NETWORK_POLICIES,
    POD_DISRUPTION_BUDGETS,
    PRIORITY_CLASSES,
    ROLE_BINDINGS,
    ROLES,
    RUNTIME_CLASSES,
    SERVICE_CIDRS,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
    VOLUME_ATTRIBUTES_CLASSES,
)

NOW = datetime(2026, 1, 1, 0, 10, tzinfo=UTC)
CREATED = "2026-01-01T00:00:00Z"
_BINDING = {
    "roleRef": {"kind": "ClusterRole", "name": "view"},
    "subjects": [
        {"kind": "User", "name": "ann"},
        {"kind": "User", "name": "bob"},
        {"kind": "Group", "name": "dev"},
        {"kind": "ServiceAccount", "name": "cart", "namespace": "shop"},
    ],
}
_BINDING_WIDE = "Users Groups ServiceAccounts"
_BOUND = ["x", "ClusterRole/view", "10m", "ann, bob", "dev", "shop/cart"]
_RULE = {"host": "a.example.com"}
_DEFAULT_STORAGE = {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}

CASES: list[tuple[Resource, KubeObject, str, str, list[Any]]] = [
    (
        POD_DISRUPTION_BUDGETS,
        {"spec": {"minAvailable": "50%"}, "status": {"disruptionsAllowed": 1}},
        "Name|Min Available|Max Unavailable|Allowed Disruptions|Age",
        "",
        ["x", "50%", "N/A", 1, "10m"],
    ),
    (
        INGRESSES,
        {"spec": {"defaultBackend": {}}},
        "Name|Class|Hosts|Address|Ports|Age",
        "",
        ["x", "<none>", "*", "", "80", "10m"],
    ),
    (
        INGRESSES,
        {
            "spec": {"ingressClassName": "web", "rules": [_RULE] * 5, "tls": [{}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.2"}, {"hostname": "10.example.com"}]}},
        },
        "Name|Class|Hosts|Address|Ports|Age",
        "",
        [
            "x",
            "web",
            "a.example.com,a.example.com,a.example.com + 2 more...",
            "10.0.0.2,10.example.com",
            "80, 443",
            "10m",
        ],
    ),
    (
        INGRESS_CLASSES,
        {"spec": {"controller": "a.b/c", "parameters": {"apiGroup": "a.b", "kind": "P", "name": "p"}}},
        "Name|Controller|Parameters|Age",
        "",
        ["x", "a.b/c", "P.a.b/p", "10m"],
    ),
    (NETWORK_POLICIES, {"spec": {"podSelector": {}}}, "Name|Pod-Selector|Age", "", ["x", "<none>", "10m"]),
    (
        IP_ADDRESSES,
        {"spec": {"parentRef": {"group": "", "resource": "services", "namespace": "n", "name": "s"}}},
        "Name|ParentRef",
        "",
        ["x", "services/n/s"],
    ),
    (
        SERVICE_CIDRS,
        {"spec": {"cidrs": ["10.0.0.0/8", "fd::/8"]}},
        "Name|CIDRs|Age",
        "",
        ["x", "10.0.0.0/8,fd::/8", "10m"],
    ),
    (
        PRIORITY_CLASSES,
        {"value": 5, "globalDefault": True, "preemptionPolicy": "Never"},
        "Name|Value|Global-Default|Age|PreemptionPolicy",
        "",
        ["x", 5, True, "10m", "Never"],
    ),
    (RUNTIME_CLASSES, {"handler": "kata"}, "Name|Handler|Age", "", ["x", "kata", "10m"]),
    (
        STORAGE_CLASSES,
        {"metadata": {"name": "x", "creationTimestamp": CREATED, **_DEFAULT_STORAGE}, "provisioner": "p"},
        "Name|Provisioner|ReclaimPolicy|VolumeBindingMode|AllowVolumeExpansion|Age",
        "",
        ["x (default)", "p", "Delete", "Immediate", False, "10m"],
    ),
    (VOLUME_ATTRIBUTES_CLASSES, {"driverName": "d"}, "Name|DriverName|Age", "", ["x", "d", "10m"]),
    (
        CSI_DRIVERS,
        {"spec": {"attachRequired": True, "tokenRequests": [{"audience": "a"}, {"audience": "b"}]}},
        "Name|AttachRequired|PodInfoOnMount|StorageCapacity|TokenRequests|RequiresRepublish|Modes|Age",
        "",
        ["x", True, False, False, "a,b", False, "<none>", "10m"],
    ),
    (CSI_NODES, {"spec": {"drivers": [{}, {}]}}, "Name|Drivers|Age", "", ["x", 2, "10m"]),
    (
        CSI_STORAGE_CAPACITIES,
        {"storageClassName": "fast", "capacity": "1Gi"},
        "Name|StorageClassName|Capacity",
        "",
        ["x", "fast", "1Gi"],
    ),
    (
        VOLUME_ATTACHMENTS,
        {
            "spec": {"attacher": "d", "nodeName": "n", "source": {"persistentVolumeName": "v"}},
            "status": {"attached": True},
        },
        "Name|Attacher|PV|Node|Attached|Age",
        "",
        ["x", "d", "v", "n", True, "10m"],
    ),
    (ROLES, {}, "Name|Created At", "", ["x", CREATED]),
    (CLUSTER_ROLES, {}, "Name|Created At", "", ["x", CREATED]),
    (ROLE_BINDINGS, _BINDING, "Name|Role|Age", _BINDING_WIDE, _BOUND),
    (CLUSTER_ROLE_BINDINGS, _BINDING, "Name|Role|Age", _BINDING_WIDE, _BOUND),
    (
        CERTIFICATE_SIGNING_REQUESTS,
        {"spec": {"signerName": "a.b/c", "username": "ann", "expirationSeconds": 3600}},
        "Name|Age|SignerName|Requestor|RequestedDuration|Condition",
        "",
        ["x", "10m", "a.b/c", "ann", "60m", "Pending"],
    ),
]


@pytest.mark.parametrize(("resource", "obj", "narrow", "wide", "cells"), CASES)
def test_rows(resource: Resource, obj: KubeObject, narrow: str, wide: str, cells: list[Any]) -> None:
    """Headings, their priorities and the cells must be those of Kubernetes."""
    shown = {"metadata": {"name": "x", "creationTimestamp": CREATED}} | obj
    assert "|".join(column.name for column in resource.columns if not column.priority) == narrow
    assert " ".join(column.name for column in resource.columns if column.priority) == wide
    assert [column.value(shown, NOW) for column in resource.columns] == cells


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, "Pending"),
        ({"conditions": [{"type": "Approved"}]}, "Approved"),
        ({"conditions": [{"type": "Approved"}], "certificate": "eA=="}, "Approved,Issued"),
        ({"conditions": [{"type": "Denied"}]}, "Denied"),
        ({"conditions": [{"type": "Approved"}, {"type": "Failed"}]}, "Approved,Failed"),
    ],
)
def test_the_state_of_a_request(status: KubeObject, expected: str) -> None:
    """One word must say what has become of a certificate request."""
    column = next(column for column in CERTIFICATE_SIGNING_REQUESTS.columns if column.name == "Condition")
    assert column.value({"status": status}, NOW) == expected
