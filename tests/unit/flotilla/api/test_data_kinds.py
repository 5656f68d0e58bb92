"""ConfigMaps, Secrets, Namespaces, Nodes, Events, Leases, Endpoints, EndpointSlices."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from flotilla.api.errors import FieldError
from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource
from flotilla.api.resources import (
    CONFIG_MAPS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    EVENTS,
    LEASES,
    NAMESPACES,
    NODES,
    SECRETS,
)

Sample = Callable[[Resource], KubeObject]
Edited = Callable[[KubeObject, str, Any], KubeObject]
Faults = Callable[..., list[FieldError]]
Written = Callable[..., KubeObject]


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


CASES: list[tuple[Resource, KubeObject, str, str]] = [
    (CONFIG_MAPS, {"data": {"a/b": "x"}}, "data[a/b]", "a valid config key must consist of"),
    (CONFIG_MAPS, {"data": {"..": "x"}}, "data[..]", "must not be '..'"),
    (CONFIG_MAPS, {"data": {"a": ""}, "binaryData": {"a": ""}}, "data[a]", "duplicate of key present in binaryData"),
    (CONFIG_MAPS, {"data": {"a": "x" * (2**20 + 1)}}, "data", "Too long: may not be more than 1048576 bytes"),
    (SECRETS, {"data": {"a b": ""}}, "data[a b]", "a valid config key must consist of"),
    (SECRETS, {"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}, "data[tls.key]", "Required value"),
    (
        SECRETS,
        {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": _encoded("no json")}},
        "data[.dockerconfigjson]",
        "<secret contents redacted>",
    ),
    (
        SECRETS,
        {"type": "kubernetes.io/service-account-token"},
        "metadata.annotations[kubernetes.io/service-account.name]",
        "Required value",
    ),
    (NODES, {"spec": {"taints": [{"key": "a", "effect": "Never"}]}}, "spec.taints[0].effect", "Unsupported value"),
    (
        NODES,
        {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoSchedule"}]}},
        "spec.taints[1]",
        "Duplicate value",
    ),
    (NODES, {"spec": {"podCIDR": "10.42.0.1/24"}}, "spec.podCIDRs[0]", "must be a valid CIDR value"),
    (
        EVENTS,
        {"involvedObject": {"kind": "Pod", "namespace": "other"}},
        "involvedObject.namespace",
        "does not match event.namespace",
    ),
    (LEASES, {"spec": {"leaseDurationSeconds": 0}}, "spec.leaseDurationSeconds", "must be greater than 0"),
    (
        ENDPOINTS,
        {"subsets": [{"addresses": [{"ip": "x"}]}]},
        "subsets[0].addresses[0].ip",
        "must be a valid IP address",
    ),
    (ENDPOINT_SLICES, {"addressType": "IPX"}, "addressType", "Unsupported value"),
    (
        ENDPOINT_SLICES,
        {"addressType": "IPv4", "endpoints": [{"addresses": ["::1"]}]},
        "endpoints[0].addresses[0]",
        "must be a valid IPv4 address",
    ),
    (
        ENDPOINT_SLICES,
        {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}] * 1001},
        "endpoints",
        "Too many: 1001: must have at most 1000 items",
    ),
    (
        ENDPOINT_SLICES,
        {"addressType": "IPv4", "ports": [{"port": 80}, {"port": 81}]},
        "ports[1].name",
        'Duplicate value: ""',
    ),
]


@pytest.mark.parametrize(("resource", "body", "field", "message"), CASES)
def test_faults(sample: Sample, faults: Faults, resource: Resource, body: KubeObject, field: str, message: str) -> None:
    """One wrong value must give one fault, at its path."""
    (error,) = faults(resource, sample(resource) | body)
    assert error.field == field
    assert message in error.message


def test_string_data_becomes_data(sample: Sample, written: Written) -> None:
    """stringData must be stored encoded, over data of the same key, and never come back."""
    given = {"data": {"a": _encoded("old"), "b": _encoded("kept")}, "stringData": {"a": "new"}}
    secret = written(SECRETS, sample(SECRETS) | given)
    assert secret["type"] == "Opaque"
    assert secret["data"] == {"a": _encoded("new"), "b": _encoded("kept")}
    assert "stringData" not in secret


@pytest.mark.parametrize("resource", [CONFIG_MAPS, SECRETS], ids=repr)
def test_immutable_data_stays(
    sample: Sample, edited: Edited, faults: Faults, written: Written, resource: Resource
) -> None:
    """Immutable data may neither change nor become mutable; metadata may change."""
    old = written(resource, sample(resource) | {"immutable": True, "data": {"a": _encoded("x")}})
    changed = edited(edited(old, "data.a", _encoded("y")), "immutable", None)
    assert [error.field for error in faults(resource, changed, old)] == ["immutable", "data"]
    assert faults(resource, edited(old, "metadata.labels", {"a": "b"}), old) == []


def test_the_type_of_a_secret_is_immutable(sample: Sample, edited: Edited, faults: Faults, written: Written) -> None:
    """Readers rely on what a type promises."""
    old = written(SECRETS, sample(SECRETS))
    (error,) = faults(SECRETS, edited(old, "type", "example.com/other"), old)
    assert (error.field, error.message.endswith("field is immutable")) == ("type", True)


def test_a_namespace_is_born_active_and_held(sample: Sample, written: Written) -> None:
    """A Namespace gets its name as a label, its finalizer and its phase; an update can't take the finalizer away."""
    namespace = written(NAMESPACES, sample(NAMESPACES))
    assert namespace["metadata"]["labels"] == {"kubernetes.io/metadata.name": "web"}
    assert namespace["spec"] == {"finalizers": ["kubernetes"]}
    assert namespace["status"] == {"phase": "Active"}
    assert written(NAMESPACES, namespace | {"spec": {}}, namespace)["spec"] == namespace["spec"]


