"""HorizontalPodAutoscaler: its table columns."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flotilla.api.kinds.autoscaler_metrics import SOURCES
from flotilla.api.kinds.columns import AGE, NAME, NONE, UNSET, column, spec_of, status_of
from flotilla.api.objects import KubeObject

UNKNOWN = "<unknown>"
_MOST_SHOWN = 2


def _current_of(current: Mapping[str, Any], field: str) -> str:
    value = current.get(field)
    return UNKNOWN if value is None else str(value)


def _utilization(current: Mapping[str, Any], target: Mapping[str, Any]) -> str:
    value = current.get("averageUtilization")
    return f"{UNKNOWN if value is None else f'{value}%'}/{target.get('averageUtilization')}%"


def _target_text(kind: str, source: Mapping[str, Any], current: Mapping[str, Any]) -> str:
    target = source.get("target") or {}
    match kind:
        case "Resource" | "ContainerResource":
            if target.get("averageValue") is not None:
                return f"{source.get('name')}: {_current_of(current, 'averageValue')}/{target['averageValue']}"
            return f"{source.get('name')}: {_utilization(current, target)}"
        case "Pods":
            return f"{_current_of(current, 'averageValue')}/{target.get('averageValue')}"
    if target.get("averageValue") is not None:
        return f"{_current_of(current, 'averageValue')}/{target['averageValue']} (avg)"
    return f"{_current_of(current, 'value')}/{target.get('value')}"


def targets_text(autoscaler: KubeObject) -> str:
    """Each metric's current and target value: ``cpu: 12%/50%``."""
    current = status_of(autoscaler).get("currentMetrics") or []
    texts = []
    for index, metric in enumerate(spec_of(autoscaler).get("metrics") or ()):
        kind = metric.get("type", "")
        field = SOURCES.get(kind, "")
        found = current[index] if index < len(current) else {}
        observed = (found.get(field) or {}).get("current") or {}
        texts.append(_target_text(kind, metric.get(field) or {}, observed))
    if len(texts) > _MOST_SHOWN:
        return f"{', '.join(texts[:_MOST_SHOWN])} + {len(texts) - _MOST_SHOWN} more..."
    return ", ".join(texts) or NONE


def _reference(autoscaler: KubeObject, now: datetime) -> str:
    target = spec_of(autoscaler).get("scaleTargetRef") or {}
    return f"{target.get('kind')}/{target.get('name')}"


COLUMNS = (
    NAME,
    column("Reference", _reference, description="The workload whose replicas are set."),
    column("Targets", lambda obj, now: targets_text(obj), description="Current and target value of each metric."),
    column(
        "MinPods", lambda obj, now: str(spec_of(obj).get("minReplicas", UNSET)), description="The lower replica limit."
    ),
    column(
        "MaxPods",
        lambda obj, now: spec_of(obj).get("maxReplicas", 0),
        description="The upper replica limit.",
        type_="integer",
    ),
    column(
        "Replicas",
        lambda obj, now: status_of(obj).get("currentReplicas", 0),
        description="The replicas last seen.",
        type_="integer",
    ),
    AGE,
)
