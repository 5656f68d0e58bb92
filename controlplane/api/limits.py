"""What the LimitRanges of a namespace give to new pods and claims, and what they refuse.

A container without requests or limits gets the defaults; then every container, the pod as a whole and every claim is
held to the bounds. The rules and the words are those of Kubernetes' admission plug-in LimitRanger. The arithmetic is
in functions of their own that know nothing of the cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from controlplane.store.cache import Cache
from flotilla.api.errors import forbidden
from flotilla.api.objects import KubeObject
from flotilla.api.quantities import format_bytes, format_cpu_millis, parse_quantity
from flotilla.api.registry import Resource
from flotilla.api.resources import LIMIT_RANGES, PERSISTENT_VOLUME_CLAIMS, PODS
from flotilla.api.workloads import qos_class

ANNOTATION = "kubernetes.io/limit-ranger"
_CONTAINER_KINDS = (("containers", "container"), ("initContainers", "init container"))

Amounts = Mapping[str, Any]


class Limits:
    """Applies the LimitRanges that the cache shows."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def complete(self, resource: Resource, obj: KubeObject) -> None:
        """Fill a new, defaulted pod, which is edited."""
        if resource is PODS:
            for items in self._items(obj):
                complete_pod(obj, items)

    def check(self, resource: Resource, obj: KubeObject) -> None:
        """Forbidden for a valid pod or claim that is outside of the bounds of its namespace."""
        if resource is not PODS and resource is not PERSISTENT_VOLUME_CLAIMS:
            return
        for items in self._items(obj):
            faults = pod_faults(obj, items) if resource is PODS else claim_faults(obj, items)
            if faults:
                name = obj["metadata"].get("name") or ""
                why = faults[0] if len(faults) == 1 else f"[{', '.join(faults)}]"
                error = forbidden(f'{resource.plural} "{name}" is forbidden: {why}')
                error.details = {"name": name, "kind": resource.plural}
                raise error

    def _items(self, obj: KubeObject) -> Iterator[Sequence[KubeObject]]:
        for entry in self._cache.list(LIMIT_RANGES, obj["metadata"].get("namespace") or ""):
            yield (entry.obj.get("spec") or {}).get("limits") or ()


def _missing(container: KubeObject, part: str, defaults: Amounts) -> list[str]:
    """Give a container what it lacks of its ``requests`` or ``limits``; the names of what it was given, in order."""
    resources = container.setdefault("resources", {})
    given = resources.get(part) or {}
    added = {name: amount for name, amount in defaults.items() if name not in given}
    if added:
        resources[part] = {**given, **added}
    return sorted(added)


def complete_pod(pod: KubeObject, items: Sequence[Mapping[str, Any]]) -> None:
    """Give the containers of a pod the defaults of one LimitRange, and note which."""
    notes: list[str] = []
    for item in items:
        if item.get("type") != "Container":
            continue
        for field, called in _CONTAINER_KINDS:
            for container in pod["spec"].get(field) or ():
                for part, source in (("requests", "defaultRequest"), ("limits", "default")):
                    added = _missing(container, part, item.get(source) or {})
                    if added:
                        notes.append(f"{', '.join(added)} {part.removesuffix('s')} for {called} {container['name']}")
    if notes:
        annotations = pod["metadata"].get("annotations") or {}
        pod["metadata"]["annotations"] = {**annotations, ANNOTATION: f"LimitRanger plugin set: {'; '.join(notes)}"}
        pod["status"]["qosClass"] = qos_class(pod["spec"])


def _resources_of(container: Mapping[str, Any], part: str) -> Amounts:
    amounts: Amounts = (container.get("resources") or {}).get(part) or {}
    return amounts


def _totals(spec: Mapping[str, Any], part: str) -> dict[str, Fraction]:
    """What a pod's containers ask for together, or the largest init container if that is more."""
    total: dict[str, Fraction] = {}
    for container in spec.get("containers") or ():
        for name, amount in _resources_of(container, part).items():
            total[name] = total.get(name, Fraction(0)) + parse_quantity(amount)
    for container in spec.get("initContainers") or ():
        for name, amount in _resources_of(container, part).items():
            total[name] = max(total.get(name, Fraction(0)), parse_quantity(amount))
    return total


