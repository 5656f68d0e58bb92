"""StorageClass and VolumeAttributesClass: their strategies.

Source: ``k8s.io/kubernetes/pkg/apis/storage/validation``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import (
    IMMUTABLE,
    duplicate,
    each_invalid,
    forbidden,
    invalid,
    required,
    too_long,
    unsupported,
)
from flotilla.api.kinds.metadata import (
    metadata_fields,
    no_defaults,
    no_warnings,
    prepare_plain,
    prepare_plain_update,
    validate_metadata,
)
from flotilla.api.kinds.resource import Strategy
from flotilla.api.names import qualified_name_faults
from flotilla.api.objects import KubeObject, annotations_of

DEFAULT_ANNOTATION = "storageclass.kubernetes.io/is-default-class"
_OLD_ANNOTATION = "storageclass.beta.kubernetes.io/is-default-class"
ATTRIBUTES_ANNOTATION = "volumeattributesclass.alpha.kubernetes.io/is-default-class"
_RECLAIM_POLICIES = ("Delete", "Retain")
_BINDING_MODES = ("Immediate", "WaitForFirstConsumer")
_LARGEST_PARAMETERS_BYTES = 256 * 1024
_MOST_PARAMETERS = 512


def is_default_class(storage_class: Mapping[str, Any]) -> bool:
    """Whether claims that name no class get this one."""
    annotations = annotations_of(storage_class)
    return "true" in (annotations.get(DEFAULT_ANNOTATION), annotations.get(_OLD_ANNOTATION))


def newest_default(storage_classes: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The class that claims without one get: of several the newest, of equally new ones the first by name."""
    found = sorted(filter(is_default_class, storage_classes), key=lambda each: str(each["metadata"]["name"]))
    return max(found, key=lambda each: each["metadata"].get("creationTimestamp") or "", default=None)


def _default(storage_class: KubeObject) -> None:
    for field, value in (("reclaimPolicy", "Delete"), ("volumeBindingMode", "Immediate")):
        if storage_class.get(field) is None:
            storage_class[field] = value


def _validate_provisioner(name: str, path: str) -> list[FieldError]:
    return each_invalid(path, name, qualified_name_faults(name.lower())) if name else [required(path)]


def _validate_parameters(parameters: Mapping[str, str], path: str) -> list[FieldError]:
    if len(parameters) > _MOST_PARAMETERS:
        return [too_long(path, _MOST_PARAMETERS)]
    errors = [invalid(path, "", "field can not be empty.")] if "" in parameters else []
    size = sum(len(key.encode()) + len(value.encode()) for key, value in parameters.items())
    return [*errors, too_long(path, _LARGEST_PARAMETERS_BYTES)] if size > _LARGEST_PARAMETERS_BYTES else errors


def _validate_term(term: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    keys: set[str] = set()
    for index, expression in enumerate(term.get("matchLabelExpressions") or ()):
        where, key, values = f"{path}.matchLabelExpressions[{index}]", expression.get("key") or "", set()
        if not expression.get("values"):
            errors.append(required(f"{where}.values"))
        for number, value in enumerate(expression.get("values") or ()):
            if value in values:
                errors.append(duplicate(f"{where}.values[{number}]", value))
            values.add(value)
        errors += each_invalid(f"{where}.key", key, qualified_name_faults(key))
        if key in keys:
            errors.append(duplicate(f"{where}.key", key))
        keys.add(key)
    return errors


def _meaning(term: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    expressions = term.get("matchLabelExpressions") or ()
    return {each.get("key") or "": frozenset(each.get("values") or ()) for each in expressions}


def _validate_topologies(terms: list[dict[str, Any]], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: list[dict[str, frozenset[str]]] = []
    for index, term in enumerate(terms):
        errors += _validate_term(term, f"{path}[{index}]")
        meaning = _meaning(term)
        if meaning in seen:
            errors.append(duplicate(f"{path}[{index}].matchLabelExpressions", ""))
        seen.append(meaning)
    return errors


def _changed(new: KubeObject, old: KubeObject, field: str) -> bool:
    return (new.get(field) or None) != (old.get(field) or None)


def _validate_update(storage_class: KubeObject, old: KubeObject) -> list[FieldError]:
    fixed = ("parameters", "provisioner", "reclaimPolicy")
    changed = [field for field in fixed if _changed(storage_class, old, field)]
    errors = [forbidden(field, f"updates to {field} are forbidden.") for field in changed]
    if _changed(storage_class, old, "volumeBindingMode"):
        errors.append(invalid("volumeBindingMode", storage_class.get("volumeBindingMode"), IMMUTABLE))
    return errors


def _validate(storage_class: KubeObject, old: KubeObject | None) -> list[FieldError]:
    errors = validate_metadata(storage_class)
    if old is not None:
        return errors + _validate_update(storage_class, old)
    errors += _validate_provisioner(storage_class.get("provisioner") or "", "provisioner")
    errors += _validate_parameters(storage_class.get("parameters") or {}, "parameters")
    policy, mode = storage_class.get("reclaimPolicy"), storage_class.get("volumeBindingMode")
    if policy and policy not in _RECLAIM_POLICIES:
        errors.append(unsupported("reclaimPolicy", policy, _RECLAIM_POLICIES))
    if mode not in _BINDING_MODES:
        errors.append(unsupported("volumeBindingMode", mode, _BINDING_MODES))
    return errors + _validate_topologies(storage_class.get("allowedTopologies") or [], "allowedTopologies")


def _validate_attributes(attributes_class: KubeObject, old: KubeObject | None) -> list[FieldError]:
    parameters = attributes_class.get("parameters") or {}
    errors: list[FieldError] = []
    if old is not None:
        changed = [field for field in ("driverName", "parameters") if _changed(attributes_class, old, field)]
        errors += [forbidden(field, f"updates to {field} are forbidden.") for field in changed]
    errors += validate_metadata(attributes_class)
    errors += _validate_provisioner(attributes_class.get("driverName") or "", "driverName")
    errors += _validate_parameters(parameters, "parameters")
    return errors if parameters else [*errors, required("parameters", "must contain at least one key/value pair")]


STRATEGY = Strategy(
    default=_default,
    validate=_validate,
    prepare_for_create=prepare_plain,
    prepare_for_update=prepare_plain_update,
    warnings=no_warnings,
    selectable_fields=metadata_fields,
)
ATTRIBUTES_STRATEGY = Strategy(
    default=no_defaults,
    validate=_validate_attributes,
    prepare_for_create=prepare_plain,
    prepare_for_update=prepare_plain_update,
    warnings=no_warnings,
    selectable_fields=metadata_fields,
)
