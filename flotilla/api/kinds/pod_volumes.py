"""Validation of a pod's volumes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import (
    MUST_NOT_BE_NEGATIVE,
    duplicate,
    each_invalid,
    forbidden,
    invalid,
    not_among,
    required,
    unsupported,
)
from flotilla.api.kinds.pod_environment import validate_field_reference, validate_resource_reference
from flotilla.api.names import dns_label_faults
from flotilla.api.quantities import parse_quantity

MOUNTED_KINDS = ("emptyDir", "hostPath", "configMap", "secret", "downwardAPI", "projected")
MOUNTED_PROJECTIONS = ("configMap", "secret", "downwardAPI")
_HOST_PATH_TYPES = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)
_PROJECTIONS = ("secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate")
_SHORTEST_TOKEN_S = 600
_LONGEST_TOKEN_S = 2**32


def path_faults(path: str) -> list[str]:
    """Why a path is not one below a directory."""
    faults = ["must be a relative path"] if path.startswith("/") else []
    if ".." in path.split("/"):
        faults.append("must not contain '..'")
    return faults


def _validate_mode(mode: int | None, path: str) -> list[FieldError]:
    if mode is None or 0 <= mode <= 0o777:
        return []
    return [invalid(path, mode, "must be a number between 0 and 0777 (octal), both inclusive")]


def _validate_target(target: str | None, path: str) -> list[FieldError]:
    if not target:
        return [required(path)]
    return each_invalid(path, target, path_faults(target))


def _validate_items(source: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, item in enumerate(source.get("items") or ()):
        where = f"{path}.items[{index}]"
        errors += [] if item.get("key") else [required(f"{where}.key")]
        errors += _validate_target(item.get("path"), f"{where}.path")
        errors += _validate_mode(item.get("mode"), f"{where}.mode")
    return errors


def _validate_downward_items(source: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, item in enumerate(source.get("items") or ()):
        where = f"{path}.items[{index}]"
        errors += _validate_target(item.get("path"), f"{where}.path")
        errors += _validate_mode(item.get("mode"), f"{where}.mode")
        field, resource = item.get("fieldRef"), item.get("resourceFieldRef")
        if field is not None and resource is not None:
            errors.append(
                invalid(where, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
            )
        elif field is not None:
            errors += validate_field_reference(field, f"{where}.fieldRef", volume=True)
        elif resource is not None:
            errors += validate_resource_reference(resource, f"{where}.resourceFieldRef", volume=True)
        else:
            errors.append(required(f"{where}.fieldRef", "one of fieldRef and resourceFieldRef is required"))
    return errors


def _validate_token(token: Mapping[str, Any], path: str) -> list[FieldError]:
    errors = _validate_target(token.get("path"), f"{path}.path")
    lifetime = token.get("expirationSeconds", 3600)
    if lifetime < _SHORTEST_TOKEN_S:
        errors.append(invalid(f"{path}.expirationSeconds", lifetime, "may not specify a duration less than 10 minutes"))
    elif lifetime > _LONGEST_TOKEN_S:
        errors.append(
            invalid(f"{path}.expirationSeconds", lifetime, "may not specify a duration larger than 2^32 seconds")
        )
    return errors


def _validate_projected(source: Mapping[str, Any], path: str) -> list[FieldError]:
    errors = _validate_mode(source.get("defaultMode"), f"{path}.defaultMode")
    for index, projection in enumerate(source.get("sources") or ()):
        where = f"{path}.sources[{index}]"
        given = [kind for kind in _PROJECTIONS if projection.get(kind) is not None]
        if not given:
            errors.append(required(where, "must specify a projected volume source"))
        errors += [forbidden(f"{where}.{kind}", "may not specify more than 1 volume type") for kind in given[1:]]
        for kind in given[:1]:
            body = projection[kind]
            match kind:
                case "secret" | "configMap":
                    errors += [] if body.get("name") else [required(f"{where}.{kind}.name")]
                    errors += _validate_items(body, f"{where}.{kind}")
                case "downwardAPI":
                    errors += _validate_downward_items(body, f"{where}.{kind}")
                case "serviceAccountToken":
                    errors += _validate_token(body, f"{where}.{kind}")
    return errors


def _validate_empty_dir(source: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    medium, limit = source.get("medium") or "", source.get("sizeLimit")
    if medium not in ("", "Memory") and not medium.startswith("HugePages"):
        errors.append(unsupported(f"{path}.medium", medium, ("HugePages", "Memory")))
    if limit is not None and parse_quantity(limit) < 0:
        errors.append(invalid(f"{path}.sizeLimit", limit, MUST_NOT_BE_NEGATIVE))
    return errors


def _validate_source(kind: str, source: Mapping[str, Any], path: str) -> list[FieldError]:
    match kind:
        case "emptyDir":
            return _validate_empty_dir(source, path)
        case "hostPath":
            target = source.get("path") or ""
            errors = [] if target else [required(f"{path}.path")]
            if ".." in target.split("/"):
                errors.append(invalid(f"{path}.path", target, "must not contain '..'"))
            return errors + not_among(f"{path}.type", source.get("type"), _HOST_PATH_TYPES)
        case "secret" | "configMap":
            name = "secretName" if kind == "secret" else "name"
            errors = [] if source.get(name) else [required(f"{path}.{name}")]
            return (
                errors
                + _validate_mode(source.get("defaultMode"), f"{path}.defaultMode")
                + _validate_items(source, path)
            )
        case "downwardAPI":
            return _validate_mode(source.get("defaultMode"), f"{path}.defaultMode") + _validate_downward_items(
                source, path
            )
        case "projected":
            return _validate_projected(source, path)
    return []


def validate_volumes(spec: Mapping[str, Any], path: str) -> tuple[list[FieldError], frozenset[str]]:
    """Faults of the volumes of a pod spec at ``path``, and the names that mounts may use."""
    errors: list[FieldError] = []
    names: set[str] = set()
    for index, volume in enumerate(spec.get("volumes") or ()):
        where, name = f"{path}.volumes[{index}]", volume.get("name")
        if not name:
            errors.append(required(f"{where}.name"))
        else:
            errors += each_invalid(f"{where}.name", name, dns_label_faults(name))
            if name in names:
                errors.append(duplicate(f"{where}.name", name))
            names.add(name)
        kinds = [kind for kind, source in volume.items() if kind != "name" and source is not None]
        if not kinds:
            errors.append(required(where, "must specify a volume type"))
        errors += [forbidden(f"{where}.{kind}", "may not specify more than 1 volume type") for kind in kinds[1:]]
        for kind in kinds[:1]:
            errors += _validate_source(kind, volume[kind], f"{where}.{kind}")
    return errors, frozenset(names)