def test_a_node_is_created_with_its_status(sample: Sample, written: Written) -> None:
    """A Node's first status must be kept, and an update of its spec must not touch it."""
    node = written(NODES, sample(NODES) | {"status": {"capacity": {"cpu": "2"}}})
    assert node["status"] == {"capacity": {"cpu": "2"}}
    assert written(NODES, node | {"status": {}}, node)["status"] == node["status"]


def test_a_pod_network_is_given_once(sample: Sample, edited: Edited, faults: Faults, written: Written) -> None:
    """A node may get its pod network but not change it."""
    bare = written(NODES, sample(NODES) | {"spec": {}})
    given = edited(bare, "spec.podCIDR", "10.42.0.0/24")
    assert faults(NODES, given, bare) == []
    assert [error.field for error in faults(NODES, edited(given, "spec.podCIDR", "10.42.1.0/24"), given)] == [
        "spec.podCIDR"
    ]


def test_events_about_cluster_scoped_objects_are_in_default(sample: Sample, faults: Faults) -> None:
    """A node's events must be accepted in the namespace default."""
    assert faults(EVENTS, sample(EVENTS) | {"involvedObject": {"kind": "Node", "name": "n"}}) == []


def test_new_style_events_are_complete(sample: Sample, faults: Faults) -> None:
    """An event with eventTime must say who reports what; core/v1 leaves its type open."""
    event = sample(EVENTS) | {
        "involvedObject": {"kind": "Pod", "namespace": "default"},
        "eventTime": "2026-01-01T00:00:00Z",
        "reason": "Started",
        "type": "Info",
    }
    fields = dict.fromkeys(error.field for error in faults(EVENTS, event))
    assert list(fields) == ["reportingController", "reportingInstance", "action"]


def test_the_address_type_of_a_slice_is_immutable(sample: Sample, faults: Faults, written: Written) -> None:
    """A slice holds addresses of one family for its life; its generation counts what routes depend on."""
    old = written(ENDPOINT_SLICES, sample(ENDPOINT_SLICES) | {"addressType": "IPv4"})
    assert [error.field for error in faults(ENDPOINT_SLICES, old | {"addressType": "IPv6"}, old)] == ["addressType"]
    moved = written(ENDPOINT_SLICES, old | {"endpoints": [{"addresses": ["10.0.0.1"]}]}, old)
    assert (old["metadata"]["generation"], moved["metadata"]["generation"]) == (1, 2)
