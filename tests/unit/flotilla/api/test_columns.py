"""Tables say what kubectl's users know."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource
from flotilla.api.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    EVENTS,
    HORIZONTAL_POD_AUTOSCALERS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
)

Sample = Callable[[Resource], KubeObject]
Edited = Callable[[KubeObject, str, Any], KubeObject]
NOW = datetime(2026, 1, 1, 0, 10, tzinfo=UTC)
_FIVE_SECONDS_AGO = "2026-01-01T00:09:55Z"
_TEN_MINUTES_AGO = "2026-01-01T00:00:00Z"

HEADERS: list[tuple[Resource, str, str]] = [
    (PODS, "Name Ready Status Restarts Age", "IP Node Nominated Node Readiness Gates"),
    (DEPLOYMENTS, "Name Ready Up-to-date Available Age", "Containers Images Selector"),
    (REPLICA_SETS, "Name Desired Current Ready Age", "Containers Images Selector"),
    (SERVICES, "Name Type Cluster-IP External-IP Port(s) Age", "Selector"),
    (NODES, "Name Status Roles Age Version", "Internal-IP External-IP OS-Image Kernel-Version Container-Runtime"),
    (NAMESPACES, "Name Status Age", ""),
    (EVENTS, "Last Seen Type Reason Object Message", "Subobject Source First Seen Count Name"),
    (HORIZONTAL_POD_AUTOSCALERS, "Name Reference Targets MinPods MaxPods Replicas Age", ""),
    (ENDPOINTS, "Name Endpoints Age", ""),
    (ENDPOINT_SLICES, "Name AddressType Ports Endpoints Age", ""),
    (CONFIG_MAPS, "Name Data Age", ""),
    (SECRETS, "Name Type Data Age", ""),
    (SERVICE_ACCOUNTS, "Name Age", ""),
    (LEASES, "Name Holder Age", ""),
]


@pytest.mark.parametrize(("resource", "shown", "wide"), HEADERS, ids=[repr(case[0]) for case in HEADERS])
def test_headers(resource: Resource, shown: str, wide: str) -> None:
    """A kind must have the columns of Kubernetes, in order, at the same priority."""
    by_priority = [[column.name for column in resource.columns if column.priority == level] for level in (0, 1)]
    assert " ".join(by_priority[0]) == shown
    assert " ".join(by_priority[1]) == wide


def _row(resource: Resource, obj: KubeObject) -> dict[str, Any]:
    return {column.name: column.value(obj, NOW) for column in resource.columns}


def _pod(status: KubeObject, **more: Any) -> KubeObject:
    metadata = {"name": "web", "creationTimestamp": _TEN_MINUTES_AGO, **more.pop("metadata", {})}
    return {"metadata": metadata, "spec": {"containers": [{"name": "web"}], **more}, "status": status}


def _container(state: KubeObject, **more: Any) -> KubeObject:
    return {"name": "web", "state": state, "ready": False, "restartCount": 0, **more}


_RUNNING = {"running": {"startedAt": _FIVE_SECONDS_AGO}}
_READY = {"conditions": [{"type": "Ready", "status": "True"}]}
_INIT_SPEC = {"initContainers": [{"name": "first"}, {"name": "second"}]}
_SIDECAR_SPEC = {"initContainers": [{"name": "side", "restartPolicy": "Always"}]}

PODS_SHOWN: list[tuple[str, KubeObject, tuple[str, str, str]]] = [
    ("new", _pod({"phase": "Pending"}), ("0/1", "Pending", "0")),
    (
        "creating",
        _pod({"phase": "Pending", "containerStatuses": [_container({"waiting": {"reason": "ContainerCreating"}})]}),
        ("0/1", "ContainerCreating", "0"),
    ),
    (
        "running",
        _pod({"phase": "Running", "containerStatuses": [_container(_RUNNING, ready=True)]}),
        ("1/1", "Running", "0"),
    ),
    (
        "restarted",
        _pod(
            {
                "phase": "Running",
                "containerStatuses": [
                    _container(
                        _RUNNING,
                        ready=True,
                        restartCount=1,
                        lastState={"terminated": {"finishedAt": _FIVE_SECONDS_AGO}},
                    )
                ],
            }
        ),
        ("1/1", "Running", "1 (5s ago)"),
    ),
    (
        "crash loop",
        _pod(
            {
                "phase": "Running",
                "containerStatuses": [_container({"waiting": {"reason": "CrashLoopBackOff"}}, restartCount=3)],
            }
        ),
        ("0/1", "CrashLoopBackOff", "3"),
    ),
    (
        "out of memory",
        _pod({"phase": "Running", "containerStatuses": [_container({"terminated": {"reason": "OOMKilled"}})]}),
        ("0/1", "OOMKilled", "0"),
    ),
    (
        "exit code",
        _pod({"phase": "Failed", "containerStatuses": [_container({"terminated": {"exitCode": 3}})]}),
        ("0/1", "ExitCode:3", "0"),
    ),
    (
        "signal",
        _pod({"phase": "Failed", "containerStatuses": [_container({"terminated": {"signal": 9, "exitCode": 137}})]}),
        ("0/1", "Signal:9", "0"),
    ),
    (
        "completed",
        _pod({"phase": "Succeeded", "containerStatuses": [_container({"terminated": {"reason": "Completed"}})]}),
        ("0/1", "Completed", "0"),
    ),
    (
        "one of two completed",
        _pod(
            {
                "phase": "Running",
                "containerStatuses": [
                    _container({"terminated": {"reason": "Completed"}}),
                    _container(_RUNNING, name="b", ready=True),
                ],
                **_READY,
            },
            containers=[{"name": "web"}, {"name": "b"}],
        ),
        ("1/2", "Running", "0"),
    ),
    (
        "terminating",
        _pod(
            {"phase": "Running", "containerStatuses": [_container(_RUNNING, ready=True)]},
            metadata={"deletionTimestamp": _FIVE_SECONDS_AGO},
        ),
        ("1/1", "Terminating", "0"),
    ),
    ("evicted", _pod({"phase": "Failed", "reason": "Evicted"}), ("0/1", "Evicted", "0")),
    (
        "second init container",
        _pod(
            {
                "phase": "Pending",
                "initContainerStatuses": [
                    _container({"terminated": {"exitCode": 0}}, name="first"),
                    _container(_RUNNING, name="second"),
                ],
            },
            **_INIT_SPEC,
        ),
        ("0/1", "Init:1/2", "0"),
    ),
    (
        "failing init container",
        _pod(
            {
                "phase": "Pending",
                "initContainerStatuses": [
                    _container({"waiting": {"reason": "CrashLoopBackOff"}}, name="first", restartCount=2)
                ],
            },
            **_INIT_SPEC,
        ),
        ("0/1", "Init:CrashLoopBackOff", "2"),
    ),
    (
        "sidecar",
        _pod(
            {
                "phase": "Running",
                "initContainerStatuses": [_container(_RUNNING, name="side", ready=True, started=True)],
                "containerStatuses": [_container(_RUNNING, ready=True)],
            },
            **_SIDECAR_SPEC,
        ),
        ("2/2", "Running", "0"),
    ),
    (
        "gated",
        _pod({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}),
        ("0/1", "SchedulingGated", "0"),
    ),
]


@pytest.mark.parametrize(("pod", "expected"), [case[1:] for case in PODS_SHOWN], ids=[case[0] for case in PODS_SHOWN])
def test_pods(pod: KubeObject, expected: tuple[str, str, str]) -> None:
    """READY, STATUS and RESTARTS must sum up a pod as kubectl does."""
    row = _row(PODS, pod)
    assert (row["Ready"], row["Status"], row["Restarts"]) == expected
    assert row["Age"] == "10m"


def test_deployments(sample: Sample, edited: Edited) -> None:
    """Ready of desired, and the template's containers in the wide form."""
    obj = edited(edited(sample(DEPLOYMENTS), "spec.replicas", 3), "status", {"readyReplicas": 2, "updatedReplicas": 1})
    row = _row(DEPLOYMENTS, obj)
    assert row == {
        "Name": "web",
        "Ready": "2/3",
        "Up-to-date": 1,
        "Available": 0,
        "Age": "<unknown>",
        "Containers": "web",
        "Images": "web:1",
        "Selector": "app=web",
    }


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"type": "ClusterIP", "clusterIP": "10.43.0.5"}, ("10.43.0.5", "<none>", "<none>")),
        (
            {"type": "NodePort", "clusterIP": "10.43.0.5", "ports": [{"port": 80, "nodePort": 30080}]},
            ("10.43.0.5", "<none>", "80:30080/TCP"),
        ),
        (
            {"type": "LoadBalancer", "ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}]},
            ("<none>", "<pending>", "80/TCP,53/UDP"),
        ),
        ({"type": "ExternalName", "externalName": "example.com"}, ("<none>", "example.com", "<none>")),
        ({"type": "ClusterIP", "clusterIP": "None"}, ("None", "<none>", "<none>")),
    ],
)
def test_services(sample: Sample, spec: KubeObject, expected: tuple[str, str, str]) -> None:
    """Addresses and ports must read as kubectl prints them."""
    row = _row(SERVICES, sample(SERVICES) | {"spec": spec})
    assert (row["Cluster-IP"], row["External-IP"], row["Port(s)"]) == expected