def _shown(name: str, amount: Any) -> str:
    """An amount as it was written, or a sum in the shortest form."""
    if not isinstance(amount, Fraction):
        return str(amount)
    if name == "cpu":
        return format_cpu_millis(-(-amount * 1000 // 1))
    return format_bytes(-(-amount // 1))


def _value(amount: Any) -> Fraction:
    return amount if isinstance(amount, Fraction) else parse_quantity(amount)


def _minimum_faults(kind: str, bounds: Amounts, requests: Amounts, limits: Amounts) -> Iterator[str]:
    for name, least in bounds.items():
        rule = f"minimum {name} usage per {kind} is {least}"
        if name not in requests:
            yield f"{rule}.  No request is specified"
        elif _value(requests[name]) < _value(least):
            yield f"{rule}, but request is {_shown(name, requests[name])}"
        elif name in limits and _value(limits[name]) < _value(least):
            yield f"{rule}, but limit is {_shown(name, limits[name])}"


def _maximum_faults(kind: str, bounds: Amounts, requests: Amounts, limits: Amounts) -> Iterator[str]:
    for name, most in bounds.items():
        rule = f"maximum {name} usage per {kind} is {most}"
        if name not in limits:
            yield f"{rule}.  No limit is specified"
        elif _value(limits[name]) > _value(most):
            yield f"{rule}, but limit is {_shown(name, limits[name])}"
        elif name in requests and _value(requests[name]) > _value(most):
            yield f"{rule}, but request is {_shown(name, requests[name])}"


def _ratio_faults(kind: str, bounds: Amounts, requests: Amounts, limits: Amounts) -> Iterator[str]:
    for name, most in bounds.items():
        rule = f"{name} max limit to request ratio per {kind} is {most}"
        request, limit = _value(requests.get(name, "0")), _value(limits.get(name, "0"))
        if not request:
            yield f"{rule}, but no request is specified or request is 0"
        elif not limit:
            yield f"{rule}, but no limit is specified or limit is 0"
        elif limit / request > _value(most):
            yield f"{rule}, but provided ratio is {float(limit / request):f}"


def _faults(item: Mapping[str, Any], requests: Amounts, limits: Amounts) -> list[str]:
    kind = item["type"]
    faults = list(_minimum_faults(kind, item.get("min") or {}, requests, limits))
    faults += _maximum_faults(kind, item.get("max") or {}, requests, limits)
    return faults + list(_ratio_faults(kind, item.get("maxLimitRequestRatio") or {}, requests, limits))


def pod_faults(pod: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why one LimitRange refuses a pod."""
    spec, faults = pod["spec"], list[str]()
    for item in items:
        if item.get("type") == "Container":
            for field, _ in _CONTAINER_KINDS:
                for each in spec.get(field) or ():
                    faults += _faults(item, _resources_of(each, "requests"), _resources_of(each, "limits"))
        elif item.get("type") == "Pod":
            faults += _faults(item, _totals(spec, "requests"), _totals(spec, "limits"))
    return faults


def claim_faults(claim: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why one LimitRange refuses a claim; only its requests count."""
    requests = (claim["spec"].get("resources") or {}).get("requests") or {}
    faults: list[str] = []
    for item in items:
        if item.get("type") != "PersistentVolumeClaim":
            continue
        kind = item["type"]
        faults += _minimum_faults(kind, item.get("min") or {}, requests, {})
        for name, most in (item.get("max") or {}).items():
            if name in requests and _value(requests[name]) > _value(most):
                faults.append(f"maximum {name} usage per {kind} is {most}, but request is {requests[name]}")
            elif name not in requests:
                faults.append(f"maximum {name} usage per {kind} is {most}.  No request is specified")
    return faults
