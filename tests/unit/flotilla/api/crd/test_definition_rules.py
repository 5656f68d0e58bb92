"""What a CustomResourceDefinition may say."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from flotilla.api.errors import FieldError
from flotilla.api.objects import KubeObject
from flotilla.api.resources import CUSTOM_RESOURCE_DEFINITIONS

_STRATEGY = CUSTOM_RESOURCE_DEFINITIONS.strategy
_SCHEMA = "spec.versions[0].schema.openAPIV3Schema"


def _version(name: str = "v1", **more: Any) -> KubeObject:
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}
    return {"name": name, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}} | more


def _crd(*versions: KubeObject, **spec: Any) -> KubeObject:
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": list(versions) or [_version()],
        }
        | spec,
    }
    _STRATEGY.default(crd)
    return crd


def _faults(crd: KubeObject, old: KubeObject | None = None) -> list[tuple[str, str]]:
    errors: list[FieldError] = _STRATEGY.validate(crd, old)
    return [(error.field, error.message) for error in errors]


def _fields(crd: KubeObject, old: KubeObject | None = None) -> list[str]:
    return [field for field, _ in _faults(crd, old)]


def test_names_are_completed() -> None:
    """Singular and list kind must follow from the kind, and conversion must be None."""
    spec = _crd()["spec"]
    assert (spec["names"]["singular"], spec["names"]["listKind"]) == ("widget", "WidgetList")
    assert spec["conversion"] == {"strategy": "None"}
    assert _faults(_crd()) == []


def test_the_name_is_plural_and_group() -> None:
    """A definition's name must say what it defines."""
    crd = _crd()
    crd["metadata"]["name"] = "widget.example.com"
    assert _faults(crd) == [
        ("metadata.name", 'Invalid value: "widget.example.com": must be spec.names.plural+"."+spec.group')
    ]


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({"group": "example"}, ["metadata.name", "spec.group"]),
        ({"group": ""}, ["metadata.name", "spec.group"]),
        ({"scope": "Galactic"}, ["spec.scope"]),
        ({"scope": ""}, ["spec.scope"]),
        (
            {"names": {"plural": "widgets", "kind": "Wid get", "singular": "w"}},
            ["spec.names.kind", "spec.names.listKind"],
        ),
        ({"names": {"plural": "widgets", "kind": "Widget", "listKind": "Widget"}}, ["spec.names.listKind"]),
        ({"names": {"plural": "widgets", "kind": "Widget", "shortNames": ["W"]}}, ["spec.names.shortNames[0]"]),
        ({"names": {"plural": "widgets", "kind": "Widget", "categories": ["a b"]}}, ["spec.names.categories[0]"]),
        ({"conversion": {"strategy": "Webhook"}}, ["spec.conversion.strategy"]),
        ({"preserveUnknownFields": True}, ["spec.preserveUnknownFields"]),
    ],
)
def test_the_frame_is_checked(spec: KubeObject, fields: list[str]) -> None:
    """Group, scope, names and conversion must be refused by the field that is wrong."""
    assert sorted(set(_fields(_crd(**spec)))) == sorted(fields)


def test_exactly_one_version_is_stored() -> None:
    """Neither none nor two versions may be marked, and names must differ."""
    message = 'Invalid value: ["v1","v2"]: must have exactly one version marked as storage version'
    assert _faults(_crd(_version(), _version("v2"))) == [("spec.versions", message)]
    assert _fields(_crd(_version(storage=False))) == ["spec.versions"]
    assert _faults(_crd(_version(), _version(storage=False)))[0][1].endswith("must contain unique version names")


def test_every_version_has_a_schema() -> None:
    """A version without one must be refused, as in apiextensions/v1."""
    assert _faults(_crd(_version(schema={}))) == [(_SCHEMA, "Required value: schemas are required")]


def test_a_deprecation_warning_needs_a_deprecation() -> None:
    """A warning for a version that is not deprecated must be refused."""
    assert _fields(_crd(_version(deprecationWarning="use v2"))) == ["spec.versions[0].deprecationWarning"]
    assert _faults(_crd(_version(deprecated=True, deprecationWarning="use v2"))) == []


