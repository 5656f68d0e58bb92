"""LimitRange: its strategy. A container's limits default from each other, from the loosest bound on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import duplicate, each_invalid, forbidden, invalid, required
from flotilla.api.kinds.metadata import (
    metadata_fields,
    no_warnings,
    prepare_plain,
    prepare_plain_update,
    validate_metadata,
)
from flotilla.api.kinds.resource import Strategy
from flotilla.api.kinds.resource_names import container_name_faults, is_overcommittable, standard_name_faults
from flotilla.api.names import qualified_name_faults
from flotilla.api.objects import KubeObject
from flotilla.api.quantities import parse_quantity

_TYPES = ("Pod", "Container", "PersistentVolumeClaim")
_BOUNDS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")
_CONTAINER_ONLY = ("default", "defaultRequest")
# Which bound may not exceed which, the one that is reported, and the words for both.
_ORDER = (
    ("min", "max", "min", "min value {} is greater than max value {}"),
    ("min", "defaultRequest", "defaultRequest", "min value {} is greater than default request value {}"),
    ("defaultRequest", "max", "defaultRequest", "default request value {} is greater than max value {}"),
    ("defaultRequest", "default", "defaultRequest", "default request value {} is greater than default limit value {}"),
    ("min", "default", "default", "min value {} is greater than default value {}"),
    ("default", "max", "default", "default value {} is greater than max value {}"),
)


def _default_item(item: KubeObject) -> None:
    if item.get("type") != "Container":
        return
    limits = {**(item.get("max") or {}), **(item.get("default") or {})}
    requests = {**(item.get("min") or {}), **limits, **(item.get("defaultRequest") or {})}
    for field, amounts in (("default", limits), ("defaultRequest", requests)):
        if amounts:
            item[field] = amounts


def _default(limit_range: KubeObject) -> None:
    for item in limit_range.setdefault("spec", {}).get("limits") or ():
        _default_item(item)


def _validate_type(kind: str, path: str) -> list[FieldError]:
    errors = each_invalid(path, kind, qualified_name_faults(kind))
    if not errors and "/" not in kind and kind not in _TYPES:
        errors.append(invalid(path, kind, "must be a standard limit type or fully qualified"))
    return errors


def _validate_names(item: Mapping[str, Any], path: str) -> list[FieldError]:
    name_faults = container_name_faults if item.get("type") in ("Pod", "Container") else standard_name_faults
    return [
        error
        for field in _BOUNDS
        if item.get("type") != "Pod" or field not in _CONTAINER_ONLY
        for name in item.get(field) or ()
        for error in name_faults(name, f"{path}.{field}[{name}]")
    ]


def _validate_ratio(bounds: Mapping[str, Any], path: str) -> list[FieldError]:
    ratio = bounds.get("maxLimitRequestRatio")
    if ratio is None:
        return []
    value = parse_quantity(ratio)
    errors = [invalid(path, str(ratio), f"ratio {ratio} is less than 1")] if value < 1 else []
    lowest, highest = bounds.get("min"), bounds.get("max")
    if lowest is not None and highest is not None and parse_quantity(lowest) > 0:
        most = parse_quantity(highest) / parse_quantity(lowest)
        if value > most:
            errors.append(invalid(path, str(ratio), f"ratio {ratio} is greater than max/min = {float(most):f}"))
    return errors


def _validate_bounds(name: str, bounds: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for smaller, larger, reported, why in _ORDER:
        if smaller in bounds and larger in bounds and parse_quantity(bounds[smaller]) > parse_quantity(bounds[larger]):
            words = why.format(bounds[smaller], bounds[larger])
            errors.append(invalid(f"{path}.{reported}[{name}]", str(bounds[reported]), words))
    errors += _validate_ratio(bounds, f"{path}.maxLimitRequestRatio[{name}]")
    limit, request = bounds.get("default"), bounds.get("defaultRequest")
    if is_overcommittable(name) or limit is None or request is None or parse_quantity(limit) == parse_quantity(request):
        return errors
    why = f"default value {limit} must equal to defaultRequest value {request} in {name}"
    return [*errors, invalid(f"{path}.defaultRequest[{name}]", str(request), why)]


def _validate_item(item: Mapping[str, Any], path: str) -> list[FieldError]:
    kind = item.get("type") or ""
    errors = _validate_names(item, path)
    considered: tuple[str, ...] = _BOUNDS
    if kind == "Pod":
        considered = tuple(field for field in _BOUNDS if field not in _CONTAINER_ONLY)
        given = [field for field in _CONTAINER_ONLY if item.get(field)]
        errors += [forbidden(f"{path}.{field}", "may not be specified when `type` is 'Pod'") for field in given]
    if kind == "PersistentVolumeClaim" and not any("storage" in (item.get(field) or ()) for field in ("min", "max")):
        why = "either minimum or maximum storage value is required, but neither was provided"
        errors.append(required(f"{path}.limits", why))
    names = {name: None for field in considered for name in item.get(field) or ()}
    for name in names:
        bounds = {field: item[field][name] for field in considered if name in (item.get(field) or ())}
        errors += _validate_bounds(name, bounds, path)
    return errors


def _validate(limit_range: KubeObject, old: KubeObject | None) -> list[FieldError]:
    errors = validate_metadata(limit_range)
    seen: set[str] = set()
    for index, item in enumerate((limit_range.get("spec") or {}).get("limits") or ()):
        path, kind = f"spec.limits[{index}]", item.get("type") or ""
        errors += _validate_type(kind, f"{path}.type")
        if kind in seen:
            errors.append(duplicate(f"{path}.type", kind))
        seen.add(kind)
        errors += _validate_item(item, path)
    return errors


STRATEGY = Strategy(
    default=_default,
    validate=_validate,
    prepare_for_create=prepare_plain,
    prepare_for_update=prepare_plain_update,
    warnings=no_warnings,
    selectable_fields=metadata_fields,
)
