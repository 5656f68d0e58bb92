"""Validation of a container's environment and of references into the pod and its objects."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import each_invalid, invalid, required, unsupported
from flotilla.api.names import env_name_faults

_ENVIRONMENT_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
_VOLUME_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_SUBSCRIPTED = re.compile(r"metadata\.(annotations|labels)\['[^']+'\]")
_RESOURCES = (
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
)
_VALUE_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef")


def validate_field_reference(reference: Mapping[str, Any], path: str, *, volume: bool) -> list[FieldError]:
    """Faults of a ``fieldRef``; volumes may name other fields than environment variables."""
    field = reference.get("fieldPath")
    if not field:
        return [required(f"{path}.fieldPath")]
    supported = _VOLUME_FIELDS if volume else _ENVIRONMENT_FIELDS
    if field in supported or _SUBSCRIPTED.fullmatch(field):
        return []
    return [unsupported(f"{path}.fieldPath", field, supported)]


def validate_resource_reference(reference: Mapping[str, Any], path: str, *, volume: bool) -> list[FieldError]:
    """Faults of a ``resourceFieldRef``; in a volume it must name its container."""
    errors = [required(f"{path}.containerName")] if volume and not reference.get("containerName") else []
    resource = reference.get("resource")
    if not resource:
        return [*errors, required(f"{path}.resource")]
    if resource not in _RESOURCES and not resource.startswith(("limits.hugepages-", "requests.hugepages-")):
        errors.append(unsupported(f"{path}.resource", resource, _RESOURCES))
    return errors


def _validate_key_reference(reference: Mapping[str, Any], path: str) -> list[FieldError]:
    return [required(f"{path}.{field}") for field in ("name", "key") if not reference.get(field)]


def _validate_value_source(entry: Mapping[str, Any], path: str) -> list[FieldError]:
    source = entry["valueFrom"]
    if entry.get("value"):
        return [invalid(path, "", "may not be specified when `value` is not empty")]
    given = [kind for kind in _VALUE_SOURCES if source.get(kind) is not None]
    if not given:
        return [invalid(path, "", f"must specify one of: {', '.join(f'`{kind}`' for kind in _VALUE_SOURCES)}")]
    errors = [invalid(path, "", "may not have more than one field specified at a time")] if len(given) > 1 else []
    for kind in given:
        match kind:
            case "fieldRef":
                errors += validate_field_reference(source[kind], f"{path}.fieldRef", volume=False)
            case "resourceFieldRef":
                errors += validate_resource_reference(source[kind], f"{path}.resourceFieldRef", volume=False)
            case _:
                errors += _validate_key_reference(source[kind], f"{path}.{kind}")
    return errors


def _validate_bulk_source(source: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if source.get("prefix"):
        errors += each_invalid(f"{path}.prefix", source["prefix"], env_name_faults(source["prefix"]))
    given = [kind for kind in ("configMapRef", "secretRef") if source.get(kind) is not None]
    if not given:
        errors.append(invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
    elif len(given) > 1:
        errors.append(invalid(path, "", "may not have more than one field specified at a time"))
    return errors + [required(f"{path}.{kind}.name") for kind in given if not source[kind].get("name")]


def validate_environment(container: Mapping[str, Any], path: str) -> list[FieldError]:
    """Faults of ``env`` and ``envFrom``."""
    errors: list[FieldError] = []
    for index, entry in enumerate(container.get("env") or ()):
        where, name = f"{path}.env[{index}]", entry.get("name")
        errors += each_invalid(f"{where}.name", name, env_name_faults(name)) if name else [required(f"{where}.name")]
        if entry.get("valueFrom") is not None:
            errors += _validate_value_source(entry, f"{where}.valueFrom")
    for index, source in enumerate(container.get("envFrom") or ()):
        errors += _validate_bulk_source(source, f"{path}.envFrom[{index}]")
    return errors
