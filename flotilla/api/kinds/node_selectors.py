"""Validation of node selectors: the terms that a node must match, in the affinity of pods and of volumes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import each_invalid, forbidden, invalid, required
from flotilla.api.names import dns_subdomain_faults, label_value_faults, qualified_name_faults


def _validate_expression(expression: Mapping[str, Any], path: str, *, any_value: bool) -> list[FieldError]:
    operator, values = expression.get("operator"), expression.get("values") or []
    errors: list[FieldError] = []
    if operator in ("In", "NotIn"):
        if not values:
            errors.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            errors.append(forbidden(f"{path}.values", why))
    elif operator in ("Gt", "Lt"):
        if len(values) != 1:
            errors.append(required(f"{path}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'"))
    else:
        errors.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    key = expression.get("key") or ""
    errors += each_invalid(f"{path}.key", key, qualified_name_faults(key))
    for index, value in enumerate(() if any_value else values):
        errors += each_invalid(f"{path}.values[{index}]", value, label_value_faults(value))
    return errors


def _validate_field(expression: Mapping[str, Any], path: str) -> list[FieldError]:
    operator, values = expression.get("operator"), expression.get("values") or []
    errors: list[FieldError] = []
    if operator not in ("In", "NotIn"):
        errors.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    elif len(values) != 1:
        why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        errors.append(required(f"{path}.values", why))
    if expression.get("key") != "metadata.name":
        return [*errors, invalid(f"{path}.key", expression.get("key"), "not a valid field selector key")]
    for index, value in enumerate(values):
        errors += each_invalid(f"{path}.values[{index}]", value, dns_subdomain_faults(value))
    return errors


def validate_node_term(term: Mapping[str, Any], path: str, *, any_value: bool = False) -> list[FieldError]:
    """Faults of one term; with ``any_value`` it may compare with what can't be a label's value."""
    errors: list[FieldError] = []
    for index, expression in enumerate(term.get("matchExpressions") or ()):
        errors += _validate_expression(expression, f"{path}.matchExpressions[{index}]", any_value=any_value)
    for index, expression in enumerate(term.get("matchFields") or ()):
        errors += _validate_field(expression, f"{path}.matchFields[{index}]")
    return errors


def validate_required_terms(selector: Mapping[str, Any], path: str) -> list[FieldError]:
    """Faults of a node selector at ``path``."""
    terms = selector.get("nodeSelectorTerms") or []
    if not terms:
        return [required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")]
    return [
        error
        for index, term in enumerate(terms)
        for error in validate_node_term(term, f"{path}.nodeSelectorTerms[{index}]")
    ]
