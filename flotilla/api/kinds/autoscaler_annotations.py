"""Metrics in the words of autoscaling/v1, which has them in annotations only.

A table of names each way, a row for a kind of source: version 1 writes ``targetAverageValue`` where version 2 has a
``target`` with a type. Source: ``k8s.io/api/autoscaling/v1`` and its conversions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.kinds.autoscaler_metrics import SOURCES
from flotilla.api.objects import KubeObject

_TARGETS = {"Utilization": "averageUtilization", "AverageValue": "averageValue", "Value": "value"}
_NAMED = frozenset({"Resource", "ContainerResource"})


def _target_names(kind: str) -> dict[str, str]:
    """Fields of a version 2 target or current value, and what version 1 calls the target."""
    if kind in _NAMED:
        return {"averageUtilization": "targetAverageUtilization", "averageValue": "targetAverageValue"}
    if kind == "Pods":
        return {"averageValue": "targetAverageValue"}
    if kind == "Object":
        return {"value": "targetValue", "averageValue": "averageValue"}
    return {"value": "targetValue", "averageValue": "targetAverageValue"}


def _current_names(kind: str) -> dict[str, str]:
    return {field: name.replace("target", "current") for field, name in _target_names(kind).items()}


def _selector_name(kind: str) -> str:
    return "metricSelector" if kind == "External" else "selector"


def to_version_1(metric: Mapping[str, Any]) -> KubeObject:
    """A metric's specification or status of version 2 in version 1's words."""
    kind = metric.get("type", "")
    field = SOURCES.get(kind, "")
    source: Mapping[str, Any] = metric.get(field) or {}
    written: KubeObject = {}
    if kind in _NAMED:
        written["name"] = source.get("name", "")
        if kind == "ContainerResource":
            written["container"] = source.get("container", "")
    else:
        identity = source.get("metric") or {}
        written["metricName"] = identity.get("name", "")
        if identity.get("selector") is not None:
            written[_selector_name(kind)] = identity["selector"]
        if kind == "Object":
            written["target"] = source.get("describedObject") or {}
    for names, values in ((_target_names(kind), source.get("target")), (_current_names(kind), source.get("current"))):
        for name, written_name in names.items():
            if values and values.get(name) is not None:
                written[written_name] = values[name]
    return {"type": kind, field: written}


def from_version_1(metric: Mapping[str, Any], *, part: str) -> KubeObject:
    """The other way; ``part`` is ``target`` for a specification, ``current`` for a status."""
    kind = metric.get("type", "")
    field = SOURCES.get(kind, "")
    written: Mapping[str, Any] = metric.get(field) or {}
    source: KubeObject = {}
    if kind in _NAMED:
        source["name"] = written.get("name", "")
        if kind == "ContainerResource":
            source["container"] = written.get("container", "")
    else:
        source["metric"] = {"name": written.get("metricName", "")}
        if written.get(_selector_name(kind)) is not None:
            source["metric"]["selector"] = written[_selector_name(kind)]
        if kind == "Object":
            source["describedObject"] = written.get("target") or {}
    names = _target_names(kind) if part == "target" else _current_names(kind)
    values = {name: written[there] for name, there in names.items() if written.get(there) is not None}
    if part == "target":
        type_ = next((type_ for type_, name in _TARGETS.items() if name in values), "")
        values = ({"type": type_} if type_ else {}) | values
    source[part] = values
    return {"type": kind, field: source}
