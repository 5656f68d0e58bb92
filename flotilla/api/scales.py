"""Where a kind has what its Scale shows: fixed places for the kinds of the release, paths for those of definitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flotilla.api.kinds.resource import Resource
from flotilla.api.objects import KubeObject
from flotilla.api.selectors import label_selector_of

_SPEC, _STATUS = ("spec", "replicas"), ("status", "replicas")


def spec_path(resource: Resource) -> tuple[str, ...]:
    """The fields that lead to the replicas that are wanted."""
    scale = resource.shape.scale if resource.shape is not None else None
    return scale.spec_replicas if scale is not None else _SPEC


def wanted_replicas(resource: Resource, obj: KubeObject, *, unset: int = 0) -> int:
    """How many replicas the object wants; ``unset`` where it doesn't say."""
    found = _at(obj, spec_path(resource))
    return unset if found is None else _number(found)


def seen_replicas(resource: Resource, obj: KubeObject) -> int:
    """How many replicas were there last."""
    scale = resource.shape.scale if resource.shape is not None else None
    return _number(_at(obj, scale.status_replicas if scale is not None else _STATUS))


def selector_text(resource: Resource, obj: KubeObject) -> str:
    """The label selector of the pods; a custom object has it as text, if at all."""
    scale = resource.shape.scale if resource.shape is not None else None
    if scale is None:
        return str(label_selector_of((obj.get("spec") or {}).get("selector")))
    found = _at(obj, scale.selector) if scale.selector else ""
    return found if isinstance(found, str) else ""


def with_replicas(resource: Resource, obj: KubeObject, replicas: int) -> KubeObject:
    """A copy that wants another number of replicas; it shares what is beside the path."""
    return _with(obj, spec_path(resource), replicas)


def _with(obj: KubeObject, path: Sequence[str], value: Any) -> KubeObject:
    first, *rest = path
    if not rest:
        return obj | {first: value}
    below = obj.get(first)
    return obj | {first: _with(below if isinstance(below, dict) else {}, rest, value)}


def _at(obj: Any, path: Sequence[str]) -> Any:
    for name in path:
        obj = obj.get(name) if isinstance(obj, dict) else None
    return obj


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
