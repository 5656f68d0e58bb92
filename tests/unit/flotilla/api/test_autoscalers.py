"""HorizontalPodAutoscalers: defaults and faults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flotilla.api.autoscaling_options import Fallback, read_options
from flotilla.api.errors import FieldError
from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource
from flotilla.api.resources import HORIZONTAL_POD_AUTOSCALERS as AUTOSCALERS

Sample = Callable[[Resource], KubeObject]
Edited = Callable[[KubeObject, str, Any], KubeObject]
Faults = Callable[..., list[FieldError]]
Written = Callable[..., KubeObject]
_TARGET = "spec.metrics.0.resource.target"


def test_defaults(sample: Sample, edited: Edited, written: Written) -> None:
    """One replica at least, 80 % of CPU if no metric is given; a given behavior is completed."""
    spec = written(AUTOSCALERS, edited(edited(sample(AUTOSCALERS), "spec.metrics", None), "spec.behavior", {}))["spec"]
    assert spec["minReplicas"] == 1
    assert spec["metrics"][0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 80}
    assert spec["behavior"]["scaleUp"] == {
        "stabilizationWindowSeconds": 0,
        "selectPolicy": "Max",
        "policies": [
            {"type": "Pods", "value": 4, "periodSeconds": 15},
            {"type": "Percent", "value": 100, "periodSeconds": 15},
        ],
    }
    assert spec["behavior"]["scaleDown"] == {
        "selectPolicy": "Max",
        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
    }


def test_absent_behavior_stays_absent(sample: Sample, written: Written) -> None:
    """As in Kubernetes, the controller's own defaults apply then."""
    assert "behavior" not in written(AUTOSCALERS, sample(AUTOSCALERS))["spec"]


def _metric(kind: str, field: str, body: KubeObject) -> list[KubeObject]:
    return [{"type": kind, field: body}]


_POLICY = {"type": "Pods", "value": 1, "periodSeconds": 60}
CASES: list[tuple[str, Any, str, str]] = [
    ("spec.minReplicas", 0, "spec.minReplicas", "must be greater than or equal to 1"),
    ("spec.minReplicas", 9, "spec.maxReplicas", "must be greater than or equal to `minReplicas`"),
    ("spec.scaleTargetRef.name", "", "spec.scaleTargetRef.name", "Required value"),
    ("spec.metrics.0.type", "Magic", "spec.metrics[0].type", "Unsupported value"),
    (
        "spec.metrics.0.resource",
        None,
        "spec.metrics[0].resource",
        "must populate information for the given metric source",
    ),
    (
        "spec.metrics.0.pods",
        {"metric": {"name": "m"}},
        "spec.metrics[0].pods",
        "must populate the given metric source only",
    ),
    (
        f"{_TARGET}.averageUtilization",
        0,
        "spec.metrics[0].resource.target.averageUtilization",
        "must be greater than 0",
    ),
    (f"{_TARGET}.averageValue", "1", "spec.metrics[0].resource.target.averageValue", "may not set both"),
    (f"{_TARGET}.type", "Mean", "spec.metrics[0].resource.target.type", "must be either Utilization, Value, or"),
    (
        "spec.metrics",
        _metric("Pods", "pods", {"metric": {"name": "m"}, "target": {"type": "AverageValue"}}),
        "spec.metrics[0].pods.target.averageValue",
        "must specify a positive target averageValue",
    ),
    (
        "spec.metrics",
        _metric("External", "external", {"metric": {"name": ""}, "target": {"type": "Value", "value": "1"}}),
        "spec.metrics[0].external.metric.name",
        "Required value",
    ),
    (
        "spec.behavior",
        {"scaleUp": {"policies": []}},
        "spec.behavior.scaleUp.policies",
        "must specify at least one Policy",
    ),
    (
        "spec.behavior",
        {"scaleDown": {"stabilizationWindowSeconds": 3601}},
        "spec.behavior.scaleDown.stabilizationWindowSeconds",
        "must be less than or equal to 3600",
    ),
    (
        "spec.behavior",
        {"scaleDown": {"policies": [_POLICY | {"periodSeconds": 1801}]}},
        "spec.behavior.scaleDown.policies[0].periodSeconds",
        "must be less than or equal to 1800",
    ),
    (
        "spec.behavior",
        {"scaleDown": {"policies": [_POLICY | {"value": 0}]}},
        "spec.behavior.scaleDown.policies[0].value",
        "must be greater than 0",
    ),
    (
        "spec.behavior",
        {"scaleUp": {"selectPolicy": "Average"}},
        "spec.behavior.scaleUp.selectPolicy",
        'supported values: "Disabled", "Max", "Min"',
    ),
]


@pytest.mark.parametrize(("path", "value", "field", "message"), CASES)
def test_faults(
    sample: Sample, edited: Edited, faults: Faults, path: str, value: Any, field: str, message: str
) -> None:
    """One wrong value must give one fault, at its path."""
    (error,) = faults(AUTOSCALERS, edited(sample(AUTOSCALERS), path, value))
    assert error.field == field
    assert message in error.message


@pytest.mark.parametrize("highest", [0, -1])
def test_max_replicas_must_be_positive(sample: Sample, edited: Edited, faults: Faults, highest: int) -> None:
    """No workload is scaled to nothing by its upper bound."""
    errors = faults(AUTOSCALERS, edited(sample(AUTOSCALERS), "spec.maxReplicas", highest))
    assert [error.field for error in errors] == ["spec.maxReplicas", "spec.maxReplicas"]


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        ("flotilla.dev/prometheus-server", "prometheus:9090", "must be the URL of a Prometheus server"),
        ("flotilla.dev/prometheus-server", "http://user:secret@prometheus:9090", "must be the URL"),
        ("flotilla.dev/prometheus-interval", "100ms", "between 1s and 5m"),
        ("flotilla.dev/prometheus-interval", "soon", "a span such as"),
        ("flotilla.dev/prometheus-empty", "null", "must be error or zero"),
        ("flotilla.dev/resource-metrics", "adapter", "must be agents or prometheus"),
        ("flotilla.dev/fallback-replicas", "0", "greater than 0"),
        ("flotilla.dev/fallback-replicas", "many", "whole number"),
        ("flotilla.dev/fallback-after", "-3m", "must not be negative"),
        ("prometheus.flotilla.dev/queue_depth", " ", "a PromQL query"),
    ],
)
def test_faulty_options(
    sample: Sample, edited: Edited, faults: Faults, annotation: str, value: str, message: str
) -> None:
    """A wrong annotation is one fault, which names it and what is expected."""
    (error,) = faults(AUTOSCALERS, edited(sample(AUTOSCALERS), "metadata.annotations", {annotation: value}))
    assert error.field == f"metadata.annotations[{annotation}]"
    assert message in error.message


def test_options(sample: Sample, edited: Edited) -> None:
    """Annotations are read with their units."""
    annotations = {
        "prometheus.flotilla.dev/queue_depth": "sum(queue_depth)",
        "flotilla.dev/prometheus-server": "http://prometheus.monitoring:9090/",
        "flotilla.dev/prometheus-interval": "1m30s",
        "flotilla.dev/fallback-replicas": "4",
        "flotilla.dev/fallback-after": "90s",
    }
    options, faulty = read_options(edited(sample(AUTOSCALERS), "metadata.annotations", annotations))
    assert not faulty
    assert options.queries == {"queue_depth": "sum(queue_depth)"}
    assert (options.server, options.interval_s) == ("http://prometheus.monitoring:9090", 90.0)
    assert options.fallback == Fallback(4, 90.0)
