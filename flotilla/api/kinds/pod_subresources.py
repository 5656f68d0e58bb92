"""What may be changed in a running pod through its ``ephemeralcontainers`` and ``resize`` subresources.

Source: ``ValidatePodEphemeralContainersUpdate`` and ``ValidatePodResize`` in ``k8s.io/kubernetes/pkg/apis/core``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import duplicate, each_invalid, forbidden, invalid, not_found, required
from flotilla.api.kinds.pod_containers import validate_container
from flotilla.api.names import dns_label_faults
from flotilla.api.objects import KubeObject
from flotilla.api.workloads import qos_class

_NOT_FOR_EPHEMERAL = ("ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resources")
_CONTAINERS = ("containers", "initContainers")
_ONLY_RESIZABLE = ("cpu", "memory")
_PATH = "spec.ephemeralContainers"


def validate_pod_subresource(subresource: str, pod: KubeObject, old: KubeObject) -> list[FieldError]:
    """Faults of a write through a subresource of a pod."""
    if subresource == "ephemeralcontainers":
        return _validate_ephemeral_containers(pod["spec"], old["spec"])
    if subresource == "resize":
        return _validate_resize(pod["spec"], old["spec"])
    return []


def _validate_ephemeral_containers(spec: Mapping[str, Any], was: Mapping[str, Any]) -> list[FieldError]:
    containers: Sequence[KubeObject] = spec.get("ephemeralContainers") or ()
    errors = _validate_ephemeral_names(spec, containers)
    volumes = frozenset(volume.get("name", "") for volume in spec.get("volumes") or ())
    for index, container in enumerate(containers):
        where = f"{_PATH}[{index}]"
        errors += validate_container(container, spec, volumes, path=where)
        errors += _validate_ephemeral(container, spec, where)
    named = {container.get("name"): container for container in containers}
    for before in was.get("ephemeralContainers") or ():
        now = named.get(before["name"])
        if now is None:
            errors.append(forbidden(_PATH, f'existing ephemeral containers "{before["name"]}" may not be removed'))
        elif now != before:
            errors.append(forbidden(_PATH, f'existing ephemeral containers "{before["name"]}" may not be changed'))
    return errors


def _validate_ephemeral_names(spec: Mapping[str, Any], containers: Sequence[KubeObject]) -> list[FieldError]:
    errors: list[FieldError] = []
    taken = {container["name"] for kind in _CONTAINERS for container in spec.get(kind) or ()}
    for index, container in enumerate(containers):
        where, name = f"{_PATH}[{index}].name", container.get("name")
        if not name:
            errors.append(required(where))
            continue
        errors += each_invalid(where, name, dns_label_faults(name))
        if name in taken:
            errors.append(duplicate(where, name))
        taken.add(name)
    return errors


def _validate_ephemeral(container: Mapping[str, Any], spec: Mapping[str, Any], path: str) -> list[FieldError]:
    why = "cannot be set for an Ephemeral Container"
    errors = [forbidden(f"{path}.{field}", why) for field in _NOT_FOR_EPHEMERAL if container.get(field)]
    target = container.get("targetContainerName")
    if target and target not in {one["name"] for kind in _CONTAINERS for one in spec.get(kind) or ()}:
        errors.append(not_found(f"{path}.targetContainerName", target))
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        given = [field for field in ("subPath", "subPathExpr") if mount.get(field)]
        errors += [forbidden(f"{path}.volumeMounts[{index}].{field}", why) for field in given]
    return errors


def _validate_resize(spec: Mapping[str, Any], was: Mapping[str, Any]) -> list[FieldError]:
    if was.get("resources"):
        return [forbidden("spec", "pods with pod-level resources cannot be resized")]
    for kind in _CONTAINERS:
        if [one.get("name") for one in spec.get(kind) or ()] != [one["name"] for one in was.get(kind) or ()]:
            why = "containers may not be added, removed, renamed or reordered on resize"
            return [forbidden(f"spec.{kind}", why)]
    errors = _validate_sizes(spec, was)
    if not errors and qos_class(spec) != qos_class(was):
        errors.append(invalid("spec", qos_class(spec), "Pod QOS Class may not change as a result of resizing"))
    return errors


def _validate_sizes(spec: Mapping[str, Any], was: Mapping[str, Any]) -> list[FieldError]:
    errors: list[FieldError] = []
    volumes = frozenset(volume.get("name", "") for volume in spec.get("volumes") or ())
    for kind in _CONTAINERS:
        for index, (container, before) in enumerate(zip(spec.get(kind) or (), was.get(kind) or (), strict=True)):
            if container == before:
                continue
            path = f"spec.{kind}[{index}]"
            if kind == "initContainers" and container.get("restartPolicy") != "Always":
                errors.append(forbidden("spec", "resources for non-sidecar init containers are immutable"))
                continue
            errors += validate_container(container, spec, volumes, path=path)
            errors += _validate_change(container.get("resources") or {}, before.get("resources") or {}, path)
    return errors


def _validate_change(resources: Mapping[str, Any], was: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for part in ("limits", "requests"):
        new, old = resources.get(part) or {}, was.get(part) or {}
        if any(name not in new for name in old if name in _ONLY_RESIZABLE):
            errors.append(forbidden(f"{path}.resources.{part}", f"resource {part} cannot be removed"))
        others = {name: amount for name, amount in new.items() if name not in _ONLY_RESIZABLE}
        if others != {name: amount for name, amount in old.items() if name not in _ONLY_RESIZABLE}:
            errors.append(forbidden("spec", "only cpu and memory resources are mutable"))
    return errors
