"""Which objects a quota counts, beside the kinds that its limits name. Pure.

A quota without scopes counts all of them; with scopes only those that are in every one. Only pods are in the scopes
about pods, and only claims in the one about their attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from flotilla.api.registry import Resource
from flotilla.api.resources import PERSISTENT_VOLUME_CLAIMS, PODS
from flotilla.api.workloads import qos_class

_TERMS = "DuringSchedulingIgnoredDuringExecution"
Item = Mapping[str, Any]


def in_scopes(spec: Item, resource: Resource, obj: Item) -> bool:
    """Whether an object is in all scopes of a quota with this ``spec``."""
    return all(_matches(expression, resource, obj) for expression in _expressions(spec))


def _expressions(spec: Item) -> Iterator[Item]:
    for scope in spec.get("scopes") or ():
        yield {"scopeName": scope, "operator": "Exists"}
    yield from (spec.get("scopeSelector") or {}).get("matchExpressions") or ()


def _matches(expression: Item, resource: Resource, obj: Item) -> bool:
    scope = expression.get("scopeName", "")
    if resource is PERSISTENT_VOLUME_CLAIMS:
        return scope == "VolumeAttributesClass" and _selects(expression, _attribute_classes(obj))
    if resource is not PODS:
        return False
    if scope == "PriorityClass":
        named = (obj.get("spec") or {}).get("priorityClassName")
        return _selects(expression, [named] if named else [])
    about = _ABOUT_PODS.get(scope)
    return about is not None and about(obj)


def _selects(expression: Item, names: list[str]) -> bool:
    """Whether the class that an object names, of which there may be none or several, is one that is asked for."""
    operator, values = expression.get("operator"), expression.get("values") or ()
    if operator == "Exists":
        return bool(names)
    if operator == "DoesNotExist":
        return not names
    if operator == "In":
        return any(name in values for name in names)
    return not names or any(name not in values for name in names)


def _is_terminating(pod: Item) -> bool:
    return (pod.get("spec") or {}).get("activeDeadlineSeconds") is not None


def _is_best_effort(pod: Item) -> bool:
    return qos_class(pod.get("spec") or {}) == "BestEffort"


def _reaches_other_namespaces(pod: Item) -> bool:
    """Whether an affinity of the pod looks at pods of other namespaces."""
    affinity = (pod.get("spec") or {}).get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(kind) or {}
        terms = list(rules.get(f"required{_TERMS}") or ())
        terms += [each.get("podAffinityTerm") or {} for each in rules.get(f"preferred{_TERMS}") or ()]
        if any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in terms):
            return True
    return False


def _attribute_classes(claim: Item) -> list[str]:
    spec, status = claim.get("spec") or {}, claim.get("status") or {}
    target = (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName")
    names = (spec.get("volumeAttributesClassName"), status.get("currentVolumeAttributesClassName"), target)
    return [name for name in dict.fromkeys(names) if name]


_ABOUT_PODS: dict[str, Callable[[Item], bool]] = {
    "Terminating": _is_terminating,
    "NotTerminating": lambda pod: not _is_terminating(pod),
    "BestEffort": _is_best_effort,
    "NotBestEffort": lambda pod: not _is_best_effort(pod),
    "CrossNamespacePodAffinity": _reaches_other_namespaces,
}