@pytest.mark.parametrize(
    ("spec", "conditions", "expected"),
    [
        ({}, [], "Unknown"),
        ({}, [{"type": "Ready", "status": "True"}], "Ready"),
        ({}, [{"type": "Ready", "status": "Unknown"}], "NotReady"),
        ({"unschedulable": True}, [{"type": "Ready", "status": "True"}], "Ready,SchedulingDisabled"),
    ],
)
def test_nodes(spec: KubeObject, conditions: list[KubeObject], expected: str) -> None:
    """A node's status is its Ready condition and whether it is cordoned."""
    metadata = {"name": "n", "labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "edge"}}
    row = _row(NODES, {"metadata": metadata, "spec": spec, "status": {"conditions": conditions}})
    assert (row["Status"], row["Roles"], row["Internal-IP"]) == (expected, "control-plane,edge", "<none>")


def test_autoscalers(sample: Sample, edited: Edited) -> None:
    """Targets must show the current value beside the wanted one, unknown until there is one."""
    obj = sample(HORIZONTAL_POD_AUTOSCALERS)
    row = _row(HORIZONTAL_POD_AUTOSCALERS, obj)
    assert (row["Reference"], row["Targets"], row["MinPods"]) == ("Deployment/web", "cpu: <unknown>/50%", "<unset>")
    current = [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 12}}}]
    obj = edited(obj, "status", {"currentMetrics": current, "currentReplicas": 2})
    row = _row(HORIZONTAL_POD_AUTOSCALERS, obj)
    assert (row["Targets"], row["MaxPods"], row["Replicas"]) == ("cpu: 12%/50%", 8, 2)


