"""StatefulSets, DaemonSets, ReplicationControllers, ControllerRevisions, PodTemplates: defaults, faults, updates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flotilla.api.errors import FieldError
from flotilla.api.kinds.daemon_sets import TEMPLATE_GENERATION
from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource
from flotilla.api.resources import (
    CONTROLLER_REVISIONS,
    DAEMON_SETS,
    POD_TEMPLATES,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
)

Sample = Callable[[Resource], KubeObject]
Edited = Callable[[KubeObject, str, Any], KubeObject]
Faults = Callable[..., list[FieldError]]
Written = Callable[..., KubeObject]
_UPDATE = "spec.updateStrategy.rollingUpdate"


def test_stateful_set_defaults(sample: Sample, written: Written) -> None:
    """A minimal StatefulSet must come out complete, its templates of claims with their kind and phase."""
    spec = written(STATEFUL_SETS, sample(STATEFUL_SETS))["spec"]
    assert spec["podManagementPolicy"] == "OrderedReady"
    assert spec["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": 1}}
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert (spec["replicas"], spec["revisionHistoryLimit"]) == (1, 10)
    (claim,) = spec["volumeClaimTemplates"]
    assert (claim["apiVersion"], claim["kind"], claim["status"]) == (
        "v1",
        "PersistentVolumeClaim",
        {"phase": "Pending"},
    )
    assert claim["spec"]["volumeMode"] == "Filesystem"


def test_a_given_strategy_is_left_alone(sample: Sample, edited: Edited, written: Written) -> None:
    """A strategy that names its type but no steps must get none."""
    obj = edited(sample(STATEFUL_SETS), "spec.updateStrategy", {"type": "RollingUpdate"})
    assert written(STATEFUL_SETS, obj)["spec"]["updateStrategy"] == {"type": "RollingUpdate"}


def test_daemon_set_defaults(sample: Sample, written: Written) -> None:
    """A minimal DaemonSet must come out complete."""
    daemon_set = written(DAEMON_SETS, sample(DAEMON_SETS))
    assert daemon_set["spec"]["updateStrategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0},
    }
    assert daemon_set["spec"]["revisionHistoryLimit"] == 10
    assert daemon_set["metadata"]["annotations"] == {TEMPLATE_GENERATION: "1"}


def test_replication_controller_defaults(sample: Sample, written: Written) -> None:
    """Labels and selector of a ReplicationController must come from its template."""
    controller = written(REPLICATION_CONTROLLERS, sample(REPLICATION_CONTROLLERS))
    assert controller["spec"]["replicas"] == 1
    assert controller["spec"]["selector"] == controller["metadata"]["labels"] == {"app": "web"}


CASES: list[tuple[Resource, str, Any, str, str]] = [
    (STATEFUL_SETS, "metadata.name", "a.b", "metadata.name", "a lowercase RFC 1123 label must consist of"),
    (
        STATEFUL_SETS,
        "spec.podManagementPolicy",
        "Any",
        "spec.podManagementPolicy",
        "Invalid value: \"Any\": must be 'OrderedReady' or 'Parallel'",
    ),
    (
        STATEFUL_SETS,
        "spec.updateStrategy",
        {"type": "Never"},
        "spec.updateStrategy",
        "must be 'RollingUpdate' or 'OnDelete'",
    ),
    (
        STATEFUL_SETS,
        "spec.updateStrategy",
        {"type": "OnDelete", "rollingUpdate": {}},
        _UPDATE,
        "only allowed for updateStrategy 'RollingUpdate'",
    ),
    (STATEFUL_SETS, _UPDATE, {"partition": -1}, f"{_UPDATE}.partition", "must be greater than or equal to 0"),
    (STATEFUL_SETS, _UPDATE, {"maxUnavailable": 0}, f"{_UPDATE}.maxUnavailable", "Invalid value: 0: cannot be 0"),
    (
        STATEFUL_SETS,
        "spec.persistentVolumeClaimRetentionPolicy",
        {"whenDeleted": "Keep"},
        "spec.persistentVolumeClaimRetentionPolicy.whenDeleted",
        'Unsupported value: "Keep": supported values: "Retain", "Delete"',
    ),
    (STATEFUL_SETS, "spec.ordinals", {"start": -1}, "spec.ordinals.start", "must be greater than or equal to 0"),
    (STATEFUL_SETS, "spec.selector", None, "spec.selector", "Required value"),
    (STATEFUL_SETS, "spec.selector", {}, "spec.selector", "empty selector is invalid for statefulset"),
    (STATEFUL_SETS, "spec.template.metadata.labels.a!", "b", "spec.template.labels", "name part must consist of"),
    (
        STATEFUL_SETS,
        "spec.template.spec.activeDeadlineSeconds",
        5,
        "spec.template.spec.activeDeadlineSeconds",
        "Forbidden: activeDeadlineSeconds in StatefulSet is not Supported",
    ),
    (DAEMON_SETS, "spec.minReadySeconds", -1, "spec.minReadySeconds", "must be greater than or equal to 0"),
    (DAEMON_SETS, "spec.updateStrategy.type", "Never", "spec.updateStrategy", '"RollingUpdate", "OnDelete"'),
    (DAEMON_SETS, _UPDATE, {"maxSurge": 1}, f"{_UPDATE}.maxSurge", "may not be set when maxUnavailable is non-zero"),
    (DAEMON_SETS, _UPDATE, {"maxUnavailable": 0}, f"{_UPDATE}.maxUnavailable", "cannot be 0 when maxSurge is 0"),
    (DAEMON_SETS, _UPDATE, {"maxUnavailable": "101%"}, f"{_UPDATE}.maxUnavailable", "must not be greater than 100%"),
    (DAEMON_SETS, _UPDATE, {"maxUnavailable": "some"}, f"{_UPDATE}.maxUnavailable", "a valid percent string must be"),
    (
        DAEMON_SETS,
        "spec.template.spec.restartPolicy",
        "Never",
        "spec.template.spec.restartPolicy",
        'Unsupported value: "Never": supported values: "Always"',
    ),
    (REPLICATION_CONTROLLERS, "spec.replicas", -1, "spec.replicas", "must be greater than or equal to 0"),
    (REPLICATION_CONTROLLERS, "spec.template.metadata.labels", None, "spec.selector", "Required value"),
    (
        REPLICATION_CONTROLLERS,
        "spec.selector",
        {"app": "db"},
        "spec.template.metadata.labels",
        "`selector` does not match template `labels`",
    ),
    (CONTROLLER_REVISIONS, "data", None, "data", "Required value: data is mandatory"),
    (CONTROLLER_REVISIONS, "revision", -1, "revision", "must be greater than or equal to 0"),
    (POD_TEMPLATES, "template.spec.containers", [], "template.spec.containers", "Required value"),
    (POD_TEMPLATES, "template.metadata.annotations.a b", "c", "template.annotations", "name part must consist of"),
]


@pytest.mark.parametrize(("resource", "path", "value", "field", "message"), CASES)
def test_faults(
    sample: Sample, edited: Edited, faults: Faults, resource: Resource, path: str, value: Any, field: str, message: str
) -> None:
    """One wrong value must give one fault, at its path."""
    (error,) = faults(resource, edited(sample(resource), path, value))
    assert error.field == field
    assert message in error.message


def test_a_replication_controller_needs_a_template(sample: Sample, edited: Edited, faults: Faults) -> None:
    """Without a template there is neither a selector nor a pod."""
    errors = faults(REPLICATION_CONTROLLERS, edited(sample(REPLICATION_CONTROLLERS), "spec.template", None))
    assert [error.field for error in errors] == ["spec.selector", "spec.template"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.replicas", 5),
        ("spec.template.spec.containers.0.image", "web:2"),
        ("spec.updateStrategy", {"type": "OnDelete"}),
        ("spec.ordinals", {"start": 3}),
        ("spec.minReadySeconds", 3),
        ("spec.revisionHistoryLimit", 3),
    ],
)
def test_what_may_change_in_a_stateful_set(
    sample: Sample, edited: Edited, faults: Faults, written: Written, path: str, value: Any
) -> None:
    """Fields that the controller can follow must be free to change."""
    old = written(STATEFUL_SETS, sample(STATEFUL_SETS))
    assert faults(STATEFUL_SETS, edited(old, path, value), old) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.serviceName", "other"),
        ("spec.podManagementPolicy", "Parallel"),
        ("spec.volumeClaimTemplates.0.spec.resources.requests.storage", "2Gi"),
    ],
)
def test_what_may_not_change_in_a_stateful_set(
    sample: Sample, edited: Edited, faults: Faults, written: Written, path: str, value: Any
) -> None:
    """What the identity of pods and claims rests on must stay."""
    old = written(STATEFUL_SETS, sample(STATEFUL_SETS))
    (error,) = faults(STATEFUL_SETS, edited(old, path, value), old)
    assert error.field == "spec"
    assert error.message.startswith(
        "Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals'"
    )


def test_the_selector_of_a_daemon_set_is_immutable(
    sample: Sample, edited: Edited, faults: Faults, written: Written
) -> None:
    """A DaemonSet must keep the pods that it has selected."""
    old = written(DAEMON_SETS, edited(sample(DAEMON_SETS), "spec.template.metadata.labels.tier", "a"))
    (error,) = faults(DAEMON_SETS, edited(old, "spec.selector.matchLabels.tier", "a"), old)
    assert (error.field, error.message.endswith("field is immutable")) == ("spec.selector", True)


def test_the_template_generation_counts_templates(sample: Sample, edited: Edited, written: Written) -> None:
    """The annotation must rise with the template alone, the generation with the whole spec."""
    old = written(DAEMON_SETS, sample(DAEMON_SETS))
    slower = written(DAEMON_SETS, edited(old, "spec.minReadySeconds", 3), old)
    newer = written(DAEMON_SETS, edited(slower, "spec.template.spec.containers.0.image", "web:2"), slower)
    counted = [(obj["metadata"]["generation"], obj["metadata"]["annotations"]) for obj in (old, slower, newer)]
    assert counted == [
        (1, {TEMPLATE_GENERATION: "1"}),
        (2, {TEMPLATE_GENERATION: "1"}),
        (3, {TEMPLATE_GENERATION: "2"}),
    ]


def test_the_data_of_a_revision_is_immutable(sample: Sample, edited: Edited, faults: Faults) -> None:
    """A snapshot must stay what it was; its number may change."""
    old = sample(CONTROLLER_REVISIONS)
    assert faults(CONTROLLER_REVISIONS, edited(old, "revision", 2), old) == []
    (error,) = faults(CONTROLLER_REVISIONS, edited(old, "data", {}), old)
    assert (error.field, error.message) == ("data", "Invalid value: {}: field is immutable")


@pytest.mark.parametrize("resource", [STATEFUL_SETS, DAEMON_SETS, REPLICATION_CONTROLLERS], ids=repr)
def test_warnings_say_that_nothing_happens(sample: Sample, resource: Resource) -> None:
    """Whoever stores a kind that nobody acts upon must be told."""
    (warning,) = resource.strategy.warnings(sample(resource))
    assert warning.startswith(f"{resource.kind}: this version of Flotilla stores it")
