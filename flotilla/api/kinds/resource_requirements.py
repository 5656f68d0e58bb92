"""Validation of requests and limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import (
    MUST_NOT_BE_NEGATIVE,
    duplicate,
    forbidden,
    invalid,
    not_found,
    required,
    unsupported,
)
from flotilla.api.kinds.resource_names import (
    container_name_faults,
    is_huge_pages,
    is_overcommittable,
    standard_name_faults,
)
from flotilla.api.quantities import InvalidQuantityError, parse_quantity

_POD_LEVEL = ("cpu", "hugepages-", "memory")
_NameFaults = Callable[[str, str], list[FieldError]]


def validate_quantities(amounts: Mapping[str, Any], path: str) -> list[FieldError]:
    """Faults of the amounts of a resource list, whatever the resources are."""
    errors: list[FieldError] = []
    for name, amount in amounts.items():
        value = parse_quantity(amount)
        if value < 0:
            errors.append(invalid(f"{path}[{name}]", amount, MUST_NOT_BE_NEGATIVE))
        elif not is_overcommittable(name) and value.denominator != 1:
            errors.append(invalid(f"{path}[{name}]", amount, "must be an integer"))
    return errors


def _pod_name_faults(name: str, path: str) -> list[FieldError]:
    errors = standard_name_faults(name, path)
    if errors or name in _POD_LEVEL or is_huge_pages(name):
        return errors
    return [unsupported(path, name, _POD_LEVEL)]


def _page_bytes(name: str) -> int:
    try:
        return int(parse_quantity(name.removeprefix("hugepages-")))
    except InvalidQuantityError:
        return 0


def _validate_pages(amounts: Mapping[str, Any], path: str) -> list[FieldError]:
    """Whether amounts of huge pages are whole pages of a size that can be read."""
    errors: list[FieldError] = []
    for name, amount in amounts.items():
        if not is_huge_pages(name):
            continue
        size = _page_bytes(name)
        if size <= 0 or parse_quantity(amount) % size:
            why = f"field value must be an integer multiple of page size: {name.removeprefix('hugepages-')}"
            errors.append(invalid(f"{path}[{name}]", str(amount), why))
    return errors


def _validate_list(amounts: Mapping[str, Any], path: str, name_faults: _NameFaults) -> list[FieldError]:
    named = [error for name in amounts for error in name_faults(name, f"{path}[{name}]")]
    return named + validate_quantities(amounts, path) + _validate_pages(amounts, path)


def _compare(name: str, request: Any, limit: Any, path: str) -> list[FieldError]:
    if is_overcommittable(name):
        if parse_quantity(request) > parse_quantity(limit):
            return [invalid(path, str(request), f"must be less than or equal to {name} limit of {limit}")]
    elif parse_quantity(request) != parse_quantity(limit):
        return [invalid(path, str(request), f"must be equal to {name} limit of {limit}")]
    return []


def _validate(resources: Mapping[str, Any], path: str, name_faults: _NameFaults) -> list[FieldError]:
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    errors = _validate_list(limits, f"{path}.limits", name_faults)
    errors += _validate_list(requests, f"{path}.requests", name_faults)
    for name, request in requests.items():
        if name in limits:
            errors += _compare(name, request, limits[name], f"{path}.requests")
        elif not is_overcommittable(name):
            errors.append(required(f"{path}.limits", "Limit must be set for non overcommitable resources"))
    given = limits.keys() | requests.keys()
    if any(is_huge_pages(name) for name in given) and not given & {"cpu", "memory"}:
        errors.append(forbidden(path, "HugePages require cpu or memory"))
    return errors


def validate_requirements(
    resources: Mapping[str, Any], path: str, *, claims: frozenset[str] = frozenset()
) -> list[FieldError]:
    """Faults of a container's ``resources``; ``claims`` are the names of the claims of its pod."""
    errors = _validate(resources, path, container_name_faults)
    seen: set[tuple[str, str]] = set()
    for index, claim in enumerate(resources.get("claims") or ()):
        where, name, request = f"{path}.claims[{index}]", claim.get("name") or "", claim.get("request") or ""
        if not name:
            errors.append(required(f"{where}.name"))
        elif name not in claims:
            errors.append(not_found(f"{where}.name", name))
        if (name, request) in seen:
            errors.append(duplicate(where, f"{name}/{request}" if request else name))
        seen.add((name, request))
    return errors


def _total(containers: list[Mapping[str, Any]], name: str, part: str) -> Any:
    amounts = [(container.get("resources") or {}).get(part, {}) or {} for container in containers]
    return sum((parse_quantity(each[name]) for each in amounts if name in each), start=parse_quantity(0))


def validate_pod_requirements(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    """Faults of the ``resources`` of a whole pod spec at ``path``, alone and against those of its containers."""
    resources, where = spec["resources"], f"{path}.resources"
    errors = _validate(resources, where, _pod_name_faults)
    if resources.get("claims") is not None:
        errors.append(forbidden(f"{where}.claims", "claims may not be set for Resources at pod-level"))
    sidecars = [each for each in spec.get("initContainers") or () if each.get("restartPolicy") == "Always"]
    together = [*(spec.get("containers") or ()), *sidecars]
    for name, request in (resources.get("requests") or {}).items():
        total = _total(together, name, "requests")
        if total > parse_quantity(request):
            shown = total if total.denominator == 1 else float(total)
            why = f"must be greater than or equal to aggregate container requests of {shown}"
            errors.append(invalid(f"{where}.requests[{name}]", str(request), why))
    for index, container in enumerate(spec.get("containers") or ()):
        limits = (container.get("resources") or {}).get("limits") or {}
        for name, limit in (resources.get("limits") or {}).items():
            if name in limits and parse_quantity(limits[name]) > parse_quantity(limit):
                why = f"must be less than or equal to pod limits of {limit}"
                place = f"{where}.containers[{index}][{name}].limits"
                errors.append(invalid(place, str(limits[name]), why))
    return errors
