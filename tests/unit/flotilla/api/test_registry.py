"""The registry finds every kind both ways, and every row is complete."""

from __future__ import annotations

import pytest

from flotilla.api.registry import REGISTRY, Resource
from flotilla.api.resources import DEPLOYMENTS, PODS
from flotilla.api.schema_source import definition, described_definitions, reference_of


@pytest.mark.parametrize("resource", REGISTRY.all(), ids=repr)
def test_rows_are_found_by_path_and_by_kind(resource: Resource) -> None:
    """A row must be found by its path and by the kind of its objects."""
    assert REGISTRY.find(resource.group, resource.version, resource.plural) is resource
    assert REGISTRY.by_kind(resource.api_version, resource.kind) is resource


@pytest.mark.parametrize("resource", REGISTRY.all(), ids=repr)
def test_rows_have_a_published_schema(resource: Resource) -> None:
    """A row's definition must describe the kind that the row names."""
    schema = definition(resource.definition)
    assert {"group": resource.group, "version": resource.version, "kind": resource.kind} in schema[
        "x-kubernetes-group-version-kind"
    ]


@pytest.mark.parametrize("resource", REGISTRY.all(), ids=repr)
def test_rows_have_one_name_column(resource: Resource) -> None:
    """The first column of the format of names must hold the name: clients put the kind before it."""
    assert next(column.name for column in resource.columns if column.format == "name") == "Name"


def test_storage_paths_are_unique() -> None:
    """No two rows may store their objects under the same keys."""
    paths = [resource.storage for resource in REGISTRY.stored()]
    assert len(paths) == len(set(paths))


def test_names_of_groups() -> None:
    """The core group has no prefix in apiVersion and storage, the others have."""
    assert (PODS.api_version, PODS.storage, PODS.list_kind) == ("v1", "pods", "PodList")
    assert (DEPLOYMENTS.api_version, DEPLOYMENTS.storage) == ("apps/v1", "apps/deployments")


def test_unknown_resources_are_none() -> None:
    """What isn't served must not be found."""
    assert REGISTRY.find("apps", "v1", "nonesuch") is None
    assert REGISTRY.by_kind("v1", "Deployment") is None


def test_described_definitions_are_closed() -> None:
    """Every reference in the described schema must lead to a definition in it."""
    definitions = described_definitions(row.definition for row in REGISTRY.all())

    def references(schema: object) -> list[str]:
        if isinstance(schema, dict):
            own = [reference_of(schema)] if isinstance(schema.get("$ref"), str) else []
            return own + [name for part in schema.values() for name in references(part)]
        return [name for part in schema for name in references(part)] if isinstance(schema, list) else []

    assert {name for schema in definitions.values() for name in references(schema)} <= definitions.keys()
    assert "description" in definitions[PODS.definition]
