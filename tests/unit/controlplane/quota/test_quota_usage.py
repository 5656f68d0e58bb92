"""What objects use of a quota, how amounts are written, and which objects are in which scopes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from controlplane.quota.amounts import PER_UNIT, amount_of, shown
from controlplane.quota.scopes import in_scopes
from controlplane.quota.usage import ends_counting, missing, tracked, usage_of
from flotilla.api.objects import KubeObject
from flotilla.api.quantities import parse_quantity
from flotilla.api.registry import Resource
from flotilla.api.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    SERVICES,
)

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "quantity", "expected"),
    [
        ("pods", "3", "3"),
        ("pods", "1000", "1k"),
        ("requests.cpu", "1500m", "1500m"),
        ("cpu", "2000m", "2"),
        ("cpu", "1n", "1n"),
        ("limits.memory", "512Mi", "512Mi"),
        ("limits.memory", "500Mi", "500Mi"),
        ("memory", "1.5Gi", "1536Mi"),
        ("requests.storage", "100M", "100M"),
        ("requests.storage", "1025", "1025"),
        ("count/configmaps", "1024", "1024"),
        ("memory", "0", "0"),
    ],
)
def test_amounts_are_shown_as_kubernetes_does(name: str, quantity: str, expected: str) -> None:
    """The shortest exact form, which is the same amount."""
    assert shown(name, amount_of(quantity)) == expected
    assert parse_quantity(expected) == parse_quantity(quantity)


def _container(name: str = "c", **resources: dict[str, str]) -> KubeObject:
    return {"name": name, "resources": resources}


def _pod(*containers: KubeObject, status: KubeObject | None = None, **spec: Any) -> KubeObject:
    return {"metadata": {"name": "p"}, "spec": {"containers": list(containers)} | spec, "status": status or {}}


PLAIN = _container(requests={"cpu": "100m", "memory": "64Mi"}, limits={"cpu": "1"})
USAGES: list[tuple[str, Resource, KubeObject, dict[str, str]]] = [
    (
        "requests go by two names, limits by one",
        PODS,
        _pod(PLAIN),
        {"pods": "1", "count/pods": "1", "cpu": "100m", "requests.cpu": "100m", "limits.cpu": "1"}
        | {"memory": "64Mi", "requests.memory": "64Mi"},
    ),
    (
        "the largest of the containers that run before the others counts if it is more than these",
        PODS,
        _pod(
            PLAIN, initContainers=[_container("i", requests={"cpu": "300m"}), _container("j", requests={"cpu": "1m"})]
        ),
        {"pods": "1", "count/pods": "1", "cpu": "300m", "requests.cpu": "300m", "limits.cpu": "1"}
        | {"memory": "64Mi", "requests.memory": "64Mi"},
    ),
    (
        "sidecars run all the time",
        PODS,
        _pod(
            _container(requests={"cpu": "100m"}),
            initContainers=[_container("s", requests={"cpu": "50m"}) | {"restartPolicy": "Always"}],
        ),
        {"pods": "1", "count/pods": "1", "cpu": "150m", "requests.cpu": "150m"},
    ),
    (
        "what a device plugin announces and huge pages are requested",
        PODS,
        _pod(_container(requests={"example.com/gpu": "2", "hugepages-2Mi": "4Mi"}), overhead={"cpu": "10m"}),
        {"pods": "1", "count/pods": "1", "requests.example.com/gpu": "2", "hugepages-2Mi": "4Mi"}
        | {"requests.hugepages-2Mi": "4Mi", "cpu": "10m", "requests.cpu": "10m"},
    ),
    (
        "a container that still holds more than it shall have counts for that",
        PODS,
        _pod(
            _container(requests={"cpu": "100m"}),
            status={"containerStatuses": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]},
        ),
        {"pods": "1", "count/pods": "1", "cpu": "2", "requests.cpu": "2"},
    ),
    ("a pod that has ended is only counted", PODS, _pod(PLAIN, status={"phase": "Failed"}), {"count/pods": "1"}),
    ("configuration", CONFIG_MAPS, {}, {"configmaps": "1", "count/configmaps": "1"}),
    ("kinds of groups", DEPLOYMENTS, {}, {"count/deployments.apps": "1"}),
    (
        "a Service of node ports",
        SERVICES,
        {"spec": {"type": "NodePort", "ports": [{"port": 1}, {"port": 2}]}},
        {"services": "1", "count/services": "1", "services.nodeports": "2", "services.loadbalancers": "0"},
    ),
    (
        "a load balancer that gets node ports only where it asks for one",
        SERVICES,
        {"spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False, "ports": [{"nodePort": 1}, {}]}},
        {"services": "1", "count/services": "1", "services.nodeports": "1", "services.loadbalancers": "1"},
    ),
    (
        "a claim, by its class as well",
        PERSISTENT_VOLUME_CLAIMS,
        {
            "metadata": {},
            "spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1.5"}}},
        },
        {
            "persistentvolumeclaims": "1",
            "count/persistentvolumeclaims": "1",
            "requests.storage": "2",
            "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
            "gold.storageclass.storage.k8s.io/requests.storage": "2",
        },
    ),
]


@pytest.mark.parametrize(
    ("resource", "obj", "expected"), [each[1:] for each in USAGES], ids=[each[0] for each in USAGES]
)
def test_usage(resource: Resource, obj: KubeObject, expected: dict[str, str]) -> None:
    """Every object uses exactly what Kubernetes counts, under names that quotas of its kind track."""
    usage = usage_of(resource, obj, now=NOW)
    assert {name: shown(name, amount) for name, amount in usage.items()} == expected
    assert tracked(resource, usage) == usage.keys()


def test_kinds_track_their_own_names_only() -> None:
    """What one kind uses is never charged to another."""
    names = {name for _, resource, obj, _ in USAGES for name in usage_of(resource, obj, now=NOW)}
    assert tracked(CONFIG_MAPS, names) == {"configmaps", "count/configmaps"}
    assert tracked(DEPLOYMENTS, names) == {"count/deployments.apps"}
    assert not tracked(PODS, names) & tracked(PERSISTENT_VOLUME_CLAIMS, names)


def test_a_lost_pod_stops_counting() -> None:
    """A pod that should long have gone, and a pod that is going."""
    going = _pod(PLAIN)
    going["metadata"] |= {"deletionTimestamp": "2026-01-01T11:59:50Z", "deletionGracePeriodSeconds": 30}
    assert ends_counting(going, NOW) == datetime(2026, 1, 1, 12, 0, 20, tzinfo=UTC)
    assert usage_of(PODS, going, now=NOW)["pods"] == PER_UNIT
    late = datetime(2026, 1, 1, 12, 0, 20, tzinfo=UTC)
    assert usage_of(PODS, going, now=late) == {"count/pods": PER_UNIT}


def test_every_container_says_what_is_limited() -> None:
    """Those that don't are named; amounts of other resources need not be said."""
    pod = _pod(PLAIN, _container("d", limits={"memory": "1Gi"}), initContainers=[_container("i")])
    assert missing(pod, {"limits.memory", "requests.cpu", "requests.ephemeral-storage", "pods"}) == (
        "must specify limits.memory for: c,i; requests.cpu for: d,i"
    )
    assert missing(_pod(PLAIN), {"requests.cpu", "limits.cpu"}) == ""


