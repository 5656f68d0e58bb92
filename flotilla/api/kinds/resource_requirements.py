"""Validation of requests and limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import MUST_NOT_BE_NEGATIVE, each_invalid, invalid, required
from flotilla.api.names import qualified_name_faults
from flotilla.api.quantities import parse_quantity

_STANDARD = frozenset({"cpu", "memory", "ephemeral-storage"})


def _is_overcommittable(name: str) -> bool:
    return name in _STANDARD


def _validate_name(name: str, path: str) -> list[FieldError]:
    errors = each_invalid(path, name, qualified_name_faults(name))
    if not errors and "/" not in name and name not in _STANDARD and not name.startswith("hugepages-"):
        errors.append(invalid(path, name, "must be a standard resource for containers"))
    return errors


def validate_quantities(amounts: Mapping[str, Any], path: str) -> list[FieldError]:
    """Faults of the amounts of a resource list, whatever the resources are."""
    errors: list[FieldError] = []
    for name, amount in amounts.items():
        value = parse_quantity(amount)
        if value < 0:
            errors.append(invalid(f"{path}[{name}]", amount, MUST_NOT_BE_NEGATIVE))
        elif not _is_overcommittable(name) and value.denominator != 1:
            errors.append(invalid(f"{path}[{name}]", amount, "must be an integer"))
    return errors


def _validate_list(amounts: Mapping[str, Any], path: str) -> list[FieldError]:
    named = [error for name in amounts for error in _validate_name(name, f"{path}[{name}]")]
    return named + validate_quantities(amounts, path)


def _compare(name: str, request: Any, limit: Any, path: str) -> list[FieldError]:
    if _is_overcommittable(name):
        if parse_quantity(request) > parse_quantity(limit):
            return [invalid(path, str(request), f"must be less than or equal to {name} limit of {limit}")]
    elif parse_quantity(request) != parse_quantity(limit):
        return [invalid(path, str(request), f"must be equal to {name} limit of {limit}")]
    return []


def validate_requirements(resources: Mapping[str, Any], path: str) -> list[FieldError]:
    """Faults of ``resources``: names, amounts, and requests above limits."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    errors = _validate_list(limits, f"{path}.limits") + _validate_list(requests, f"{path}.requests")
    for name, request in requests.items():
        if name in limits:
            errors += _compare(name, request, limits[name], f"{path}.requests")
        elif not _is_overcommittable(name):
            errors.append(required(f"{path}.limits", "Limit must be set for non overcommitable resources"))
    return errors
