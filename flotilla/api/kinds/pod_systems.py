"""Validation of pods that name their operating system: what the other one has may not be set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import forbidden

_NOT_ON_WINDOWS = "cannot be set for a windows pod"
_NOT_ON_LINUX = "windows options cannot be set for a linux pod"
_POD_FIELDS = ("hostUsers", "hostPID", "hostIPC", "shareProcessNamespace")
_POD_CONTEXT = (
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "seLinuxChangePolicy",
)
_CONTAINER_CONTEXT = (
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
)


def _contexts(spec: Mapping[str, Any], path: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The security contexts of the containers, with their paths."""
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(kind) or ()):
            yield container.get("securityContext") or {}, f"{path}.{kind}[{index}].securityContext"


def validate_linux(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    """Faults of a pod spec at ``path`` that is for Linux."""
    pod = (spec.get("securityContext") or {}, f"{path}.securityContext")
    return [
        forbidden(f"{where}.windowsOptions", _NOT_ON_LINUX)
        for context, where in (pod, *_contexts(spec, path))
        if context.get("windowsOptions") is not None
    ]


def validate_windows(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    """Faults of a pod spec at ``path`` that is for Windows."""
    context = spec.get("securityContext") or {}
    errors = [forbidden(f"{path}.{field}", _NOT_ON_WINDOWS) for field in _POD_FIELDS if spec.get(field) is not None]
    errors += [
        forbidden(f"{path}.securityContext.{field}", _NOT_ON_WINDOWS)
        for field in _POD_CONTEXT
        if context.get(field) is not None
    ]
    if spec.get("resources"):
        errors.append(forbidden(f"{path}.resources", "may not be set for a windows pod"))
    return errors + [
        forbidden(f"{where}.{field}", _NOT_ON_WINDOWS)
        for own, where in _contexts(spec, path)
        for field in _CONTAINER_CONTEXT
        if own.get(field) is not None
    ]