def _scope(name: str, operator: str = "Exists", *values: str) -> KubeObject:
    selector: KubeObject = {"scopeName": name, "operator": operator}
    return {"scopeSelector": {"matchExpressions": [selector | ({"values": list(values)} if values else {})]}}


HIGH = _pod(PLAIN, priorityClassName="high")
TERM = {"topologyKey": "zone", "namespaces": ["other"]}
SPREAD = _pod(
    affinity={"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"podAffinityTerm": TERM}]}}
)
CLAIM: KubeObject = {
    "spec": {"volumeAttributesClassName": "fast"},
    "status": {"currentVolumeAttributesClassName": "slow"},
}
SCOPES: list[tuple[KubeObject, Resource, KubeObject, bool]] = [
    ({}, CONFIG_MAPS, {}, True),
    ({"scopes": ["NotTerminating"]}, CONFIG_MAPS, {}, False),
    ({"scopes": ["BestEffort"]}, PODS, _pod(_container()), True),
    ({"scopes": ["NotBestEffort"]}, PODS, _pod(PLAIN), True),
    ({"scopes": ["NotBestEffort", "Terminating"]}, PODS, _pod(PLAIN), False),
    ({"scopes": ["Terminating"]}, PODS, _pod(PLAIN, activeDeadlineSeconds=0), True),
    (_scope("PriorityClass"), PODS, HIGH, True),
    (_scope("PriorityClass", "DoesNotExist"), PODS, _pod(PLAIN), True),
    (_scope("PriorityClass", "In", "low", "high"), PODS, HIGH, True),
    (_scope("PriorityClass", "In", "low"), PODS, HIGH, False),
    (_scope("PriorityClass", "NotIn", "low"), PODS, HIGH, True),
    (_scope("PriorityClass", "NotIn", "high"), PODS, HIGH, False),
    (_scope("CrossNamespacePodAffinity"), PODS, SPREAD, True),
    (_scope("CrossNamespacePodAffinity"), PODS, HIGH, False),
    (_scope("VolumeAttributesClass", "In", "slow"), PERSISTENT_VOLUME_CLAIMS, CLAIM, True),
    (_scope("VolumeAttributesClass", "In", "none"), PERSISTENT_VOLUME_CLAIMS, CLAIM, False),
    (_scope("VolumeAttributesClass"), PODS, HIGH, False),
]


@pytest.mark.parametrize(("spec", "resource", "obj", "expected"), SCOPES)
def test_scopes(spec: KubeObject, resource: Resource, obj: KubeObject, expected: bool) -> None:
    """An object is counted if it is in all scopes."""
    assert in_scopes(spec, resource, obj) is expected
