"""PersistentVolumeClaim: its strategy, and the rules of claims that templates of claims share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import (
    IMMUTABLE,
    each_invalid,
    forbidden,
    invalid,
    required,
    unsupported,
)
from flotilla.api.kinds.label_selectors import validate_label_selector
from flotilla.api.kinds.metadata import keep_status, metadata_fields, validate_metadata
from flotilla.api.kinds.resource import Strategy
from flotilla.api.kinds.resource_names import validate_amount
from flotilla.api.kinds.volume_defaults import default_claim_spec
from flotilla.api.names import dns_subdomain_faults
from flotilla.api.objects import KubeObject
from flotilla.api.quantities import parse_quantity
from flotilla.api.storage import CLAIM_PROTECTION

PENDING = "Pending"
ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES = ("Block", "Filesystem")
ONE_POD_ONLY = "may not use ReadWriteOncePod with other access modes"
_ONLY = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
_STORAGE = "spec.resources.requests.storage"


def _default(claim: KubeObject) -> None:
    default_claim_spec(claim.setdefault("spec", {}))
    status = claim.get("status") or {}
    claim["status"] = {**status, "phase": status.get("phase") or PENDING}


def validate_access_modes(spec: Mapping[str, Any], path: str, *, why: str = "") -> list[FieldError]:
    """Faults of ``accessModes`` in a spec at ``path``; ``why`` explains that one is needed."""
    modes = spec.get("accessModes") or []
    if not modes:
        return [required(f"{path}.accessModes", why)]
    errors = [unsupported(f"{path}.accessModes", mode, ACCESS_MODES) for mode in modes if mode not in ACCESS_MODES]
    if "ReadWriteOncePod" in modes and len(set(modes)) > 1:
        errors.append(forbidden(f"{path}.accessModes", ONE_POD_ONLY))
    return errors


def validate_class_names(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    """Faults of the names of classes in a spec at ``path``."""
    fields = [field for field in ("storageClassName", "volumeAttributesClassName") if spec.get(field)]
    return [
        error
        for field in fields
        for error in each_invalid(f"{path}.{field}", spec[field], dns_subdomain_faults(spec[field]))
    ]


def validate_volume_mode(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    """A fault of ``volumeMode`` in a spec at ``path``."""
    mode = spec.get("volumeMode")
    if mode is None or mode in VOLUME_MODES:
        return []
    return [unsupported(f"{path}.volumeMode", mode, VOLUME_MODES)]


def _validate_data_source(source: Mapping[str, Any], path: str) -> list[FieldError]:
    errors = [required(f"{path}.{field}") for field in ("name", "kind") if not source.get(field)]
    group, kind = source.get("apiGroup") or "", source.get("kind")
    if not group and kind != "PersistentVolumeClaim":
        why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        errors.append(invalid(path, kind, why))
    return errors + (each_invalid(f"{path}.apiGroup", group, dns_subdomain_faults(group)) if group else [])


def _validate_data_sources(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    errors: list[FieldError] = []
    if source is not None:
        errors += _validate_data_source(source, f"{path}.dataSource")
    if reference is not None:
        errors += _validate_data_source(reference, f"{path}.dataSourceRef")
    if source is not None and reference is not None:
        if reference.get("namespace"):
            why = "may not be specified when dataSourceRef.namespace is specified"
            errors.append(invalid(path, f"{path}.dataSource", why))
        elif source != {key: value for key, value in reference.items() if key != "namespace"}:
            errors.append(invalid(path, f"{path}.dataSource", "must match dataSourceRef"))
    return errors


def _validate_storage(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    where = f"{path}.resources[storage]"
    amount = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if amount is None:
        return [required(where)]
    errors = validate_amount("storage", amount, where)
    return errors if parse_quantity(amount) > 0 else [*errors, invalid(where, str(amount), "must be greater than zero")]


def validate_claim_spec(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    """Faults of the spec of a claim at ``path``."""
    errors = validate_access_modes(spec, path, why="at least 1 access mode is required")
    if spec.get("selector") is not None:
        errors += validate_label_selector(spec["selector"], f"{path}.selector")
    errors += _validate_storage(spec, path) + validate_class_names(spec, path) + validate_volume_mode(spec, path)
    return errors + _validate_data_sources(spec, path)


def _requested(claim: Mapping[str, Any]) -> Any:
    return (((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}).get("storage")


def _without_mutable(claim: Mapping[str, Any], old: Mapping[str, Any]) -> KubeObject:
    """The spec that must stay as it was, what may change left out."""
    spec = dict(claim.get("spec") or {})
    if not (old.get("spec") or {}).get("volumeName"):
        spec.pop("volumeName", None)
        if (old.get("spec") or {}).get("storageClassName") is None:
            # A default class that came later.
            spec.pop("storageClassName", None)
    if (old.get("status") or {}).get("phase") == "Bound":
        resources = dict(spec.get("resources") or {})
        resources["requests"] = {**(resources.get("requests") or {}), "storage": ""}
        spec |= {"resources": resources, "volumeAttributesClassName": ""}
    return spec


def _validate_update(claim: KubeObject, old: KubeObject) -> list[FieldError]:
    errors: list[FieldError] = []
    if _without_mutable(claim, old) != _without_mutable(old, old):
        errors.append(forbidden("spec", _ONLY))
    new, was = _requested(claim), _requested(old)
    capacity = ((old.get("status") or {}).get("capacity") or {}).get("storage", 0)
    shrinks = new is not None and was is not None and parse_quantity(new) < parse_quantity(was)
    if shrinks and parse_quantity(new) <= parse_quantity(capacity):
        errors.append(forbidden(_STORAGE, "field can not be less than status.capacity"))
    mode = claim["spec"].get("volumeMode")
    if mode != (old.get("spec") or {}).get("volumeMode"):
        errors.append(invalid("volumeMode", mode, IMMUTABLE))
    return errors


def _validate(claim: KubeObject, old: KubeObject | None) -> list[FieldError]:
    errors = validate_metadata(claim) + validate_claim_spec(claim["spec"], "spec")
    return errors if old is None else errors + _validate_update(claim, old)


def _prepare_for_create(claim: KubeObject) -> None:
    claim["status"] = {"phase": PENDING}
    protect(claim, CLAIM_PROTECTION)


def protect(obj: KubeObject, finalizer: str) -> None:
    """Keep a new claim or volume from vanishing while it is in use (admission plug-in StorageObjectInUseProtection)."""
    finalizers = obj["metadata"].get("finalizers") or []
    if finalizer not in finalizers:
        obj["metadata"]["finalizers"] = [*finalizers, finalizer]


def _warnings(claim: KubeObject) -> list[str]:
    amount = _requested(claim)
    if amount is not None and parse_quantity(amount).denominator != 1:
        return [f'spec.resources.requests[storage]: fractional byte value "{amount}" is invalid, must be an integer']
    return []


STRATEGY = Strategy(
    default=_default,
    validate=_validate,
    prepare_for_create=_prepare_for_create,
    prepare_for_update=keep_status,
    warnings=_warnings,
    selectable_fields=metadata_fields,
    status_subresource=True,
)
