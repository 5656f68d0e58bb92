"""HorizontalPodAutoscaler of autoscaling/v1: a view of the version 2 object, with what it lacks in annotations.

The rules are version 2's: an object is converted, then judged, so that faults name version 2's fields, as they do in
Kubernetes. Source: ``pkg/apis/autoscaling/v1/conversion.go``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from flotilla.api.errors import FieldError
from flotilla.api.kinds import autoscaler_columns, autoscalers
from flotilla.api.kinds.autoscaler_annotations import from_version_1, to_version_1
from flotilla.api.kinds.resource import Column
from flotilla.api.objects import KubeObject, decode, encode

_PREFIX = "autoscaling.alpha.kubernetes.io/"
METRICS, BEHAVIOR = f"{_PREFIX}metrics", f"{_PREFIX}behavior"
CONDITIONS, CURRENT_METRICS = f"{_PREFIX}conditions", f"{_PREFIX}current-metrics"
_ANNOTATIONS = (METRICS, BEHAVIOR, CONDITIONS, CURRENT_METRICS)
_SPEC = ("scaleTargetRef", "minReplicas", "maxReplicas")
_STATUS = ("observedGeneration", "lastScaleTime", "currentReplicas", "desiredReplicas")
_API_VERSIONS = ("autoscaling/v1", "autoscaling/v2")


def _is_cpu(metric: Any, part: str) -> bool:
    """Whether it is the one metric that version 1 has a field for."""
    resource = metric.get("resource") or {}
    utilization = (resource.get(part) or {}).get("averageUtilization")
    return metric.get("type") == "Resource" and resource.get("name") == "cpu" and utilization is not None


def _cpu_utilization(metrics: list[KubeObject], part: str) -> int | None:
    return next((metric["resource"][part]["averageUtilization"] for metric in metrics if _is_cpu(metric, part)), None)


def _cpu_metric(utilization: int) -> KubeObject:
    target = {"type": "Utilization", "averageUtilization": utilization}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


def _kept(part: Mapping[str, Any], fields: tuple[str, ...]) -> KubeObject:
    return {field: part[field] for field in fields if field in part}


def from_stored(stored: KubeObject) -> KubeObject:
    """The version 1 form of a version 2 object."""
    spec, status = stored.get("spec") or {}, stored.get("status") or {}
    metrics, current = spec.get("metrics") or [], status.get("currentMetrics") or []
    viewed: KubeObject = {
        **stored,
        "apiVersion": _API_VERSIONS[0],
        "metadata": _annotated(stored["metadata"], _extra(spec, status)),
        "spec": _kept(spec, _SPEC),
    }
    target = _cpu_utilization(metrics, "target")
    if target is not None:
        viewed["spec"]["targetCPUUtilizationPercentage"] = target
    if "status" in stored:
        viewed["status"] = _kept(status, _STATUS)
        observed = _cpu_utilization(current, "current")
        if observed is not None:
            viewed["status"]["currentCPUUtilizationPercentage"] = observed
    return viewed


def _extra(spec: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, str]:
    """The annotations for what version 1 has no field for."""
    metrics: list[KubeObject] = spec.get("metrics") or []
    first = next((metric for metric in metrics if _is_cpu(metric, "target")), None)
    found = {
        METRICS: [to_version_1(metric) for metric in metrics if metric is not first],
        BEHAVIOR: spec.get("behavior"),
        CONDITIONS: status.get("conditions"),
        CURRENT_METRICS: [to_version_1(metric) for metric in status.get("currentMetrics") or ()],
    }
    return {name: encode(value).decode() for name, value in found.items() if value}


def _annotated(metadata: KubeObject, extra: dict[str, str]) -> KubeObject:
    annotations = {name: text for name, text in (metadata.get("annotations") or {}).items() if name not in _ANNOTATIONS}
    annotations |= extra
    if annotations:
        return metadata | {"annotations": annotations}
    return {name: value for name, value in metadata.items() if name != "annotations"}


def _carried(metadata: Mapping[str, Any], annotation: str, type_: type) -> Any:
    """What an annotation carries; one that can't be read counts as absent."""
    text = (metadata.get("annotations") or {}).get(annotation)
    if not isinstance(text, str):
        return None
    try:
        value = decode(text.encode())
    except msgspec.DecodeError:
        return None
    if type_ is list and not (isinstance(value, list) and all(isinstance(item, dict) for item in value)):
        return None
    return value if isinstance(value, type_) else None


def to_stored(viewed: KubeObject) -> KubeObject:
    """The version 2 form of a version 1 object."""
    metadata = viewed["metadata"]
    spec, status = viewed.get("spec") or {}, viewed.get("status") or {}
    utilization = spec.get("targetCPUUtilizationPercentage")
    metrics = [_cpu_metric(utilization)] if utilization is not None else []
    metrics += [from_version_1(metric, part="target") for metric in _carried(metadata, METRICS, list) or ()]
    stored_spec = _kept(spec, _SPEC)
    if metrics:
        stored_spec["metrics"] = metrics
    behavior = _carried(metadata, BEHAVIOR, dict)
    if behavior is not None:
        stored_spec["behavior"] = behavior
    stored = {
        **viewed,
        "apiVersion": _API_VERSIONS[1],
        "metadata": _annotated(metadata, {}),
        "spec": stored_spec,
    }
    if "status" in viewed:
        stored["status"] = _stored_status(metadata, status)
    return stored


def _stored_status(metadata: KubeObject, status: Mapping[str, Any]) -> KubeObject:
    stored = _kept(status, _STATUS)
    current = _carried(metadata, CURRENT_METRICS, list)
    utilization = status.get("currentCPUUtilizationPercentage")
    if current is not None:
        stored["currentMetrics"] = [from_version_1(metric, part="current") for metric in current]
    elif utilization is not None:
        resource = {"name": "cpu", "current": {"averageUtilization": utilization}}
        stored["currentMetrics"] = [{"type": "Resource", "resource": resource}]
    conditions = _carried(metadata, CONDITIONS, list)
    if conditions is not None:
        stored["conditions"] = conditions
    return stored


def _default(viewed: KubeObject) -> None:
    """Complete the object as version 2 completes it, in place."""
    stored = decode(encode(to_stored(viewed)))
    autoscalers.STRATEGY.default(stored)
    viewed.update(from_stored(stored))


def _validate(viewed: KubeObject, old: KubeObject | None) -> list[FieldError]:
    return autoscalers.STRATEGY.validate(to_stored(viewed), to_stored(old) if old is not None else None)


def _column(column: Column) -> Column:
    return replace(column, value=lambda viewed, now: column.value(to_stored(viewed), now))


STRATEGY = replace(autoscalers.STRATEGY, default=_default, validate=_validate)
COLUMNS = tuple(map(_column, autoscaler_columns.COLUMNS))
