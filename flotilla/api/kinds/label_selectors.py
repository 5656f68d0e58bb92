"""Validation of ``metav1.LabelSelector`` fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import each_invalid, forbidden, invalid, required
from flotilla.api.kinds.metadata import validate_labels
from flotilla.api.names import label_value_faults, qualified_name_faults


def _validate_expression(expression: Mapping[str, Any], path: str) -> list[FieldError]:
    operator, values = expression.get("operator"), expression.get("values") or []
    errors: list[FieldError] = []
    if operator in ("In", "NotIn"):
        if not values:
            errors.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            errors.append(forbidden(f"{path}.values", why))
    else:
        errors.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    key = expression.get("key") or ""
    errors += each_invalid(f"{path}.key", key, qualified_name_faults(key))
    for index, value in enumerate(values):
        errors += each_invalid(f"{path}.values[{index}]", value, label_value_faults(value))
    return errors


def validate_label_selector(selector: Mapping[str, Any], path: str) -> list[FieldError]:
    """Faults of a selector's labels and expressions."""
    errors = validate_labels(selector.get("matchLabels") or {}, f"{path}.matchLabels")
    for index, expression in enumerate(selector.get("matchExpressions") or ()):
        errors += _validate_expression(expression, f"{path}.matchExpressions[{index}]")
    return errors
