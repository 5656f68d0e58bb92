"""In which order pods go when something has run out, and how that is worded.

Memory: first pods that use more than they requested, then those of lower priority, then those that use most beyond
their request. Process ids: lower priority first, then most processes. Disk: as memory, by what a pod has on it.
Critical pods (static ones, and those of a system priority) never go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flotilla.api.objects import KubeObject
from flotilla.api.quantities import bytes_of, format_bytes
from nodeagent.disk.places import EPHEMERAL_STORAGE
from nodeagent.node_shutdown import CRITICAL_PRIORITY
from nodeagent.pressure.signals import Observation
from nodeagent.pressure.thresholds import (
    ALLOCATABLE_MEMORY,
    IMAGEFS_AVAILABLE,
    IMAGEFS_INODES_FREE,
    MEMORY_AVAILABLE,
    NODEFS_AVAILABLE,
    NODEFS_INODES_FREE,
    PID_AVAILABLE,
    Threshold,
)
from nodeagent.static_pods.manifests import is_static

REASON = "Evicted"
RESOURCES = {
    MEMORY_AVAILABLE: "memory",
    ALLOCATABLE_MEMORY: "memory",
    NODEFS_AVAILABLE: EPHEMERAL_STORAGE,
    IMAGEFS_AVAILABLE: EPHEMERAL_STORAGE,
    NODEFS_INODES_FREE: "inodes",
    IMAGEFS_INODES_FREE: "inodes",
    PID_AVAILABLE: "pids",
}


@dataclass(frozen=True, slots=True)
class PodUse:
    """What a pod uses of the resource that is short; ``containers`` have their own shares by name."""

    pod: KubeObject
    used: int
    containers: Mapping[str, int] = field(default_factory=dict)


def is_critical(pod: Mapping[str, Any]) -> bool:
    """Whether the node can't do without the pod."""
    return is_static(pod) or priority_of(pod) >= CRITICAL_PRIORITY


def priority_of(pod: Mapping[str, Any]) -> int:
    return int(pod["spec"].get("priority") or 0)


def container_request(container: Mapping[str, Any], resource: str) -> int:
    """What a container requests in bytes; resources that can't be requested are 0."""
    requests = (container.get("resources") or {}).get("requests") or {}
    return bytes_of(requests.get(resource, 0))


def pod_request(pod: Mapping[str, Any], resource: str) -> int:
    """What a pod requests: its containers and sidecars together, or its largest init container if that is more."""
    spec = pod["spec"]
    own = bytes_of(((spec.get("resources") or {}).get("requests") or {}).get(resource, 0))
    if own:
        return own
    initial = spec.get("initContainers") or ()
    sidecars = [each for each in initial if each.get("restartPolicy") == "Always"]
    running = sum(container_request(each, resource) for each in (*(spec.get("containers") or ()), *sidecars))
    return max([running, *(container_request(each, resource) for each in initial)])


def rank(threshold: Threshold, uses: Iterable[PodUse]) -> list[PodUse]:
    """The pods that may go, the first to go first."""
    resource = RESOURCES[threshold.signal]
    candidates = [use for use in uses if not is_critical(use.pod)]
    if resource in ("memory", EPHEMERAL_STORAGE):
        return sorted(candidates, key=_by_request(resource))
    return sorted(candidates, key=lambda use: (priority_of(use.pod), -use.used))


def _by_request(resource: str) -> Callable[[PodUse], tuple[bool, int, int]]:
    def key(use: PodUse) -> tuple[bool, int, int]:
        beyond = use.used - pod_request(use.pod, resource)
        return (beyond <= 0, priority_of(use.pod), -beyond)

    return key


def message(threshold: Threshold, observation: Observation | None, use: PodUse) -> str:
    """Why a pod had to go, as the kubelet words it."""
    resource = RESOURCES[threshold.signal]
    parts = [f"The node was low on resource: {resource}. "]
    if observation is not None:
        wanted = _shown(threshold.amount.of(observation.capacity), resource)
        available = _shown(observation.available, resource)
        parts.append(f"Threshold quantity: {wanted}, available: {available}. ")
    if resource in ("memory", EPHEMERAL_STORAGE):
        parts += _greedy_containers(use, resource)
    return "".join(parts)


def _greedy_containers(use: PodUse, resource: str) -> list[str]:
    found = []
    for container in _containers(use.pod):
        used, request = use.containers.get(container["name"], 0), container_request(container, resource)
        if used > request:
            found.append(
                f"Container {container['name']} was using {_shown(used, resource)}, "
                f"request is {_shown(request, resource)}, has larger consumption of {resource}. "
            )
    return found


def _containers(pod: Mapping[str, Any]) -> Sequence[KubeObject]:
    return [*(pod["spec"].get("containers") or ()), *(pod["spec"].get("initContainers") or ())]


def _shown(amount: int, resource: str) -> str:
    """Bytes in whole KiB or a larger unit that divides them; inodes and process ids are plain numbers."""
    if resource in ("inodes", "pids"):
        return str(amount)
    return format_bytes(amount if amount < 1024 else amount // 1024 * 1024)
