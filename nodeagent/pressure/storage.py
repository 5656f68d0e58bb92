"""Pods that have more on the disk than they may: their own bounds, not the node's.

``emptyDir.sizeLimit``, ``limits.ephemeral-storage`` of a container (writable layer and logs) and the sum of these
limits over the pod's containers (layers, logs and empty directories on disk). The words are the kubelet's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.quantities import bytes_of, format_bytes
from nodeagent.disk.places import PodDisk, container_bounds, volume_bounds


def excess(spec: Mapping[str, Any], disk: PodDisk) -> str:
    """Which bound a pod exceeds, as its status says it; empty if it keeps to all of them."""
    return _volume_excess(spec, disk) or _pod_excess(spec, disk) or _container_excess(spec, disk)


def _volume_excess(spec: Mapping[str, Any], disk: PodDisk) -> str:
    for name, limit in volume_bounds(spec).items():
        if disk.volumes.get(name, 0) > bytes_of(limit):
            return f'Usage of EmptyDir volume "{name}" exceeds the limit "{limit}". '
    return ""


def pod_limit(spec: Mapping[str, Any]) -> int:
    """The whole pod's bound in bytes: its containers' and sidecars', or an init container's larger one; 0 for none."""
    bounds = {name: bytes_of(limit) for name, limit in container_bounds(spec).items()}
    initial = spec.get("initContainers") or ()
    sidecars = [each["name"] for each in initial if each.get("restartPolicy") == "Always"]
    running = [each["name"] for each in spec.get("containers") or ()]
    kept = sum(bounds.get(name, 0) for name in (*running, *sidecars))
    return max([kept, *(bounds.get(each["name"], 0) for each in initial)])


def _pod_excess(spec: Mapping[str, Any], disk: PodDisk) -> str:
    limit = pod_limit(spec)
    if limit and disk.total > limit:
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {format_bytes(limit)}. "
    return ""


def _container_excess(spec: Mapping[str, Any], disk: PodDisk) -> str:
    for name, limit in container_bounds(spec).items():
        if disk.container(name) > bytes_of(limit):
            return f'Container {name} exceeded its local ephemeral storage limit "{limit}". '
    return ""
