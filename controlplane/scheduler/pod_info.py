"""What the scheduler needs of a pod, read once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.scheduler.affinity import preferred_terms, required_part
from flotilla.api.objects import KubeObject, controller_of, encode, labels_of, name_of, namespace_of, uid_of
from flotilla.api.quantities import bytes_of, parse_quantity
from flotilla.api.storage import claim_of
from flotilla.api.workloads import POD_TEMPLATE_HASH, pod_requests

SCHEDULER_NAME = "default-scheduler"
CPU = "cpu"
MEMORY = "memory"
PODS = "pods"
_LEAST_SCORED_CPU_MILLIS = 100
_LEAST_SCORED_MEMORY_BYTES = 200 * 2**20
_ANY_ADDRESS = "0.0.0.0"

HostPort = tuple[str, str, int]
"""Address, protocol, port."""


@dataclass(frozen=True, slots=True)
class PodInfo:
    """``requests`` has every resource that the pod occupies, itself included (one of ``pods``).

    ``scored`` is cpu and memory as they count for balance: a pod that asks for nothing still uses something.
    ``groups`` name what it shall be spread with; ``claims`` are the names of its volumes' claims, each with whether it
    is made for the pod. ``signature`` is the same for pods that fit the same nodes.
    """

    namespace: str
    name: str
    uid: str
    priority: int
    requests: Mapping[str, int]
    scored: tuple[int, int]
    ports: frozenset[HostPort]
    tolerations: tuple[Mapping[str, Any], ...]
    required: Mapping[str, Any]
    required_key: bytes
    preferred: tuple[Mapping[str, Any], ...]
    groups: tuple[str, ...]
    claims: tuple[tuple[str, bool], ...]
    signature: bytes
    reference: Mapping[str, Any]


def read_pod(pod: KubeObject) -> PodInfo:
    """The scheduler's view of a pod."""
    spec = pod["spec"]
    requests = pod_requests(spec) | _other_requests(spec) | {PODS: 1}
    ports = _host_ports(spec)
    tolerations = tuple(spec.get("tolerations") or ())
    required = required_part(spec)
    required_key = encode(required) if required else b""
    claims = _claims(pod)
    signature = encode([requests, sorted(ports), tolerations]) + required_key
    if claims:
        signature += encode([namespace_of(pod), claims])
    reference = {"apiVersion": "v1", "kind": "Pod", "namespace": namespace_of(pod), "name": name_of(pod)}
    return PodInfo(
        namespace=namespace_of(pod),
        name=name_of(pod),
        uid=uid_of(pod),
        priority=spec.get("priority") or 0,
        requests=requests,
        scored=(
            max(requests[CPU], _LEAST_SCORED_CPU_MILLIS),
            max(requests[MEMORY], _LEAST_SCORED_MEMORY_BYTES),
        ),
        ports=ports,
        tolerations=tolerations,
        required=required,
        required_key=required_key,
        preferred=tuple(preferred_terms(spec)),
        groups=_groups(pod),
        claims=claims,
        signature=signature,
        reference=reference | {"uid": uid_of(pod)},
    )


def _claims(pod: KubeObject) -> tuple[tuple[str, bool], ...]:
    volumes = pod["spec"].get("volumes") or ()
    named = {claim_of(pod, volume): volume.get("ephemeral") is not None for volume in volumes}
    return tuple(sorted((name, ephemeral) for name, ephemeral in named.items() if name))


def awaits_scheduling(pod: KubeObject) -> bool:
    """Whether the pod is this scheduler's to assign now."""
    spec = pod["spec"]
    return (
        not spec.get("nodeName")
        and not pod["metadata"].get("deletionTimestamp")
        and not spec.get("schedulingGates")
        and (spec.get("schedulerName") or SCHEDULER_NAME) == SCHEDULER_NAME
        and not has_ended(pod)
    )


def has_ended(pod: KubeObject) -> bool:
    """Whether the pod occupies nothing any more."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _other_requests(spec: Mapping[str, Any]) -> dict[str, int]:
    """Requests of all resources but cpu and memory, in whole units (bytes for storage)."""
    total: Counter[str] = Counter()
    for container in spec.get("containers") or ():
        total.update(_other_amounts(container))
    peak: dict[str, int] = {}
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            total.update(_other_amounts(container))
            continue
        for name, amount in _other_amounts(container).items():
            peak[name] = max(peak.get(name, 0), amount)
    return {name: max(total[name], peak.get(name, 0)) for name in total.keys() | peak.keys()}


def _other_amounts(container: Mapping[str, Any]) -> dict[str, int]:
    requests = (container.get("resources") or {}).get("requests") or {}
    return {name: bytes_of(amount) for name, amount in requests.items() if name not in (CPU, MEMORY)}


def allocatable_of(node: KubeObject) -> dict[str, int]:
    """What a node can give: cpu in thousandths, everything else in whole units."""
    status = node.get("status") or {}
    listed = status.get("allocatable") or status.get("capacity") or {}
    return {name: int(parse_quantity(amount) * (1000 if name == CPU else 1)) for name, amount in listed.items()}


def _host_ports(spec: Mapping[str, Any]) -> frozenset[HostPort]:
    sidecars = [each for each in spec.get("initContainers") or () if each.get("restartPolicy") == "Always"]
    return frozenset(
        (port.get("hostIP") or _ANY_ADDRESS, port.get("protocol") or "TCP", port["hostPort"])
        for container in (*(spec.get("containers") or ()), *sidecars)
        for port in container.get("ports") or ()
        if port.get("hostPort")
    )


def ports_conflict(wanted: frozenset[HostPort], used: Mapping[HostPort, int]) -> bool:
    """Whether a port is taken; ``0.0.0.0`` overlaps with every address."""
    return any(
        protocol == other_protocol
        and port == other_port
        and (address == other_address or _ANY_ADDRESS in (address, other_address))
        for address, protocol, port in wanted
        for other_address, other_protocol, other_port in used
    )


def _groups(pod: KubeObject) -> tuple[str, ...]:
    """The pod's controller, and its labels, which pods of one Service or Deployment share across rollouts."""
    groups = []
    owner = controller_of(pod)
    if owner is not None:
        groups.append(owner["uid"])
    labels = sorted(item for item in labels_of(pod).items() if item[0] != POD_TEMPLATE_HASH)
    if labels:
        groups.append(f"{namespace_of(pod)}/{labels}")
    return tuple(groups)
