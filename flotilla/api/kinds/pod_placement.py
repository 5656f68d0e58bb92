"""Validation of what decides where a pod runs: tolerations, node selector, affinity, spreading."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import (
    each_invalid,
    forbidden,
    invalid,
    not_among,
    not_positive,
    out_of_range,
    required,
    unsupported,
)
from flotilla.api.kinds.label_selectors import validate_label_selector
from flotilla.api.kinds.metadata import validate_labels
from flotilla.api.names import label_value_faults, qualified_name_faults

TAINT_EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")
_NODE_OPERATORS = ("DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn")
_UNSATISFIABLE = ("DoNotSchedule", "ScheduleAnyway")
_REQUIRED_TERMS = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED_TERMS = "preferredDuringSchedulingIgnoredDuringExecution"


def _validate_toleration(toleration: Mapping[str, Any], path: str) -> list[FieldError]:
    key, operator, value = toleration.get("key"), toleration.get("operator") or "Equal", toleration.get("value")
    effect = toleration.get("effect")
    errors = each_invalid(f"{path}.key", key, qualified_name_faults(key)) if key else []
    if not key and operator != "Exists":
        why = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        errors.append(invalid(f"{path}.operator", operator, why))
    if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
        errors.append(invalid(f"{path}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"))
    if operator == "Exists":
        if value:
            errors.append(invalid(f"{path}.operator", toleration, "value must be empty when `operator` is 'Exists'"))
    elif operator == "Equal":
        errors += each_invalid(f"{path}.operator", value, label_value_faults(value or ""))
    else:
        errors.append(unsupported(f"{path}.operator", operator, ("Equal", "Exists")))
    return errors + not_among(f"{path}.effect", effect, TAINT_EFFECTS)


def validate_tolerations(tolerations: list[dict[str, Any]], path: str) -> list[FieldError]:
    """Faults of a list of tolerations."""
    return [
        error
        for index, toleration in enumerate(tolerations)
        for error in _validate_toleration(toleration, f"{path}[{index}]")
    ]


def _validate_node_expression(expression: Mapping[str, Any], path: str) -> list[FieldError]:
    operator, values = expression.get("operator"), expression.get("values") or []
    errors: list[FieldError] = []
    if operator in ("In", "NotIn") and not values:
        errors.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist") and values:
        errors.append(forbidden(f"{path}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
    elif operator in ("Gt", "Lt") and len(values) != 1:
        errors.append(required(f"{path}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'"))
    elif operator not in _NODE_OPERATORS:
        errors.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    key = expression.get("key") or ""
    return errors + each_invalid(f"{path}.key", key, qualified_name_faults(key))


def _validate_node_term(term: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, expression in enumerate(term.get("matchExpressions") or ()):
        errors += _validate_node_expression(expression, f"{path}.matchExpressions[{index}]")
    for index, expression in enumerate(term.get("matchFields") or ()):
        if expression.get("key") != "metadata.name":
            where = f"{path}.matchFields[{index}].key"
            errors.append(invalid(where, expression.get("key"), "not a valid field selector key"))
    return errors


def _validate_node_affinity(affinity: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    needed = affinity.get(_REQUIRED_TERMS)
    if needed is not None:
        where = f"{path}.{_REQUIRED_TERMS}.nodeSelectorTerms"
        terms = needed.get("nodeSelectorTerms") or []
        errors += [] if terms else [required(where, "must have at least one node selector term")]
        for index, term in enumerate(terms):
            errors += _validate_node_term(term, f"{where}[{index}]")
    for index, preferred in enumerate(affinity.get(_PREFERRED_TERMS) or ()):
        where = f"{path}.{_PREFERRED_TERMS}[{index}]"
        errors += out_of_range(f"{where}.weight", preferred.get("weight"), 1, 100)
        errors += _validate_node_term(preferred.get("preference") or {}, f"{where}.preference")
    return errors


def _validate_pod_term(term: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if term.get("labelSelector") is not None:
        errors += validate_label_selector(term["labelSelector"], f"{path}.labelSelector")
    key = term.get("topologyKey")
    if not key:
        return [*errors, required(f"{path}.topologyKey", "can not be empty")]
    return errors + each_invalid(f"{path}.topologyKey", key, qualified_name_faults(key))


def _validate_pod_affinity(affinity: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, term in enumerate(affinity.get(_REQUIRED_TERMS) or ()):
        errors += _validate_pod_term(term, f"{path}.{_REQUIRED_TERMS}[{index}]")
    for index, weighted in enumerate(affinity.get(_PREFERRED_TERMS) or ()):
        where = f"{path}.{_PREFERRED_TERMS}[{index}]"
        errors += out_of_range(f"{where}.weight", weighted.get("weight"), 1, 100)
        errors += _validate_pod_term(weighted.get("podAffinityTerm") or {}, f"{where}.podAffinityTerm")
    return errors


def _validate_spread(constraint: Mapping[str, Any], path: str) -> list[FieldError]:
    errors = not_positive(f"{path}.maxSkew", constraint.get("maxSkew"))
    if not constraint.get("topologyKey"):
        errors.append(required(f"{path}.topologyKey", "can not be empty"))
    if constraint.get("whenUnsatisfiable") not in _UNSATISFIABLE:
        errors.append(unsupported(f"{path}.whenUnsatisfiable", constraint.get("whenUnsatisfiable"), _UNSATISFIABLE))
    if constraint.get("labelSelector") is not None:
        errors += validate_label_selector(constraint["labelSelector"], f"{path}.labelSelector")
    return errors


def validate_placement(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    """Faults of everything in a pod spec at ``path`` that the scheduler reads."""
    errors = validate_tolerations(spec.get("tolerations") or [], f"{path}.tolerations")
    errors += validate_labels(spec.get("nodeSelector") or {}, f"{path}.nodeSelector")
    affinity = spec.get("affinity") or {}
    if affinity.get("nodeAffinity"):
        errors += _validate_node_affinity(affinity["nodeAffinity"], f"{path}.affinity.nodeAffinity")
    for kind in ("podAffinity", "podAntiAffinity"):
        if affinity.get(kind):
            errors += _validate_pod_affinity(affinity[kind], f"{path}.affinity.{kind}")
    for index, constraint in enumerate(spec.get("topologySpreadConstraints") or ()):
        errors += _validate_spread(constraint, f"{path}.topologySpreadConstraints[{index}]")
    return errors
