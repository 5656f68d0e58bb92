"""What one object uses, by the names that a quota may limit. Pure.

Source: ``k8s.io/kubernetes/pkg/quota/v1/evaluator/core``. Pods use compute resources until they have ended; claims use
storage, also of their class; Services node ports and load balancers; every object of any kind counts as one of
``count/<resource>.<group>``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from controlplane.quota.amounts import PER_UNIT, Amounts, amounts_of
from flotilla.api.kinds.resource_names import is_huge_pages, is_native
from flotilla.api.objects import KubeObject, annotations_of, parse_time
from flotilla.api.registry import Resource
from flotilla.api.resources import EVENTS, PERSISTENT_VOLUME_CLAIMS, PODS, SERVICES

REQUIRED_OF_CONTAINERS = frozenset({"cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"})
"""Names that, once limited, every container has to say how much it wants of."""

_ALSO_CALLED = frozenset({"configmaps", "persistentvolumeclaims", "pods", "replicationcontrollers", "resourcequotas"})
_ALSO_CALLED |= {"secrets", "services"}
_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_OF_CLASS = ".storageclass.storage.k8s.io/"
_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
_ENDED = ("Succeeded", "Failed")


def count_name(resource: Resource) -> str:
    """The name under which objects of a kind are counted."""
    return f"count/{resource.plural}.{resource.group}" if resource.group else f"count/{resource.plural}"


def is_counted(resource: Resource) -> bool:
    """Whether quotas know the kind at all."""
    return resource.namespaced and resource.hub is not EVENTS


def tracked(resource: Resource, names: Iterable[str]) -> set[str]:
    """Those of the names that objects of the kind may use something of."""
    return {name for name in names if _uses(resource, name)}


def _uses(resource: Resource, name: str) -> bool:
    if name == count_name(resource):
        return True
    if resource.group:
        return False
    if resource is PODS:
        bare = name.removeprefix("requests.")
        is_compute = bare.removeprefix("limits.") in _COMPUTE or is_huge_pages(bare)
        return name == "pods" or is_compute or (bare != name and not is_native(bare))
    if resource is PERSISTENT_VOLUME_CLAIMS:
        return name.rpartition(_OF_CLASS)[2] in ("persistentvolumeclaims", "requests.storage")
    if resource is SERVICES:
        return name in ("services", "services.nodeports", "services.loadbalancers")
    return name == resource.plural and name in _ALSO_CALLED


def usage_of(resource: Resource, obj: Mapping[str, Any], *, now: datetime) -> dict[str, int]:
    """What a valid, defaulted object uses."""
    used = {count_name(resource): PER_UNIT}
    if resource.group:
        return used
    if resource is PODS:
        ends = ends_counting(obj, now)
        return used | (_pod_usage(obj) if ends is None or ends > now else {})
    if resource.plural in _ALSO_CALLED:
        used[resource.plural] = PER_UNIT
    if resource is PERSISTENT_VOLUME_CLAIMS:
        used |= _claim_usage(obj)
    elif resource is SERVICES:
        used |= _service_usage(obj.get("spec") or {})
    return used


def ends_counting(pod: Mapping[str, Any], now: datetime) -> datetime | None:
    """When a pod stops using anything but its place in the store, ``now`` or before if it has; None if nobody knows.

    A pod that is being deleted counts for twice its grace period at most, so that a dead node's don't count forever.
    """
    if (pod.get("status") or {}).get("phase") in _ENDED:
        return now
    metadata = pod["metadata"]
    deleted, grace_s = metadata.get("deletionTimestamp"), metadata.get("deletionGracePeriodSeconds")
    if not deleted or grace_s is None:
        return None
    return parse_time(deleted) + timedelta(seconds=grace_s)


def missing(pod: Mapping[str, Any], names: Iterable[str]) -> str:
    """What containers don't say of the limited ``names`` that each must say, as a refusal; empty if nothing."""
    required = REQUIRED_OF_CONTAINERS.intersection(names)
    unsaid: dict[str, set[str]] = {}
    spec = pod.get("spec") or {}
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        resources = container.get("resources") or {}
        said = _named(resources.get("requests") or {}, resources.get("limits") or {})
        for name in required - said.keys():
            unsaid.setdefault(name, set()).add(container["name"])
    parts = [f"{name} for: {','.join(sorted(containers))}" for name, containers in sorted(unsaid.items())]
    return f"must specify {'; '.join(parts)}" if parts else ""


def _named(requests: Mapping[str, Any], limits: Mapping[str, Any]) -> dict[str, Any]:
    """Amounts that a pod asks for, under all the names that a quota may give them."""
    found: dict[str, Any] = {}
    for name, amount in requests.items():
        if name in _COMPUTE or is_huge_pages(name):
            found[name] = amount
        found[f"requests.{name}"] = amount
    for name in _COMPUTE:
        if name in limits:
            found[f"limits.{name}"] = limits[name]
    return found


def _pod_usage(pod: Mapping[str, Any]) -> dict[str, int]:
    return {"pods": PER_UNIT} | _named(_pod_amounts(pod, "requests"), _pod_amounts(pod, "limits"))


def _sum(one: Amounts, other: Amounts) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in one.keys() | other.keys()}


def _largest(one: Amounts, other: Amounts) -> dict[str, int]:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in one.keys() | other.keys()}


def _pod_amounts(pod: Mapping[str, Any], part: str) -> dict[str, int]:
    """What a pod asks for as a whole: containers and sidecars, or more while it starts, and its overhead."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    held = {each.get("name"): each.get("resources") or {} for each in status.get("containerStatuses") or ()}
    total: dict[str, int] = {}
    for container in spec.get("containers") or ():
        wanted = amounts_of((container.get("resources") or {}).get(part))
        total = _sum(total, _largest(wanted, amounts_of(held.get(container["name"], {}).get(part))))
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in spec.get("initContainers") or ():
        needed = _sum(sidecars, amounts_of((container.get("resources") or {}).get(part)))
        peak = _largest(peak, needed)
        if container.get("restartPolicy") == "Always":
            sidecars = needed
    total = _largest(_sum(total, sidecars), peak) | amounts_of((spec.get("resources") or {}).get(part))
    overhead = amounts_of(spec.get("overhead"))
    if part == "limits":
        overhead = {name: amount for name, amount in overhead.items() if total.get(name)}
    return _sum(total, overhead)


def storage_class_of(claim: Mapping[str, Any]) -> str:
    """The class that a claim names, in its spec or by the annotation from before there was a field."""
    return str(annotations_of(claim).get(_CLASS_ANNOTATION) or (claim.get("spec") or {}).get("storageClassName") or "")


def _claim_usage(claim: Mapping[str, Any]) -> dict[str, int]:
    requests = ((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}
    used = {"persistentvolumeclaims": PER_UNIT}
    if "storage" in requests:
        used["requests.storage"] = -(-amounts_of(requests)["storage"] // PER_UNIT) * PER_UNIT
    named = storage_class_of(claim)
    return used | ({f"{named}{_OF_CLASS}{name}": amount for name, amount in used.items()} if named else {})


def _service_usage(spec: KubeObject) -> dict[str, int]:
    kind, ports = spec.get("type"), spec.get("ports") or ()
    node_ports = len(ports) if kind in ("NodePort", "LoadBalancer") else 0
    if kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is False:
        node_ports = sum(1 for port in ports if port.get("nodePort"))
    balancers = PER_UNIT if kind == "LoadBalancer" else 0
    return {"services.nodeports": node_ports * PER_UNIT, "services.loadbalancers": balancers}
