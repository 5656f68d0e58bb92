"""The state of objects as Prometheus series, under the names of kube-state-metrics: ``/metrics/state``.

Dashboards and alerts that were written for kube-state-metrics 2 work with it. The text is written in turns, because ten
thousand pods are a tenth of a second's work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from controlplane.api.turns import Breather
from controlplane.store.cache import Cache, Entry
from flotilla.api.quantities import parse_quantity
from flotilla.api.registry import Resource
from flotilla.api.resources import (
    DEPLOYMENTS,
    HORIZONTAL_POD_AUTOSCALERS,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    SERVICES,
)

PATH = "/metrics/state"
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
_UNITS = {"cpu": "core", "memory": "byte", "ephemeral-storage": "byte"}

Sample = tuple[str, dict[str, Any], float]
"""Name, labels, value."""


async def state_metrics(cache: Cache) -> bytes:
    """Everything, in the text format 0.0.4: the series of each name together, below its type."""
    groups: dict[str, list[str]] = {}
    breather = Breather()
    for resource, read in _READERS:
        for entry in list(cache.list(resource)):
            for name, labels, value in read(entry):
                groups.setdefault(name, []).append(_line(name, labels, value))
            await breather.breathe()
    lines: list[str] = []
    for name, group in groups.items():
        lines += (f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}", *group)
    return "\n".join([*lines, ""]).encode()


def _line(name: str, labels: Mapping[str, Any], value: float) -> str:
    written = ",".join(f'{key}="{str(text).translate(_ESCAPES)}"' for key, text in labels.items())
    return f"{name}{{{written}}} {value:g}"


def _place(entry: Entry, kind: str) -> dict[str, Any]:
    return {"namespace": entry.namespace, kind: entry.name}


def _pods(entry: Entry) -> Iterator[Sample]:
    spec, status, place = entry.obj["spec"], entry.obj.get("status") or {}, _place(entry, "pod")
    owner: Mapping[str, Any] = next(iter(entry.obj["metadata"].get("ownerReferences") or ()), {})
    info = {
        "node": entry.node,
        "pod_ip": status.get("podIP", ""),
        "host_ip": status.get("hostIP", ""),
        "created_by_kind": owner.get("kind", ""),
        "created_by_name": owner.get("name", ""),
        "uid": entry.uid,
    }
    yield "kube_pod_info", place | info, 1
    yield "kube_pod_status_phase", place | {"phase": status.get("phase") or "Pending"}, 1
    for condition in status.get("conditions") or ():
        if condition["type"] == "Ready":
            yield "kube_pod_status_ready", place | {"condition": condition["status"].lower()}, 1
    for container in status.get("containerStatuses") or ():
        own = place | {"container": container["name"]}
        yield "kube_pod_container_status_restarts_total", own, container.get("restartCount", 0)
        yield "kube_pod_container_status_ready", own, bool(container.get("ready"))
        for state, details in (container.get("state") or {}).items():
            if state != "running":
                reason = {"reason": details.get("reason") or ""}
                yield f"kube_pod_container_status_{state}_reason", own | reason, 1
    for container in spec["containers"]:
        for part in ("requests", "limits"):
            for resource, amount in ((container.get("resources") or {}).get(part) or {}).items():
                own = place | {"container": container["name"], "node": entry.node}
                kind = {"resource": resource.replace("-", "_"), "unit": _UNITS.get(resource, "integer")}
                yield f"kube_pod_container_resource_{part}", own | kind, float(parse_quantity(amount))


def _deployments(entry: Entry) -> Iterator[Sample]:
    yield from _replicas(entry, "deployment", ("replicas", "availableReplicas", "updatedReplicas", "readyReplicas"))
    place, status = _place(entry, "deployment"), entry.obj.get("status") or {}
    yield "kube_deployment_status_replicas_unavailable", place, status.get("unavailableReplicas", 0)
    yield "kube_deployment_status_observed_generation", place, status.get("observedGeneration", 0)


def _replica_sets(entry: Entry) -> Iterator[Sample]:
    yield from _replicas(entry, "replicaset", ("replicas", "readyReplicas"))


def _replicas(entry: Entry, kind: str, fields: Iterable[str]) -> Iterator[Sample]:
    place, status = _place(entry, kind), entry.obj.get("status") or {}
    metadata = entry.obj["metadata"]
    yield f"kube_{kind}_spec_replicas", place, entry.obj["spec"].get("replicas", 1)
    yield f"kube_{kind}_metadata_generation", place, metadata.get("generation", 0)
    for name in fields:
        ending = f"_{name.removesuffix('Replicas')}" if name != "replicas" else ""
        yield f"kube_{kind}_status_replicas{ending}", place, status.get(name, 0)


def _autoscalers(entry: Entry) -> Iterator[Sample]:
    place, spec, status = _place(entry, "horizontalpodautoscaler"), entry.obj["spec"], entry.obj.get("status") or {}
    prefix = "kube_horizontalpodautoscaler"
    yield f"{prefix}_spec_min_replicas", place, spec.get("minReplicas", 1)
    yield f"{prefix}_spec_max_replicas", place, spec["maxReplicas"]
    yield f"{prefix}_status_current_replicas", place, status.get("currentReplicas", 0)
    yield f"{prefix}_status_desired_replicas", place, status.get("desiredReplicas", 0)
    for condition in status.get("conditions") or ():
        own = place | {"condition": condition["type"], "status": condition["status"].lower()}
        yield f"{prefix}_status_condition", own, 1


def _nodes(entry: Entry) -> Iterator[Sample]:
    place, status = {"node": entry.name}, entry.obj.get("status") or {}
    info = status.get("nodeInfo") or {}
    versions = {"kernel_version": info.get("kernelVersion", ""), "kubelet_version": info.get("kubeletVersion", "")}
    yield "kube_node_info", place | versions | {"os_image": info.get("osImage", "")}, 1
    yield "kube_node_spec_unschedulable", place, bool((entry.obj.get("spec") or {}).get("unschedulable"))
    for condition in status.get("conditions") or ():
        own = place | {"condition": condition["type"], "status": condition["status"].lower()}
        yield "kube_node_status_condition", own, 1
    for part in ("capacity", "allocatable"):
        for resource, amount in (status.get(part) or {}).items():
            kind = {"resource": resource.replace("-", "_"), "unit": _UNITS.get(resource, "integer")}
            yield f"kube_node_status_{part}", place | kind, float(parse_quantity(amount))


def _namespaces(entry: Entry) -> Iterator[Sample]:
    phase = (entry.obj.get("status") or {}).get("phase") or "Active"
    yield "kube_namespace_status_phase", {"namespace": entry.name, "phase": phase}, 1


def _services(entry: Entry) -> Iterator[Sample]:
    spec = entry.obj["spec"]
    yield "kube_service_info", _place(entry, "service") | {"cluster_ip": spec.get("clusterIP", "")}, 1
    yield "kube_service_spec_type", _place(entry, "service") | {"type": spec.get("type") or "ClusterIP"}, 1


_READERS: tuple[tuple[Resource, Callable[[Entry], Iterator[Sample]]], ...] = (
    (NAMESPACES, _namespaces),
    (NODES, _nodes),
    (PODS, _pods),
    (DEPLOYMENTS, _deployments),
    (REPLICA_SETS, _replica_sets),
    (HORIZONTAL_POD_AUTOSCALERS, _autoscalers),
    (SERVICES, _services),
)
