"""Validation of what decides where a pod runs: tolerations, node selector, affinity, spreading."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import duplicate, each_invalid, forbidden, invalid, required, unsupported
from flotilla.api.kinds.label_selectors import validate_label_selector
from flotilla.api.kinds.metadata import validate_labels
from flotilla.api.kinds.node_selectors import validate_node_term, validate_required_terms
from flotilla.api.names import dns_label_faults, label_value_faults, qualified_name_faults

TAINT_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_UNSATISFIABLE = ("DoNotSchedule", "ScheduleAnyway")
_NODE_POLICIES = ("Honor", "Ignore")
_WEIGHT_FAULT = "must be in the range 1-100"
_NEEDS_SELECTOR = "must not be specified when labelSelector is not set"
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
            errors.append(invalid(f"{path}.operator", value, "value must be empty when `operator` is 'Exists'"))
    elif operator == "Equal":
        errors += each_invalid(f"{path}.operator", value, label_value_faults(value or ""))
    else:
        errors.append(unsupported(f"{path}.operator", operator, ("Equal", "Exists")))
    if effect and effect not in TAINT_EFFECTS:
        errors.append(unsupported(f"{path}.effect", effect, TAINT_EFFECTS))
    return errors


def validate_tolerations(tolerations: list[dict[str, Any]], path: str) -> list[FieldError]:
    """Faults of a list of tolerations."""
    return [
        error
        for index, toleration in enumerate(tolerations)
        for error in _validate_toleration(toleration, f"{path}[{index}]")
    ]


def _validate_weight(weighted: Mapping[str, Any], path: str) -> list[FieldError]:
    weight = weighted.get("weight") or 0
    return [] if 1 <= weight <= 100 else [invalid(f"{path}.weight", weight, _WEIGHT_FAULT)]


def _validate_node_affinity(affinity: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if affinity.get(_REQUIRED_TERMS) is not None:
        errors += validate_required_terms(affinity[_REQUIRED_TERMS], f"{path}.{_REQUIRED_TERMS}")
    for index, preferred in enumerate(affinity.get(_PREFERRED_TERMS) or ()):
        where = f"{path}.{_PREFERRED_TERMS}[{index}]"
        errors += _validate_weight(preferred, where)
        errors += validate_node_term(preferred.get("preference") or {}, f"{where}.preference", any_value=True)
    return errors


def _selector_keys(selector: Mapping[str, Any] | None) -> set[str]:
    expressions = (selector or {}).get("matchExpressions") or ()
    return {*((selector or {}).get("matchLabels") or ()), *(each.get("key", "") for each in expressions)}


def _validate_label_keys(
    holder: Mapping[str, Any], field: str, path: str, *, others: Mapping[str, set[str]]
) -> list[FieldError]:
    """Faults of a list of keys whose values are taken from the pod; ``others`` must not have the same keys."""
    keys, where = holder.get(field) or [], f"{path}.{field}"
    if not keys:
        return []
    if holder.get("labelSelector") is None:
        return [forbidden(where, _NEEDS_SELECTOR)]
    errors: list[FieldError] = []
    for index, key in enumerate(keys):
        errors += each_invalid(f"{where}[{index}]", key, qualified_name_faults(key))
        errors += [
            invalid(f"{where}[{index}]", key, f"exists in both {field} and {other}")
            for other, taken in others.items()
            if key in taken
        ]
    return errors


def _validate_pod_term(term: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for field in ("labelSelector", "namespaceSelector"):
        if term.get(field) is not None:
            errors += validate_label_selector(term[field], f"{path}.{field}")
    for name in term.get("namespaces") or ():
        errors += each_invalid(f"{path}.namespace", name, dns_label_faults(name))
    selected = _selector_keys(term.get("labelSelector"))
    unmatched = set(term.get("mismatchLabelKeys") or ())
    others = {"mismatchLabelKeys": unmatched, "labelSelector": selected}
    errors += _validate_label_keys(term, "matchLabelKeys", path, others=others)
    errors += _validate_label_keys(term, "mismatchLabelKeys", path, others={})
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
        errors += _validate_weight(weighted, where)
        errors += _validate_pod_term(weighted.get("podAffinityTerm") or {}, f"{where}.podAffinityTerm")
    return errors


def _positive(path: str, number: int | None) -> list[FieldError]:
    return [invalid(path, number, "must be greater than zero")] if number is not None and number <= 0 else []


def _validate_spread(constraint: Mapping[str, Any], path: str) -> list[FieldError]:
    action, domains = constraint.get("whenUnsatisfiable"), constraint.get("minDomains")
    errors = _positive(f"{path}.maxSkew", constraint.get("maxSkew") or 0)
    if not constraint.get("topologyKey"):
        errors.append(required(f"{path}.topologyKey", "can not be empty"))
    if action not in _UNSATISFIABLE:
        errors.append(unsupported(f"{path}.whenUnsatisfiable", action, _UNSATISFIABLE))
    errors += _positive(f"{path}.minDomains", domains)
    if domains is not None and action == "ScheduleAnyway":
        why = "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway"
        errors.append(invalid(f"{path}.minDomains", domains, why))
    for field in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
        if constraint.get(field) is not None and constraint[field] not in _NODE_POLICIES:
            errors.append(unsupported(f"{path}.{field}", constraint[field], _NODE_POLICIES))
    if constraint.get("labelSelector") is not None:
        errors += validate_label_selector(constraint["labelSelector"], f"{path}.labelSelector")
    others = {"labelSelector": _selector_keys(constraint.get("labelSelector"))}
    return errors + _validate_label_keys(constraint, "matchLabelKeys", path, others=others)


def _validate_spreads(constraints: list[dict[str, Any]], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    pairs = [(each.get("topologyKey", ""), each.get("whenUnsatisfiable", "")) for each in constraints]
    for index, constraint in enumerate(constraints):
        where = f"{path}[{index}]"
        errors += _validate_spread(constraint, where)
        if pairs[index] in pairs[index + 1 :]:
            shown = f"{{{pairs[index][0]}, {pairs[index][1]}}}"
            errors.append(duplicate(f"{where}.{{topologyKey, whenUnsatisfiable}}", shown))
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
    return errors + _validate_spreads(spec.get("topologySpreadConstraints") or [], f"{path}.topologySpreadConstraints")
