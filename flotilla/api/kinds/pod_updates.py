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
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
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


def _tolerated(toleration: Mapping[str, Any]) -> tuple[Any, ...]:
    """What two tolerations have in common that are the same."""
    return tuple(toleration.get(field) for field in ("key", "operator", "value", "effect"))


def _validate_tolerations(spec: Mapping[str, Any], was: Mapping[str, Any]) -> list[FieldError]:
    kept = set(map(_tolerated, spec.get("tolerations") or ()))
    if kept.issuperset(map(_tolerated, was.get("tolerations") or ())):
        return []
    return [forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")]


def _validate_deadline(spec: Mapping[str, Any], was: Mapping[str, Any]) -> list[FieldError]:
    new, old = spec.get("activeDeadlineSeconds"), was.get("activeDeadlineSeconds")
    path = "spec.activeDeadlineSeconds"
    if old is None:
        return []
    if new is None:
        return [invalid(path, new, "must not update from a positive integer to nil value")]
    return [invalid(path, new, "must be less than or equal to previous value")] if new > old else []


def _take(target: KubeObject, source: Mapping[str, Any], field: str) -> None:
    """Make a field what it is in ``source``, absent included."""
    if field in source:
        target[field] = source[field]
    else:
        target.pop(field, None)


def _validate_gates(spec: Mapping[str, Any], was: Mapping[str, Any]) -> list[FieldError]:
    """Gates may only be taken away; while there are some, the choice of nodes may be narrowed down."""
    old = {gate.get("name") for gate in was.get("schedulingGates") or ()}
    errors = [
        forbidden(
            f"spec.schedulingGates[{index}].name",
            f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'",
        )
        for index, gate in enumerate(spec.get("schedulingGates") or ())
        if gate.get("name") not in old
    ]
    if old:
        errors += _validate_node_selector(spec, was) + _validate_node_affinity(spec, was)
    return errors


def _validate_node_selector(spec: Mapping[str, Any], was: Mapping[str, Any]) -> list[FieldError]:
    new, old = spec.get("nodeSelector") or {}, was.get("nodeSelector") or {}
    if all(new.get(key) == value for key, value in old.items()):
        return []
    return [
        invalid("spec.nodeSelector", new, "only additions to spec.nodeSelector are allowed (no mutations or deletions)")
    ]


def _required_terms(spec: Mapping[str, Any]) -> list[KubeObject]:
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    return (affinity.get(_REQUIRED) or {}).get("nodeSelectorTerms") or []


def _extends(term: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether a term asks for all that the old one asks for, and maybe for more."""
    parts = ("matchExpressions", "matchFields")
    return all((term.get(part) or [])[: len(old.get(part) or [])] == (old.get(part) or []) for part in parts)


def _validate_node_affinity(spec: Mapping[str, Any], was: Mapping[str, Any]) -> list[FieldError]:
    new, old = _required_terms(spec), _required_terms(was)
    if not old:
        return []
    path = f"spec.affinity.nodeAffinity.{_REQUIRED}.nodeSelectorTerms"
    if len(new) != len(old):
        return [invalid(path, new, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")]
    why = "only additions are allowed (no mutations or deletions)"
    return [
        invalid(f"{path}[{index}]", term, why)
        for index, (term, before) in enumerate(zip(new, old, strict=True))
        if not _extends(term, before) or (term != before and not before)
    ]


def _with_mutable_fields_of(was: Mapping[str, Any], spec: Mapping[str, Any]) -> KubeObject:
    """The old spec, with what may change taken from the new one."""
    merged: KubeObject = copy.deepcopy(dict(was))
    for kind in _CONTAINER_KINDS:
        for container, new in zip(merged.get(kind) or (), spec.get(kind) or (), strict=True):
            container["image"] = new.get("image")
    for field in ("activeDeadlineSeconds", "tolerations"):
        if field in spec:
            merged[field] = spec[field]
    _take(merged, spec, "schedulingGates")
    if was.get("schedulingGates"):
        _take(merged, spec, "nodeSelector")
        affinity, new = dict(merged.get("affinity") or {}), spec.get("affinity") or {}
        _take(affinity, new, "nodeAffinity")
        _take(merged, {"affinity": affinity} if affinity or "affinity" in spec else {}, "affinity")
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
    errors += _validate_deadline(spec, was) + _validate_tolerations(spec, was) + _validate_gates(spec, was)
    difference = first_difference(dict(spec), _with_mutable_fields_of(was, spec), "spec")
    if difference and not errors:
        errors.append(forbidden("spec", f"{_ONLY}; this one changes `{difference}`"))
    return errors
