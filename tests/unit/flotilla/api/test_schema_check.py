"""Strict structural checks name the exact field and what it should have been."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from flotilla.api.objects import KubeObject
from flotilla.api.registry import REGISTRY, Resource
from flotilla.api.resources import DEPLOYMENTS, EVENTS, NODES, PODS, SECRETS
from flotilla.api.schema_check import check, drop_nulls

Sample = Callable[[Resource], KubeObject]
Edited = Callable[[KubeObject, str, Any], KubeObject]
_CONTAINER = "spec.template.spec.containers.0"


@pytest.mark.parametrize("resource", REGISTRY.all(), ids=repr)
def test_defaulted_objects_conform(resource: Resource, sample: Sample, written: Callable[..., KubeObject]) -> None:
    """What defaulting adds must itself be in the schema."""
    if resource.plural == "endpointslices":
        obj = sample(resource) | {"addressType": "IPv4", "ports": [{"port": 80}]}
    else:
        obj = sample(resource)
    report = check(resource.definition, written(resource, obj))
    assert (report.unknown, report.errors) == ([], [])


def test_unknown_fields_are_listed_with_their_paths(sample: Sample, edited: Edited) -> None:
    """Every misspelt field must be named by its full path."""
    obj = edited(edited(sample(DEPLOYMENTS), f"{_CONTAINER}.imagee", "x"), "spec.replica", 1)
    report = check(DEPLOYMENTS.definition, obj)
    assert sorted(report.unknown) == ["spec.replica", "spec.template.spec.containers[0].imagee"]
    assert report.errors == []


@pytest.mark.parametrize(
    ("path", "value", "field", "expected"),
    [
        ("spec.replicas", "3", "spec.replicas", "an integer, not a string"),
        ("spec.replicas", 2.5, "spec.replicas", "an integer, not a number"),
        ("spec.replicas", True, "spec.replicas", "an integer, not a boolean"),
        ("spec.replicas", 2**31, "spec.replicas", "an int32"),
        ("spec.paused", "yes", "spec.paused", "a boolean, not a string"),
        ("spec.template.spec.containers", {}, "spec.template.spec.containers", "a list, not an object"),
        (f"{_CONTAINER}.image", 1, "spec.template.spec.containers[0].image", "a string, not an integer"),
        (f"{_CONTAINER}.args", ["a", 1], "spec.template.spec.containers[0].args[1]", "a string, not an integer"),
        ("metadata.labels", {"a": 1}, "metadata.labels[a]", "a string, not an integer"),
        ("metadata.labels", [], "metadata.labels", "an object, not a list"),
        ("metadata.creationTimestamp", "yesterday", "metadata.creationTimestamp", "an RFC 3339 time"),
        ("spec.strategy.rollingUpdate.maxSurge", 1.5, "spec.strategy.rollingUpdate.maxSurge", "an integer or a string"),
        (
            f"{_CONTAINER}.resources.limits",
            {"memory": "1Gb"},
            "spec.template.spec.containers[0].resources.limits[memory]",
            "quantities must match",
        ),
    ],
)
def test_wrong_types_say_what_is_expected(
    sample: Sample, edited: Edited, path: str, value: Any, field: str, expected: str
) -> None:
    """A value of the wrong type must be reported at its path with the type that belongs there."""
    (error,) = check(DEPLOYMENTS.definition, edited(sample(DEPLOYMENTS), path, value)).errors
    assert error.field == field
    assert expected in error.message
    assert error.reason == "FieldValueTypeInvalid"


def test_required_fields(sample: Sample, edited: Edited) -> None:
    """A missing or null required field must be reported as such."""
    for obj in (edited(sample(DEPLOYMENTS), "spec.selector", None), sample(DEPLOYMENTS)):
        obj["spec"]["selector"] = None
        (error,) = check(DEPLOYMENTS.definition, obj).errors
        assert (error.field, error.message, error.reason) == ("spec.selector", "Required value", "FieldValueRequired")


def test_nothing_is_required_of_a_status() -> None:
    """Partial statuses and events without a reference are what Kubernetes accepts too."""
    assert check(NODES.definition, {"metadata": {"name": "n"}, "status": {"nodeInfo": {}}}).errors == []
    assert check(EVENTS.definition, {"metadata": {"name": "e"}}).errors == []


def test_nulls_count_as_absent(sample: Sample) -> None:
    """A null field is no fault, and disappears when nulls are dropped."""
    obj = sample(PODS)
    obj["metadata"]["creationTimestamp"] = None
    obj["spec"]["containers"][0]["command"] = None
    assert check(PODS.definition, obj).errors == []
    drop_nulls(obj)
    assert "creationTimestamp" not in obj["metadata"]
    assert "command" not in obj["spec"]["containers"][0]


def test_secret_data_is_base64(sample: Sample) -> None:
    """Data that is no base64 must be refused; line breaks in it are fine."""
    good = check(SECRETS.definition, sample(SECRETS) | {"data": {"a": "aGVs\nbG8="}})
    bad = check(SECRETS.definition, sample(SECRETS) | {"data": {"a": "hello!"}})
    assert good.errors == []
    assert [error.field for error in bad.errors] == ["data[a]"]


def test_a_usual_pod_is_checked_in_microseconds(sample: Sample, written: Callable[..., KubeObject]) -> None:
    """The check must be no burden at a thousand pods a second (the best of many runs counts)."""
    pod = written(PODS, sample(PODS))
    check(PODS.definition, pod)
    best_s = float("inf")
    for _ in range(50):
        begin = time.perf_counter()
        check(PODS.definition, pod)
        best_s = min(best_s, time.perf_counter() - begin)
    assert best_s < 200e-6
