"""Validation of what containers mount, and of the block devices that they are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import each_invalid, forbidden, invalid, not_found, required, unsupported
from flotilla.api.kinds.pod_volumes import path_faults

_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
_RECURSIVE = ("Disabled", "Enabled", "IfPossible")
_CLAIM_KINDS = ("persistentVolumeClaim", "ephemeral")


def _validate_propagation(mount: Mapping[str, Any], container: Mapping[str, Any], path: str) -> list[FieldError]:
    propagation = mount.get("mountPropagation")
    if propagation is None:
        return []
    if propagation not in _PROPAGATIONS:
        return [unsupported(path, propagation, _PROPAGATIONS)]
    if propagation == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
        return [forbidden(path, "Bidirectional mount propagation is available only to privileged containers")]
    return []


def _validate_recursive(mount: Mapping[str, Any], path: str) -> list[FieldError]:
    mode = mount.get("recursiveReadOnly")
    if mode is None:
        return []
    if mode not in _RECURSIVE:
        return [unsupported(path, mode, _RECURSIVE)]
    if mode == "Disabled":
        return []
    errors = [] if mount.get("readOnly") else [forbidden(path, "may only be specified when readOnly is true")]
    if mount.get("mountPropagation") not in (None, "None"):
        errors.append(forbidden(path, "may only be specified when mountPropagation is None or not specified"))
    return errors


def _validate_mount(
    mount: Mapping[str, Any], container: Mapping[str, Any], volumes: frozenset[str], *, path: str
) -> list[FieldError]:
    name, target = mount.get("name"), mount.get("mountPath")
    errors: list[FieldError] = []
    if not name:
        errors.append(required(f"{path}.name"))
    elif name not in volumes:
        errors.append(not_found(f"{path}.name", name))
    if not target:
        errors.append(required(f"{path}.mountPath"))
    if mount.get("subPath") and mount.get("subPathExpr"):
        why = "subPathExpr and subPath are mutually exclusive"
        errors.append(invalid(f"{path}.subPathExpr", mount["subPathExpr"], why))
    for field in ("subPath", "subPathExpr"):
        errors += each_invalid(f"{path}.{field}", mount.get(field), path_faults(mount.get(field) or ""))
    errors += _validate_propagation(mount, container, f"{path}.mountPropagation")
    return errors + _validate_recursive(mount, f"{path}.recursiveReadOnly")


def validate_mounts(container: Mapping[str, Any], volumes: frozenset[str], path: str) -> list[FieldError]:
    """Faults of ``volumeMounts``; ``volumes`` are the names that they may use."""
    errors: list[FieldError] = []
    devices = container.get("volumeDevices") or ()
    names, paths = {each.get("name") for each in devices}, {each.get("devicePath") for each in devices}
    targets: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        where, target = f"{path}.volumeMounts[{index}]", mount.get("mountPath")
        errors += _validate_mount(mount, container, volumes, path=where)
        if target and target in targets:
            errors.append(invalid(f"{where}.mountPath", target, "must be unique"))
        targets.add(target)
        if mount.get("name") in names:
            errors.append(invalid(f"{where}.name", mount.get("name"), "must not already exist in volumeDevices"))
        if target in paths:
            errors.append(invalid(f"{where}.mountPath", target, "must not already exist as a path in volumeDevices"))
    return errors


def _validate_device(device: Mapping[str, Any], kinds: Mapping[str, str], path: str) -> list[FieldError]:
    name, target = device.get("name") or "", device.get("devicePath") or ""
    errors: list[FieldError] = []
    if not name:
        errors.append(required(f"{path}.name"))
    elif name not in kinds:
        errors.append(not_found(f"{path}.name", name))
    elif kinds[name] not in _CLAIM_KINDS:
        why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
        errors.append(invalid(f"{path}.name", name, why))
    if not target:
        errors.append(required(f"{path}.devicePath"))
    elif ".." in target.split("/"):
        errors.append(invalid(f"{path}.devicePath", target, "can not contain backsteps ('..')"))
    return errors


def validate_devices(container: Mapping[str, Any], spec: Mapping[str, Any], path: str) -> list[FieldError]:
    """Faults of ``volumeDevices``, which must be of claims."""
    kinds = {
        volume.get("name", ""): next((kind for kind in volume if kind != "name"), "")
        for volume in spec.get("volumes") or ()
    }
    errors: list[FieldError] = []
    seen: dict[str, set[str]] = {"name": set(), "devicePath": set()}
    for index, device in enumerate(container.get("volumeDevices") or ()):
        where = f"{path}.volumeDevices[{index}]"
        errors += _validate_device(device, kinds, where)
        for field, values in seen.items():
            value = device.get(field)
            if value and value in values:
                errors.append(invalid(f"{where}.{field}", value, "must be unique"))
            values.add(value or "")
    return errors
