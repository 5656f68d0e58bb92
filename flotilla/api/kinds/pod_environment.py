"""Validation of a container's environment and of references into the pod and its objects."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import each_invalid, invalid, not_found, required, unsupported
from flotilla.api.names import config_key_faults, dns_subdomain_faults, env_name_faults

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
_VALUE_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_ONE_SOURCE = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"


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
    errors = [required(f"{path}.{field}") for field in ("name", "key") if not reference.get(field)]
    name, key = reference.get("name") or "", reference.get("key") or ""
    errors += each_invalid(f"{path}.name", name, dns_subdomain_faults(name)) if name else []
    return errors + (each_invalid(f"{path}.key", key, config_key_faults(key)) if key else [])


def _validate_file_reference(
    reference: Mapping[str, Any], volumes: Mapping[str, Mapping[str, Any]], path: str
) -> list[FieldError]:
    """Faults of a ``fileKeyRef``, which reads a file that another container has written."""
    errors: list[FieldError] = []
    key, target, name = (reference.get(field) or "" for field in ("key", "path", "volumeName"))
    errors += each_invalid(f"{path}.key", key, env_name_faults(key)) if key else [required(f"{path}.key")]
    if not target:
        errors.append(required(f"{path}.path"))
    elif ".." in target.split("/"):
        errors.append(invalid(f"{path}.path", target, "must not contain '..'"))
    if not name:
        errors.append(required(f"{path}.volumeName"))
    elif name not in volumes:
        errors.append(not_found(f"{path}.volumeName", name))
    elif volumes[name].get("emptyDir") is None:
        errors.append(invalid(f"{path}.volumeName", name, "referenced volume must be of type emptyDir"))
    return errors


def _validate_value_source(
    entry: Mapping[str, Any], volumes: Mapping[str, Mapping[str, Any]], path: str
) -> list[FieldError]:
    source = entry["valueFrom"]
    if entry.get("value"):
        return [invalid(path, "", "may not be specified when `value` is not empty")]
    given = [kind for kind in _VALUE_SOURCES if source.get(kind) is not None]
    if not given:
        return [invalid(path, "", _ONE_SOURCE)]
    errors = [invalid(path, "", "may not have more than one field specified at a time")] if len(given) > 1 else []
    for kind in given:
        match kind:
            case "fieldRef":
                errors += validate_field_reference(source[kind], f"{path}.fieldRef", volume=False)
            case "resourceFieldRef":
                errors += validate_resource_reference(source[kind], f"{path}.resourceFieldRef", volume=False)
            case "fileKeyRef":
                errors += _validate_file_reference(source[kind], volumes, f"{path}.fileKeyRef")
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
    for kind in given:
        name = source[kind].get("name")
        where = f"{path}.{kind}.name"
        errors += each_invalid(where, name, dns_subdomain_faults(name)) if name else [required(where)]
    return errors


def validate_environment(container: Mapping[str, Any], spec: Mapping[str, Any], path: str) -> list[FieldError]:
    """Faults of ``env`` and ``envFrom`` of a container of the pod ``spec``."""
    errors: list[FieldError] = []
    volumes = {volume.get("name", ""): volume for volume in spec.get("volumes") or ()}
    for index, entry in enumerate(container.get("env") or ()):
        where, name = f"{path}.env[{index}]", entry.get("name")
        errors += each_invalid(f"{where}.name", name, env_name_faults(name)) if name else [required(f"{where}.name")]
        if entry.get("valueFrom") is not None:
            errors += _validate_value_source(entry, volumes, f"{where}.valueFrom")
    for index, source in enumerate(container.get("envFrom") or ()):
        errors += _validate_bulk_source(source, f"{path}.envFrom[{index}]")
    return errors
