"""Where a pod's data lies on this node, and what may bound it.

Local ephemeral storage, as Kubernetes counts it, is a container's writable layer and its logs, and the pod's empty
directories on disk. Directories in memory count as memory; files of ConfigMaps and the like lie in memory too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flotilla.api.quantities import bytes_of

EPHEMERAL_STORAGE = "ephemeral-storage"


@dataclass(frozen=True, slots=True)
class PodPlaces:
    """Directories by container or volume name. ``activity`` differs whenever the pod may have written something."""

    uid: str
    layers: Mapping[str, Path]
    logs: Mapping[str, Path]
    volumes: Mapping[str, Path]
    activity: object = None

    def directories(self) -> list[Path]:
        return [*self.layers.values(), *self.logs.values(), *self.volumes.values()]


@dataclass(frozen=True, slots=True)
class PodDisk:
    """Bytes (or inodes) by container or volume name, measured at ``time_unix_s``."""

    time_unix_s: float
    layers: Mapping[str, int] = field(default_factory=dict)
    logs: Mapping[str, int] = field(default_factory=dict)
    volumes: Mapping[str, int] = field(default_factory=dict)

    def container(self, name: str) -> int:
        """What one container takes: its writable layer and its logs."""
        return self.layers.get(name, 0) + self.logs.get(name, 0)

    @property
    def total(self) -> int:
        return sum(self.layers.values()) + sum(self.logs.values()) + sum(self.volumes.values())


def disk_directories(spec: Mapping[str, Any]) -> list[str]:
    """Names of the pod's empty directories that lie on the disk."""
    return [
        volume["name"]
        for volume in spec.get("volumes") or ()
        if "emptyDir" in volume and not (volume["emptyDir"] or {}).get("medium")
    ]


def volume_bounds(spec: Mapping[str, Any]) -> dict[str, str]:
    """``sizeLimit`` of the empty directories on disk that have one, as written; 0 is no bound."""
    on_disk = disk_directories(spec)
    limits = {
        volume["name"]: str((volume["emptyDir"] or {}).get("sizeLimit") or "")
        for volume in spec.get("volumes") or ()
        if volume["name"] in on_disk
    }
    return {name: limit for name, limit in limits.items() if limit and bytes_of(limit) > 0}


def container_bounds(spec: Mapping[str, Any]) -> dict[str, str]:
    """``limits[ephemeral-storage]`` of the containers that have one, as written; sidecars and init containers too."""
    found = {}
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        limit = ((container.get("resources") or {}).get("limits") or {}).get(EPHEMERAL_STORAGE)
        if limit is not None:
            found[container["name"]] = str(limit)
    return found


def is_bounded(spec: Mapping[str, Any]) -> bool:
    """Whether anything bounds what the pod may write to the disk."""
    return bool(container_bounds(spec) or volume_bounds(spec))
