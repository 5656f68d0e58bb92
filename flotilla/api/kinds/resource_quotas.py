"""ResourceQuota: its strategy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import IMMUTABLE, invalid, required
from flotilla.api.kinds.metadata import (
    begin_status,
    keep_status,
    metadata_fields,
    no_defaults,
    no_warnings,
    validate_metadata,
)
from flotilla.api.kinds.resource import Strategy
from flotilla.api.kinds.resource_names import (
    COMPUTE,
    is_huge_pages,
    is_quota_name,
    standard_name_faults,
    validate_amount,
)
from flotilla.api.objects import KubeObject

_SCOPES = (
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
)
_CONFLICTS = (frozenset({"BestEffort", "NotBestEffort"}), frozenset({"Terminating", "NotTerminating"}))
_ONE_OPERATOR = ("Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "CrossNamespacePodAffinity")
_VALUED = ("In", "NotIn")
_VALUELESS = ("Exists", "DoesNotExist")


def _is_pod_resource(name: str) -> bool:
    """Whether pods use it, so that the scopes about pods may narrow it down."""
    bare = name.removeprefix("requests.").removeprefix("limits.")
    return name == "pods" or bare in COMPUTE or is_huge_pages(bare)


def _fits(scope: str, name: str) -> bool:
    """Whether a scope may be applied to a standard resource."""
    if scope == "BestEffort":
        return name == "pods"
    if scope == "VolumeAttributesClass":
        return name in ("persistentvolumeclaims", "requests.storage", "storage")
    return _is_pod_resource(name)


def _validate_hard(hard: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for name, amount in hard.items():
        where = f"{path}[{name}]"
        errors += standard_name_faults(name, where)
        if "/" not in name and not is_quota_name(name):
            errors.append(invalid(where, name, "must be a standard resource for quota"))
        errors += validate_amount(name, amount, where)
    return errors


def _validate_scopes(scopes: list[str], hard: Mapping[str, Any], path: str, *, shown: Any) -> list[FieldError]:
    errors: list[FieldError] = []
    for scope in scopes:
        if scope not in _SCOPES:
            errors.append(invalid(path, shown, "unsupported scope"))
        elif any("/" not in name and is_quota_name(name) and not _fits(scope, name) for name in hard):
            errors.append(invalid(path, shown, "unsupported scope applied to resource"))
    if any(pair <= set(scopes) for pair in _CONFLICTS):
        errors.append(invalid(path, shown, "conflicting scopes"))
    return errors


def _validate_expression(expression: Mapping[str, Any], path: str) -> list[FieldError]:
    scope, operator, values = expression.get("scopeName"), expression.get("operator"), expression.get("values") or []
    if scope in _ONE_OPERATOR and operator != "Exists":
        why = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
        why += "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or "
        return [invalid(f"{path}.operator", operator, f"{why}ResourceQuotaScopeCrossNamespacePodAffinity")]
    if operator in _VALUED:
        why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
        return [] if values else [required(f"{path}.values", why)]
    if operator in _VALUELESS:
        why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
        return [invalid(f"{path}.values", values, why)] if values else []
    return [invalid(f"{path}.operator", operator, "not a valid selector operator")]


def _validate_selector(spec: Mapping[str, Any]) -> list[FieldError]:
    expressions = (spec.get("scopeSelector") or {}).get("matchExpressions") or []
    path = "spec.scopeSelector.matchExpressions"
    errors: list[FieldError] = []
    for index, expression in enumerate(expressions):
        errors += _validate_expression(expression, f"{path}[{index}]")
    scopes = [expression.get("scopeName", "") for expression in expressions]
    return errors + _validate_scopes(scopes, spec.get("hard") or {}, path, shown=spec.get("scopeSelector"))


def _validate(quota: KubeObject, old: KubeObject | None) -> list[FieldError]:
    spec = quota.get("spec") or {}
    hard, scopes = spec.get("hard") or {}, spec.get("scopes") or []
    errors = validate_metadata(quota) + _validate_hard(hard, "spec.hard")
    errors += _validate_scopes(scopes, hard, "spec.scopes", shown=scopes) + _validate_selector(spec)
    if old is not None:
        was = (old.get("spec") or {}).get("scopes") or []
        if set(scopes) != set(was):
            errors.append(invalid("spec.scopes", scopes, IMMUTABLE))
    return errors


def _validate_status(subresource: str, quota: KubeObject, old: KubeObject) -> list[FieldError]:
    status = quota.get("status") or {}
    return [error for field in ("hard", "used") for error in _validate_hard(status.get(field) or {}, f"status.{field}")]


STRATEGY = Strategy(
    default=no_defaults,
    validate=_validate,
    prepare_for_create=begin_status(),
    prepare_for_update=keep_status,
    warnings=no_warnings,
    selectable_fields=metadata_fields,
    status_subresource=True,
    validate_subresource=_validate_status,
)
