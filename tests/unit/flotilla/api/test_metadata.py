"""The rules of metadata hold for every kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flotilla.api.errors import FieldError
from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource
from flotilla.api.resources import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, SERVICES

Sample = Callable[[Resource], KubeObject]
Edited = Callable[[KubeObject, str, Any], KubeObject]
Faults = Callable[..., list[FieldError]]


@pytest.mark.parametrize(
    ("resource", "name", "valid"),
    [
        (CONFIG_MAPS, "web.example", True),
        (CONFIG_MAPS, "Web", False),
        (CONFIG_MAPS, "web_1", False),
        (CONFIG_MAPS, "a" * 253, True),
        (CONFIG_MAPS, "a" * 254, False),
        (NAMESPACES, "web", True),
        (NAMESPACES, "web.example", False),
        (NAMESPACES, "a" * 64, False),
        (SERVICES, "web", True),
        (SERVICES, "1web", False),
    ],
)
def test_names(sample: Sample, edited: Edited, faults: Faults, resource: Resource, name: str, valid: bool) -> None:
    """A name must keep the rule of its kind."""
    errors = faults(resource, edited(sample(resource), "metadata.name", name))
    assert ([error.field for error in errors] == []) is valid
    assert all(error.field in ("metadata.name", "metadata.labels") for error in errors)


def test_a_name_with_capitals_is_explained(sample: Sample, edited: Edited, faults: Faults) -> None:
    """The message must quote the name and show the rule, as Kubernetes does."""
    (error,) = faults(DEPLOYMENTS, edited(sample(DEPLOYMENTS), "metadata.name", "Web"))
    assert str(error).startswith('metadata.name: Invalid value: "Web": a lowercase RFC 1123 subdomain must consist of')


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"a/b/c": "x"}, "a qualified name must consist of"),
        ({"/b": "x"}, "prefix part must be non-empty"),
        ({"-a": "x"}, "name part must consist of"),
        ({"a": "x y"}, "a valid label must be an empty string or consist of"),
        ({"a": "x" * 64}, "must be no more than 63 characters"),
    ],
)
def test_labels(sample: Sample, edited: Edited, faults: Faults, labels: dict[str, str], message: str) -> None:
    """Keys and values of labels must keep their syntax."""
    errors = faults(CONFIG_MAPS, edited(sample(CONFIG_MAPS), "metadata.labels", labels))
    assert {error.field for error in errors} == {"metadata.labels"}
    assert any(message in error.message for error in errors)


def test_a_hundred_thousand_labels_are_one_fault(sample: Sample, edited: Edited, faults: Faults) -> None:
    """An absurd number of labels must be refused with one line, also in a template."""
    labels = {f"label-{number}": "x" for number in range(100_000)}
    (error,) = faults(CONFIG_MAPS, edited(sample(CONFIG_MAPS), "metadata.labels", labels))
    assert str(error) == "metadata.labels: Too many: 100000: must have at most 1000 items"
    template = edited(sample(DEPLOYMENTS), "spec.template.metadata.labels", labels | {"app": "web"})
    (error,) = faults(DEPLOYMENTS, template)
    assert error.field == "spec.template.labels"


def test_annotations_are_bounded_in_total(sample: Sample, edited: Edited, faults: Faults) -> None:
    """All annotations together may have 256 KiB, keys included."""
    fitting = {"a": "x" * (256 * 1024 - 1)}
    assert faults(CONFIG_MAPS, edited(sample(CONFIG_MAPS), "metadata.annotations", fitting)) == []
    (error,) = faults(CONFIG_MAPS, edited(sample(CONFIG_MAPS), "metadata.annotations", fitting | {"b": ""}))
    assert str(error) == "metadata.annotations: Too long: may not be more than 262144 bytes"
    assert error.reason == "FieldValueTooLong"


def test_only_one_owner_controls(sample: Sample, edited: Edited, faults: Faults) -> None:
    """Owner references must be complete, and at most one may be the controller."""
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "a", "uid": "1", "controller": True}
    both = edited(sample(CONFIG_MAPS), "metadata.ownerReferences", [owner, owner | {"uid": ""}])
    assert [error.field for error in faults(CONFIG_MAPS, both)] == [
        "metadata.ownerReferences[1].uid",
        "metadata.ownerReferences",
    ]


def test_faults_are_listed_up_to_a_limit(sample: Sample, edited: Edited, faults: Faults) -> None:
    """A refusal must stay readable however many faults there are."""
    labels = {f"-{number}": "x" for number in range(900)}
    errors = faults(CONFIG_MAPS, edited(sample(CONFIG_MAPS), "metadata.labels", labels))
    assert len(errors) == 51
    assert errors[-1].message == "and 850 more faults"