@pytest.mark.parametrize(
    ("scale", "fault"),
    [
        ({"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}, ""),
        ({"statusReplicasPath": ".status.size"}, "specReplicasPath: Required value"),
        (
            {"specReplicasPath": ".status.size", "statusReplicasPath": ".status.size"},
            'specReplicasPath: Invalid value: ".status.size": should be a json path under .spec',
        ),
        (
            {"specReplicasPath": "spec.size", "statusReplicasPath": ".status.size"},
            'specReplicasPath: Invalid value: "spec.size": must be a simple json path starting with .',
        ),
        (
            {"specReplicasPath": ".spec.a[0]", "statusReplicasPath": ".status.size"},
            'specReplicasPath: Invalid value: ".spec.a[0]": must be a json path in the dot notation',
        ),
        (
            {"specReplicasPath": ".spec.a", "statusReplicasPath": ".status.size", "labelSelectorPath": ".metadata.x"},
            'labelSelectorPath: Invalid value: ".metadata.x": should be a json path under .spec or .status',
        ),
    ],
)
def test_scale_paths_are_simple(scale: KubeObject, fault: str) -> None:
    """The paths of the scale subresource must be plain and in the right part of the object."""
    found = [f"{field}: {message}" for field, message in _faults(_crd(_version(subresources={"scale": scale})))]
    assert found == ([f"spec.versions[0].subresources.scale.{fault}"] if fault else [])


@pytest.mark.parametrize(
    ("column", "fields"),
    [
        ({"name": "Size", "type": "integer", "jsonPath": ".spec.size"}, []),
        ({"name": "Size", "type": "integer", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'}, []),
        ({"name": "Size", "type": "int", "jsonPath": ".spec.size"}, ["type"]),
        ({"name": "Size", "type": "integer", "format": "odd", "jsonPath": ".spec.size"}, ["format"]),
        ({"name": "Size", "type": "integer", "jsonPath": "spec.size"}, ["jsonPath"]),
        ({"name": "Size", "type": "integer", "jsonPath": ".spec[size"}, ["jsonPath"]),
        ({"type": "integer", "jsonPath": ".spec.size"}, ["name"]),
    ],
)
def test_printer_columns_are_checked(column: KubeObject, fields: list[str]) -> None:
    """A column must have a name, a known type and a path that can be followed."""
    found = _fields(_crd(_version(additionalPrinterColumns=[column])))
    assert found == [f"spec.versions[0].additionalPrinterColumns[0].{field}" for field in fields]


def test_selectable_fields_are_scalars_of_the_schema() -> None:
    """A selectable field must exist, be a scalar, be outside of metadata and be named once."""
    good = [{"jsonPath": ".spec.size"}]
    assert _faults(_crd(_version(selectableFields=good))) == []
    bad = [{"jsonPath": ".spec"}, {"jsonPath": ".spec.none"}, {"jsonPath": ".metadata.name"}, *good, *good]
    fields = _fields(_crd(_version(selectableFields=bad)))
    assert fields == [f"spec.versions[0].selectableFields[{index}].jsonPath" for index in (0, 1, 2, 4)]


def test_groups_of_kubernetes_need_approval() -> None:
    """A protected group must carry the annotation that says where its API was approved."""
    crd = _crd(group="things.k8s.io")
    crd["metadata"]["name"] = "widgets.things.k8s.io"
    assert _fields(crd) == ["metadata.annotations[api-approved.kubernetes.io]"]
    crd["metadata"]["annotations"] = {"api-approved.kubernetes.io": "unapproved, for tests"}
    assert _faults(crd) == []
    crd["metadata"]["annotations"] = {"api-approved.kubernetes.io": "yes"}
    assert _fields(crd) == ["metadata.annotations[api-approved.kubernetes.io]"]


def test_what_objects_are_stored_by_is_immutable() -> None:
    """An established definition keeps its scope and kind; no definition may drop a version that is stored."""
    old = _crd()
    old["status"] = {"conditions": [{"type": "Established", "status": "True"}], "storedVersions": ["v1"]}
    new = copy.deepcopy(old)
    new["spec"]["scope"] = "Cluster"
    new["spec"]["names"]["kind"] = "Gadget"
    assert _fields(new, old) == ["spec.scope", "spec.names.kind"]
    renamed = copy.deepcopy(old)
    renamed["spec"]["versions"][0]["name"] = "v2"
    assert _faults(renamed, old) == [("status.storedVersions[0]", 'Invalid value: "v1": must appear in spec.versions')]


def test_a_new_storage_version_is_noted() -> None:
    """status.storedVersions must name every version that objects may be stored in."""
    old = _crd(_version(), _version("v2", storage=False))
    _STRATEGY.prepare_for_create(old)
    assert old["status"]["storedVersions"] == ["v1"]
    new = copy.deepcopy(old)
    new["spec"]["versions"][0]["storage"], new["spec"]["versions"][1]["storage"] = False, True
    _STRATEGY.prepare_for_update(new, old)
    assert new["status"]["storedVersions"] == ["v1", "v2"]
    assert new["metadata"]["generation"] == 2


def test_unknown_formats_are_warned_of() -> None:
    """A format that nobody checks must be reported to the definition's author."""
    version = _version()
    version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["at"] = {"type": "string", "format": "x"}
    assert _STRATEGY.warnings(_crd(version)) == [f'{_SCHEMA}: unrecognized format "x"']
