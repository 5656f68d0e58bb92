"""Fields of a pod spec that are accepted and stored, and that this version doesn't act upon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.kinds.pod_defaults import _SYSTEM_PRIORITIES
from flotilla.api.kinds.pod_volumes import MOUNTED_KINDS

NOT_ACTED_UPON = "accepted, but this version of Flotilla does not act on it"
_SPEC_FIELDS = (
    "affinity",
    "topologySpreadConstraints",
    "schedulingGates",
    "readinessGates",
    "runtimeClassName",
    "resourceClaims",
    "setHostnameAsFQDN",
    "overhead",
    "ephemeralContainers",
    "hostnameOverride",
    "workloadRef",
)
_CONTAINER_FIELDS = ("volumeDevices", "resizePolicy", "stdin", "stdinOnce", "tty", "restartPolicyRules")
_SECURITY_FIELDS = ("seLinuxOptions", "windowsOptions", "appArmorProfile")


def _container_warnings(container: Mapping[str, Any], path: str) -> list[str]:
    fields = [field for field in _CONTAINER_FIELDS if container.get(field)]
    context = container.get("securityContext") or {}
    fields += [f"securityContext.{field}" for field in _SECURITY_FIELDS if context.get(field)]
    warnings = [f"{path}.{field}: {NOT_ACTED_UPON}" for field in fields]
    names = [entry.get("name") for entry in container.get("env") or ()]
    for index, name in enumerate(names):
        if name in names[:index]:
            first = f"{path}.env[{names.index(name)}]"
            warnings.append(f'{path}.env[{index}]: hides previous definition of "{name}" at {first}')
    return warnings


def pod_spec_warnings(spec: Mapping[str, Any], path: str) -> list[str]:
    """One line for each such field of a pod spec at ``path``."""
    warnings = [f"{path}.{field}: {NOT_ACTED_UPON}" for field in _SPEC_FIELDS if spec.get(field)]
    if spec.get("hostUsers") is False:
        warnings.append(f"{path}.hostUsers: false: {NOT_ACTED_UPON}")
    if spec.get("priorityClassName") and spec["priorityClassName"] not in _SYSTEM_PRIORITIES:
        warnings.append(f"{path}.priorityClassName: {NOT_ACTED_UPON}")
    for index, volume in enumerate(spec.get("volumes") or ()):
        for kind in volume:
            if kind != "name" and kind not in MOUNTED_KINDS:
                where = f"{path}.volumes[{index}].{kind}"
                warnings.append(f"{where}: this version of Flotilla can't mount such volumes; the pod will not start")
    for kind in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(kind) or ()):
            warnings += _container_warnings(container, f"{path}.{kind}[{index}]")
    context = spec.get("securityContext") or {}
    return warnings + [
        f"{path}.securityContext.{field}: {NOT_ACTED_UPON}" for field in _SECURITY_FIELDS if context.get(field)
    ]
