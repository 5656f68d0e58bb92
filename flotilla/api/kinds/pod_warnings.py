"""Fields of a pod spec that are accepted and stored, and that this version doesn't act upon."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flotilla.api.kinds.pod_volumes import MOUNTED_KINDS, MOUNTED_PROJECTIONS

NOT_ACTED_UPON = "accepted, but this version of Flotilla does not act on it"
_NOT_MOUNTED = "this version of Flotilla can't mount such volumes; the pod will not start"
_SPEC_FIELDS = (
    "topologySpreadConstraints",
    "resourceClaims",
    "automountServiceAccountToken",
    "workloadRef",
)
_AFFINITIES = ("podAffinity", "podAntiAffinity")
_CONTAINER_FIELDS = ("volumeDevices",)
_SECURITY_FIELDS = ("seLinuxOptions", "windowsOptions")


_NO_SUCH_SOURCE = "this version of Flotilla can't read variables from files; the container will not start"


def _is_unlimited(resource: str) -> bool:
    """Whether no limit of that resource is enforced."""
    return resource.startswith("hugepages-")


def _idle_container_fields(container: Mapping[str, Any]) -> Iterator[str]:
    yield from (field for field in _CONTAINER_FIELDS if container.get(field))
    context = container.get("securityContext") or {}
    yield from (f"securityContext.{field}" for field in _SECURITY_FIELDS if context.get(field))
    limits = (container.get("resources") or {}).get("limits") or {}
    yield from (f"resources.limits[{resource}]" for resource in limits if _is_unlimited(resource))


def _repeated_variables(container: Mapping[str, Any], path: str) -> Iterator[str]:
    first: dict[str, int] = {}
    for index, entry in enumerate(container.get("env") or ()):
        name = entry.get("name", "")
        if name in first:
            where = f"{path}.env[{first[name]}]"
            yield f'{path}.env[{index}]: hides previous definition of "{name}" at {where}'
        first.setdefault(name, index)


def _unread_variables(container: Mapping[str, Any]) -> Iterator[str]:
    for index, entry in enumerate(container.get("env") or ()):
        if (entry.get("valueFrom") or {}).get("fileKeyRef") is not None:
            yield f"env[{index}].valueFrom.fileKeyRef"


def _idle_spec_fields(spec: Mapping[str, Any]) -> Iterator[str]:
    yield from (field for field in _SPEC_FIELDS if spec.get(field))
    yield from (f"affinity.{kind}" for kind in _AFFINITIES if (spec.get("affinity") or {}).get(kind))
    context = spec.get("securityContext") or {}
    yield from (f"securityContext.{field}" for field in _SECURITY_FIELDS if context.get(field))


def _unmounted_volumes(spec: Mapping[str, Any]) -> Iterator[str]:
    for index, volume in enumerate(spec.get("volumes") or ()):
        path = f"volumes[{index}]"
        yield from (f"{path}.{kind}" for kind in volume if kind != "name" and kind not in MOUNTED_KINDS)
        for number, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
            where = f"{path}.projected.sources[{number}]"
            yield from (f"{where}.{kind}" for kind in source if kind not in MOUNTED_PROJECTIONS)


def pod_spec_warnings(spec: Mapping[str, Any], path: str) -> list[str]:
    """One line for each such field of a pod spec at ``path``."""
    warnings = [f"{path}.{field}: {NOT_ACTED_UPON}" for field in _idle_spec_fields(spec)]
    warnings += [f"{path}.{volume}: {_NOT_MOUNTED}" for volume in _unmounted_volumes(spec)]
    for kind in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(kind) or ()):
            where = f"{path}.{kind}[{index}]"
            warnings += [f"{where}.{field}: {NOT_ACTED_UPON}" for field in _idle_container_fields(container)]
            warnings += [f"{where}.{field}: {_NO_SUCH_SOURCE}" for field in _unread_variables(container)]
            warnings += _repeated_variables(container, where)
    return warnings
