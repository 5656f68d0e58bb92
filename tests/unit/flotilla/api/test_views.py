"""Two versions of one object: what one can't express survives the way there and back, and each has its own rules."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from flotilla.api.errors import FieldError
from flotilla.api.kinds import autoscaler_view, event_view
from flotilla.api.objects import KubeObject, decode
from flotilla.api.resources import (
    EVENTS,
    HORIZONTAL_POD_AUTOSCALERS,
    HORIZONTAL_POD_AUTOSCALERS_V1,
    NEW_EVENTS,
)

Faults = Callable[..., list[FieldError]]
_CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
_METRICS: list[KubeObject] = [
    _CPU,
    {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
    {
        "type": "ContainerResource",
        "containerResource": {
            "name": "cpu",
            "container": "web",
            "target": {"type": "Utilization", "averageUtilization": 60},
        },
    },
    {
        "type": "Pods",
        "pods": {
            "metric": {"name": "hits", "selector": {"matchLabels": {"a": "b"}}},
            "target": {"type": "AverageValue", "averageValue": "10"},
        },
    },
    {
        "type": "Object",
        "object": {
            "metric": {"name": "hits"},
            "describedObject": {"apiVersion": "v1", "kind": "Service", "name": "web"},
            "target": {"type": "Value", "value": "100"},
        },
    },
    {
        "type": "External",
        "external": {
            "metric": {"name": "queue", "selector": {"matchLabels": {"q": "mail"}}},
            "target": {"type": "AverageValue", "averageValue": "5"},
        },
    },
]


def _autoscaler(**more: Any) -> KubeObject:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": "default", "annotations": {"mine": "kept"}},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 1,
            "maxReplicas": 8,
            "metrics": copy.deepcopy(_METRICS),
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}},
        },
        "status": {
            "currentReplicas": 2,
            "desiredReplicas": 3,
            "conditions": [{"type": "AbleToScale", "status": "True"}],
            "currentMetrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "current": {"averageUtilization": 70, "averageValue": "70m"}},
                }
            ],
        },
    } | more


def test_an_autoscaler_survives_version_1() -> None:
    """All metrics, the behavior and the status must be there after a client of version 1 wrote what it had read."""
    stored = _autoscaler()
    before = copy.deepcopy(stored)
    viewed = autoscaler_view.from_stored(stored)
    assert stored == before
    assert viewed["spec"]["targetCPUUtilizationPercentage"] == 50
    assert viewed["status"]["currentCPUUtilizationPercentage"] == 70
    assert autoscaler_view.to_stored(viewed) == stored


def test_version_1_annotations_are_kubernetes_own() -> None:
    """Metrics must be carried in the words of autoscaling/v1, the one for the CPU left out."""
    annotations = autoscaler_view.from_stored(_autoscaler())["metadata"]["annotations"]
    metrics = decode(annotations[autoscaler_view.METRICS].encode())
    assert [metric["type"] for metric in metrics] == ["Resource", "ContainerResource", "Pods", "Object", "External"]
    assert metrics[0]["resource"] == {"name": "memory", "targetAverageValue": "1Gi"}
    assert metrics[2]["pods"] == {
        "metricName": "hits",
        "selector": {"matchLabels": {"a": "b"}},
        "targetAverageValue": "10",
    }
    assert metrics[3]["object"]["target"]["name"] == "web"
    assert metrics[4]["external"]["metricSelector"] == {"matchLabels": {"q": "mail"}}
    assert annotations["mine"] == "kept"


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"'])
def test_unreadable_annotations_count_as_absent(text: str) -> None:
    """A broken annotation must neither fail the request nor be stored."""
    viewed = autoscaler_view.from_stored(_autoscaler())
    viewed["metadata"]["annotations"] = {autoscaler_view.METRICS: text, autoscaler_view.CONDITIONS: text}
    stored = autoscaler_view.to_stored(viewed)
    assert stored["spec"]["metrics"] == [_CPU]
    assert "annotations" not in stored["metadata"]


def test_version_1_is_judged_by_the_rules_of_version_2(faults: Faults) -> None:
    """Defaults must be completed and faults found in either version."""
    spec: KubeObject = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "maxReplicas": 0,
    }
    obj: KubeObject = {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "w"},
        "spec": spec,
    }
    errors = faults(HORIZONTAL_POD_AUTOSCALERS_V1, obj)
    assert {error.field for error in errors} == {"spec.maxReplicas"}
    obj["spec"] = spec | {"maxReplicas": 2}
    HORIZONTAL_POD_AUTOSCALERS_V1.strategy.default(obj)
    assert obj["spec"]["minReplicas"] == 1
    assert obj["spec"]["targetCPUUtilizationPercentage"] == 80


def _new_event(**more: Any) -> KubeObject:
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "e", "namespace": "default"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "regarding": {"kind": "Pod", "name": "web", "namespace": "default"},
        "reportingController": "example.com/operator",
        "reportingInstance": "operator-0",
        "action": "Binding",
        "reason": "Bound",
        "type": "Normal",
        "note": "done",
    } | more


def test_an_event_has_two_forms() -> None:
    """Fields must be found under the names of the version that is asked for."""
    event = _new_event(deprecatedCount=3, deprecatedSource={"component": "c"})
    stored = event_view.to_stored(event)
    assert (stored["message"], stored["involvedObject"]["name"]) == ("done", "web")
    assert (stored["reportingComponent"], stored["count"]) == ("example.com/operator", 3)
    assert event_view.from_stored(stored) == event


def test_a_new_event_keeps_the_strict_rules(faults: Faults) -> None:
    """events.k8s.io must refuse what core/v1 lets pass for its old clients."""
    assert faults(NEW_EVENTS, _new_event()) == []
    strict = {
        "type": _new_event(type="Info"),
        "count": _new_event(deprecatedCount=1),
        "source": _new_event(deprecatedSource={"component": "c"}),
        "series.count": _new_event(series={"count": 1, "lastObservedTime": "2026-01-01T00:00:00.000000Z"}),
        "series.lastObservedTime": _new_event(series={"count": 2}),
    }
    for field, event in strict.items():
        assert [error.field for error in faults(NEW_EVENTS, event)] == [field]
        assert faults(EVENTS, event_view.to_stored(event)) == []
    no_time = [error.field for error in faults(NEW_EVENTS, _new_event(eventTime=None))]
    assert no_time == ["eventTime"]


def test_a_new_event_can_only_become_a_series(faults: Faults) -> None:
    """What an event says is fixed; how often it was seen is not."""
    series = {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}
    assert faults(NEW_EVENTS, _new_event(series=series), _new_event()) == []
    changed = faults(NEW_EVENTS, _new_event(note="other"), _new_event())
    assert [(error.field, error.message) for error in changed] == [
        ("message", 'Invalid value: "other": field is immutable')
    ]


def test_each_version_is_selected_by_its_own_fields() -> None:
    """A field selector must use the names of the version that is listed."""
    fields = NEW_EVENTS.strategy.selectable_fields(_new_event())
    assert fields["regarding.name"] == "web"
    assert fields["reportingController"] == "example.com/operator"
    assert not any(name.startswith("involvedObject") for name in fields)


def test_versions_share_their_storage() -> None:
    """A view must be stored where its hub is."""
    assert NEW_EVENTS.storage == EVENTS.storage
    assert HORIZONTAL_POD_AUTOSCALERS_V1.hub is HORIZONTAL_POD_AUTOSCALERS
