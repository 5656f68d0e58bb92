"""Node selectors and node affinity: does a node's set of labels fit?

Source: Kubernetes' ``component-helpers/scheduling/corev1/nodeaffinity``. Terms are alternatives, the expressions of one
term must all hold; a term without expressions matches nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def matches_required(spec: Mapping[str, Any], labels: Mapping[str, str], name: str) -> bool:
    """Whether a node may run the pod by its nodeSelector and required node affinity."""
    selector = spec.get("nodeSelector") or {}
    if not selector.items() <= labels.items():
        return False
    required = _node_affinity(spec).get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or any(matches_term(term, labels, name) for term in required.get("nodeSelectorTerms") or ())


def required_part(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What :func:`matches_required` looks at; empty if every node fits."""
    part: dict[str, Any] = {}
    if spec.get("nodeSelector"):
        part["nodeSelector"] = spec["nodeSelector"]
    required = _node_affinity(spec).get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is not None:
        part["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    return part


def preferred_terms(spec: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """``{"weight": 1..100, "preference": term}`` for the terms that a node should match."""
    terms: Sequence[Mapping[str, Any]] = (
        _node_affinity(spec).get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    )
    return terms


def _node_affinity(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    affinity: Mapping[str, Any] = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    return affinity


def matches_term(term: Mapping[str, Any], labels: Mapping[str, str], name: str) -> bool:
    """Whether a node matches one nodeSelectorTerm."""
    expressions = term.get("matchExpressions") or ()
    fields = term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return all(_holds(each, labels) for each in expressions) and all(
        _holds(each, {"metadata.name": name}) for each in fields
    )


def _holds(requirement: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement["key"])
    values = requirement.get("values") or ()
    match requirement["operator"]:
        case "In":
            return value is not None and value in values
        case "NotIn":
            return value is None or value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt" as operator:
            return value is not None and any(_compares(operator, value, bound) for bound in values)
    return False


def _compares(operator: str, value: str, bound: str) -> bool:
    try:
        return int(value) > int(bound) if operator == "Gt" else int(value) < int(bound)
    except ValueError:
        return False
