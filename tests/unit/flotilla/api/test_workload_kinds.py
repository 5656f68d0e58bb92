"""Deployments and ReplicaSets: defaults, faults, updates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flotilla.api.errors import FieldError, invalid
from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource
from flotilla.api.resources import DEPLOYMENTS, REPLICA_SETS

Sample = Callable[[Resource], KubeObject]
Edited = Callable[[KubeObject, str, Any], KubeObject]
Faults = Callable[..., list[FieldError]]
Written = Callable[..., KubeObject]
_ROLLING = "spec.strategy.rollingUpdate"


def test_deployment_defaults(sample: Sample, written: Written) -> None:
    """A minimal Deployment must come out complete."""
    spec = written(DEPLOYMENTS, sample(DEPLOYMENTS))["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
    }
    assert (spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (10, 600)
    assert spec["template"]["spec"]["restartPolicy"] == "Always"
    assert "tolerations" not in spec["template"]["spec"]


def test_zero_replicas_stay_zero(sample: Sample, edited: Edited, written: Written) -> None:
    """A default must not overwrite a zero."""
    assert written(DEPLOYMENTS, edited(sample(DEPLOYMENTS), "spec.replicas", 0))["spec"]["replicas"] == 0


CASES: list[tuple[Resource, str, Any, str, str]] = [
    (DEPLOYMENTS, "spec.replicas", -1, "spec.replicas", "Invalid value: -1: must be greater than or equal to 0"),
    (REPLICA_SETS, "spec.replicas", -1, "spec.replicas", "Invalid value: -1: must be greater than or equal to 0"),
    (DEPLOYMENTS, "spec.selector", None, "spec.selector", "Required value"),
    (DEPLOYMENTS, "spec.selector", {}, "spec.selector", "empty selector is invalid for deployment"),
    (
        DEPLOYMENTS,
        "spec.selector.matchLabels.app",
        "other",
        "spec.template.metadata.labels",
        'Invalid value: {"app":"web"}: `selector` does not match template `labels`',
    ),
    (
        DEPLOYMENTS,
        "spec.selector.matchExpressions",
        [{"key": "app", "operator": "Is", "values": ["web"]}],
        "spec.selector.matchExpressions[0].operator",
        "not a valid selector operator",
    ),
    (
        DEPLOYMENTS,
        "spec.selector.matchExpressions",
        [{"key": "app", "operator": "In"}],
        "spec.selector.matchExpressions[0].values",
        "must be specified when `operator` is 'In' or 'NotIn'",
    ),
    (
        REPLICA_SETS,
        "spec.template.spec.restartPolicy",
        "Never",
        "spec.template.spec.restartPolicy",
        'Unsupported value: "Never": supported values: "Always"',
    ),
    (
        DEPLOYMENTS,
        "spec.template.spec.activeDeadlineSeconds",
        5,
        "spec.template.spec.activeDeadlineSeconds",
        "activeDeadlineSeconds in Deployment is not Supported",
    ),
    (
        DEPLOYMENTS,
        "spec.template.spec.containers.0.image",
        None,
        "spec.template.spec.containers[0].image",
        "Required value",
    ),
    (
        DEPLOYMENTS,
        "spec.template.spec.containers.0.resources",
        {"limits": {"cpu": "-1"}},
        "spec.template.spec.containers[0].resources.limits[cpu]",
        "must be greater than or equal to 0",
    ),
    (
        DEPLOYMENTS,
        "spec.strategy.type",
        "BlueGreen",
        "spec.strategy.type",
        'supported values: "Recreate", "RollingUpdate"',
    ),
    (
        DEPLOYMENTS,
        "spec.strategy",
        {"type": "Recreate", "rollingUpdate": {}},
        _ROLLING,
        "may not be specified when strategy `type` is 'Recreate'",
    ),
    (DEPLOYMENTS, f"{_ROLLING}.maxSurge", "ten%", f"{_ROLLING}.maxSurge", "a valid percent string must be"),
    (DEPLOYMENTS, f"{_ROLLING}.maxUnavailable", "101%", f"{_ROLLING}.maxUnavailable", "must not be greater than 100%"),
    (
        DEPLOYMENTS,
        "spec.strategy.rollingUpdate",
        {"maxSurge": 0, "maxUnavailable": "0%"},
        f"{_ROLLING}.maxUnavailable",
        "may not be 0 when `maxSurge` is 0",
    ),
    (
        DEPLOYMENTS,
        "spec.minReadySeconds",
        600,
        "spec.progressDeadlineSeconds",
        "must be greater than minReadySeconds",
    ),
]


@pytest.mark.parametrize(("resource", "path", "value", "field", "message"), CASES)
def test_faults(
    sample: Sample, edited: Edited, faults: Faults, resource: Resource, path: str, value: Any, field: str, message: str
) -> None:
    """One wrong value must give one fault, at its path."""
    (error,) = faults(resource, edited(sample(resource), path, value))
    assert error.field == field
    assert message in error.message


def test_the_refusal_reads_like_kubernetes(sample: Sample, edited: Edited, faults: Faults) -> None:
    """The whole message must be what kubectl's users know."""
    errors = faults(DEPLOYMENTS, edited(sample(DEPLOYMENTS), "spec.replicas", -1))
    assert str(invalid("Deployment", "web", errors, group="apps")) == (
        'Deployment.apps "web" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0'
    )


@pytest.mark.parametrize("resource", [DEPLOYMENTS, REPLICA_SETS], ids=repr)
def test_the_selector_is_immutable(
    sample: Sample, edited: Edited, faults: Faults, written: Written, resource: Resource
) -> None:
    """A workload must keep the pods that it has selected."""
    old = written(resource, edited(sample(resource), "spec.template.metadata.labels.tier", "a"))
    new = edited(old, "spec.selector.matchLabels", {"app": "web", "tier": "a"})
    (error,) = faults(resource, new, old)
    assert (error.field, error.message.endswith("field is immutable")) == ("spec.selector", True)


def test_generation_counts_changes_of_the_spec(sample: Sample, edited: Edited, written: Written) -> None:
    """Labels and status must not raise the generation, the spec must."""
    old = written(DEPLOYMENTS, sample(DEPLOYMENTS))
    labelled = written(DEPLOYMENTS, edited(old, "metadata.labels", {"a": "b"}), old)
    scaled = written(DEPLOYMENTS, edited(old, "spec.replicas", 3), old)
    assert [obj["metadata"]["generation"] for obj in (old, labelled, scaled)] == [1, 1, 2]


def test_warnings_speak_of_the_template(sample: Sample, edited: Edited) -> None:
    """A workload's warnings must have the path of the field in its template."""
    obj = edited(sample(DEPLOYMENTS), "spec.template.spec.automountServiceAccountToken", True)
    (warning,) = DEPLOYMENTS.strategy.warnings(obj)
    assert warning.startswith("spec.template.spec.automountServiceAccountToken: ")