def test_many_metrics_are_cut(sample: Sample, edited: Edited) -> None:
    """A table shows two metrics and counts the rest."""
    metric = {"type": "Resource", "resource": {"name": "memory", "target": {"averageValue": "64Mi"}}}
    pods = {"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"averageValue": "5"}}}
    obj = edited(sample(HORIZONTAL_POD_AUTOSCALERS), "spec.metrics", [metric, pods, metric, metric])
    targets = _row(HORIZONTAL_POD_AUTOSCALERS, obj)["Targets"]
    assert targets == "memory: <unknown>/64Mi, <unknown>/5 + 2 more..."


def test_events() -> None:
    """An event's row must say when, about what and how often."""
    event = {
        "metadata": {"name": "e"},
        "type": "Warning",
        "reason": "BackOff",
        "message": "Back-off restarting\n",
        "count": 4,
        "firstTimestamp": _TEN_MINUTES_AGO,
        "lastTimestamp": _FIVE_SECONDS_AGO,
        "involvedObject": {"kind": "Pod", "name": "web", "fieldPath": "spec.containers{web}"},
        "source": {"component": "agent", "host": "n"},
    }
    assert _row(EVENTS, event) == {
        "Last Seen": "5s",
        "Type": "Warning",
        "Reason": "BackOff",
        "Object": "pod/web",
        "Subobject": "spec.containers{web}",
        "Source": "agent, n",
        "Message": "Back-off restarting",
        "First Seen": "10m",
        "Count": 4,
        "Name": "e",
    }


def test_endpoints(sample: Sample) -> None:
    """Three endpoints are shown, the rest counted."""
    addresses = [{"ip": f"10.42.0.{number}"} for number in range(5)]
    obj = sample(ENDPOINTS) | {"subsets": [{"addresses": addresses, "ports": [{"port": 80}]}]}
    assert _row(ENDPOINTS, obj)["Endpoints"] == "10.42.0.0:80,10.42.0.1:80,10.42.0.2:80 + 2 more..."
    assert _row(ENDPOINTS, sample(ENDPOINTS))["Endpoints"] == "<none>"
    slice_ = sample(ENDPOINT_SLICES) | {"addressType": "IPv4", "endpoints": [{"addresses": ["10.42.0.1"]}]}
    row = _row(ENDPOINT_SLICES, slice_)
    assert (row["AddressType"], row["Ports"], row["Endpoints"]) == ("IPv4", "<unset>", "10.42.0.1")


def test_counts_of_data(sample: Sample) -> None:
    """DATA must count keys of both maps."""
    assert _row(CONFIG_MAPS, sample(CONFIG_MAPS) | {"data": {"a": ""}, "binaryData": {"b": ""}})["Data"] == 2
    assert _row(SECRETS, sample(SECRETS) | {"type": "Opaque", "data": {"a": ""}})["Data"] == 1
