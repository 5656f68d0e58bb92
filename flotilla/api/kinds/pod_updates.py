"""What an update may change in a pod: almost nothing, because its containers already run."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import forbidden, invalid, required
from flotilla.api.objects import KubeObject

_ONLY = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_CONTAINER_KINDS = ("containers", "initContainers")


def first_difference(new: Any, old: Any, path: str) -> str:
    """The path of the first field that differs, ``""`` if none does."""
    if isinstance(new, dict) and isinstance(old, dict):
        for key in sorted(new.keys() | old.keys()):
            found = first_difference(new.get(key), old.get(key), f"{path}.{key}")
            if found:
                return found
        return ""
    if isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        for index, (one, other) in enumerate(zip(new, old, strict=True)):
            found = first_difference(one, other, f"{path}[{index}]")
            if found:
                return found
        return ""
    return "" if new == old else path


def _same_toleration(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    fields = ("key", "operator", "value", "effect")
    return all(one.get(field) == other.get(field) for field in fields)


def _validate_tolerations(spec: Mapping[str, Any], was: Mapping[str, Any]) -> list[FieldError]:
    new = spec.get("tolerations") or []
    for toleration in was.get("tolerations") or ():
        if not any(_same_toleration(toleration, each) for each in new):
            return [
                forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")
            ]
    return []


def _validate_deadline(spec: Mapping[str, Any], was: Mapping[str, Any]) -> list[FieldError]:
    new, old = spec.get("activeDeadlineSeconds"), was.get("activeDeadlineSeconds")
    path = "spec.activeDeadlineSeconds"
    if old is None:
        return []
    if new is None:
        return [invalid(path, new, f"must not be removed once set, was {old}")]
    return [invalid(path, new, f"must be less than or equal to previous value {old}")] if new > old else []


def _with_mutable_fields_of(was: Mapping[str, Any], spec: Mapping[str, Any]) -> KubeObject:
    """The old spec, with what may change taken from the new one."""
    merged: KubeObject = copy.deepcopy(dict(was))
    for kind in _CONTAINER_KINDS:
        for container, new in zip(merged.get(kind) or (), spec.get(kind) or (), strict=True):
            container["image"] = new.get("image")
    for field in ("activeDeadlineSeconds", "tolerations"):
        if field in spec:
            merged[field] = spec[field]
    if (was.get("terminationGracePeriodSeconds") or 0) < 0 and spec.get("terminationGracePeriodSeconds") == 1:
        merged["terminationGracePeriodSeconds"] = 1
    return merged


def validate_pod_update(pod: KubeObject, old: KubeObject) -> list[FieldError]:
    """Faults of replacing ``old`` by ``pod``."""
    spec, was = pod["spec"], old["spec"]
    for kind in _CONTAINER_KINDS:
        if len(spec.get(kind) or ()) != len(was.get(kind) or ()):
            return [forbidden(f"spec.{kind}", "pod updates may not add or remove containers")]
    errors = [
        required(f"spec.containers[{index}].image")
        for index, container in enumerate(spec.get("containers") or ())
        if not container.get("image")
    ]
    errors += _validate_deadline(spec, was) + _validate_tolerations(spec, was)
    difference = first_difference(dict(spec), _with_mutable_fields_of(was, spec), "spec")
    if difference and not errors:
        errors.append(forbidden("spec", f"{_ONLY}; this one changes `{difference}`"))
    return errors
