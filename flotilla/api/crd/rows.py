"""From a definition to the rows that serve its objects: one for each version, all views of the one that is stored.

Versions are converted by changing ``apiVersion``; what another version's schema doesn't know is kept in the store.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flotilla.api.crd.columns import printer_columns
from flotilla.api.crd.custom_objects import strategy_of
from flotilla.api.crd.json_path import simple_fields
from flotilla.api.crd.object_meta import admit_metadata
from flotilla.api.crd.schemas import CompiledSchema, compiled_schema
from flotilla.api.crd.shaping import Pruning, complete
from flotilla.api.crd.structural import EMBEDDED, Schema
from flotilla.api.errors import FieldError
from flotilla.api.kinds.resource import ALL_VERBS, Resource, ScalePaths, View, guarded
from flotilla.api.objects import KubeObject
from flotilla.api.schema_report import SchemaReport
from flotilla.api.schema_source import OBJECT_META

_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?")
_STAGES = {"": 2, "beta": 1, "alpha": 0}
_REF = {"$ref": f"#/$defs/{OBJECT_META}"}
_TYPE_META: Mapping[str, Any] = {
    "apiVersion": {"type": "string", "description": "The version of the schema of this object: group/version."},
    "kind": {"type": "string", "description": "The kind of this object."},
    "metadata": _REF,
}
_WHEN_TERMINATING = ("create", "deletecollection")


@dataclass(frozen=True, slots=True)
class CustomShape:
    """The shape of one version; see :class:`flotilla.api.kinds.resource.Shape`. Equal ones restore objects alike."""

    schema: CompiledSchema
    openapi: Schema = field(compare=False)
    api_version: str
    scale: ScalePaths | None

    def admit(self, obj: KubeObject) -> SchemaReport:
        """Prune an object from a client. Wrong types are found by validation, but for those in ``metadata``."""
        metadata = obj.get("metadata")
        if metadata is None:
            metadata = obj["metadata"] = {}
        if not isinstance(metadata, dict):
            fault = FieldError("metadata", "must be an object", "FieldValueTypeInvalid")
            return SchemaReport(errors=[fault])
        unknown, errors = admit_metadata(metadata, "metadata")
        pruning = Pruning()
        pruning.prune_object(obj, self.schema.node)
        return SchemaReport(unknown + pruning.unknown, errors + pruning.errors)

    def restore(self, obj: KubeObject) -> bool:
        """Give a stored object the present version and shape."""
        changed = obj.get("apiVersion") != self.api_version
        obj["apiVersion"] = self.api_version
        pruning = Pruning()
        pruning.prune_object(obj, self.schema.node)
        return complete(obj, self.schema.node) or bool(pruning.unknown) or changed


def priority(version: str) -> tuple[int, int, int, int, str]:
    """The key that sorts versions from the preferred one on: stable before beta before alpha, newer before older."""
    match = _VERSION.fullmatch(version)
    if match is None:
        return (1, 0, 0, 0, version)
    stage = _STAGES[match[2] or ""]
    return (0, -stage, -int(match[1]), -int(match[3] or 0), "")


def rows_of(crd: KubeObject, *, terminating: bool) -> tuple[Resource, ...]:
    """The rows of an accepted definition, the stored one first, unserved ones among them. Its status has its names."""
    versions = sorted(crd["spec"]["versions"], key=lambda version: priority(version["name"]))
    (stored,) = [version for version in versions if version.get("storage")]
    hub = _row(crd, stored, view=None, terminating=terminating)
    others = [
        _row(crd, version, view=_relabelled(hub, crd, version), terminating=terminating)
        for version in versions
        if version is not stored
    ]
    return (hub, *others)


def _relabelled(hub: Resource, crd: KubeObject, version: Mapping[str, Any]) -> View:
    """The view of a version that differs in ``apiVersion`` alone."""
    viewed = f"{crd['spec']['group']}/{version['name']}"
    return View(hub, lambda obj: obj | {"apiVersion": hub.api_version}, lambda obj: obj | {"apiVersion": viewed})


def _row(crd: KubeObject, version: Mapping[str, Any], *, view: View | None, terminating: bool) -> Resource:
    spec, names = crd["spec"], crd["status"]["acceptedNames"]
    group, name = spec["group"], version["name"]
    schema = compiled_schema(version["schema"]["openAPIV3Schema"])
    subresources = version.get("subresources") or {}
    kind = names["kind"]
    openapi = _openapi(version["schema"]["openAPIV3Schema"], group, name, kind)
    selectable = [field["jsonPath"] for field in version.get("selectableFields") or ()]
    strategy = strategy_of(schema, status=subresources.get("status") is not None, selectable=selectable)
    return Resource(
        group=group,
        version=name,
        plural=names["plural"],
        singular=names.get("singular") or kind.lower(),
        kind=kind,
        namespaced=spec["scope"] == "Namespaced",
        definition=definition_name(group, name, kind),
        columns=printer_columns(version.get("additionalPrinterColumns") or ()),
        strategy=guarded(strategy),
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=tuple(word for word in ("status", "scale") if subresources.get(word) is not None),
        verbs=tuple(verb for verb in ALL_VERBS if not terminating or verb not in _WHEN_TERMINATING),
        view=view,
        shape=CustomShape(schema, openapi, f"{group}/{name}", _scale_paths(subresources.get("scale"))),
        listed_as=names.get("listKind") or "",
        served=bool(version.get("served")),
        deprecation=_deprecation(version, f"{group}/{name}", kind),
    )


def definition_name(group: str, version: str, kind: str) -> str:
    """The name of a custom kind's schema in OpenAPI documents."""
    return ".".join([*reversed(group.split(".")), version, kind])


def _deprecation(version: Mapping[str, Any], api_version: str, kind: str) -> str:
    if not version.get("deprecated"):
        return ""
    return version.get("deprecationWarning") or f"{api_version} {kind} is deprecated"


def _scale_paths(scale: Mapping[str, Any] | None) -> ScalePaths | None:
    if scale is None:
        return None
    selector = scale.get("labelSelectorPath")
    return ScalePaths(
        simple_fields(scale["specReplicasPath"]),
        simple_fields(scale["statusReplicasPath"]),
        simple_fields(selector) if selector else (),
    )


def _openapi(schema: Schema, group: str, version: str, kind: str) -> Schema:
    whole = _with_type_meta(_with_embedded(schema))
    gvk = {"group": group, "version": version, "kind": kind}
    return whole | {"x-kubernetes-group-version-kind": [gvk]}


def _with_type_meta(schema: dict[str, Any]) -> dict[str, Any]:
    properties = dict(_TYPE_META) | {
        name: part for name, part in (schema.get("properties") or {}).items() if name != "metadata"
    }
    return schema | {"properties": properties}


def _with_embedded(schema: Schema) -> dict[str, Any]:
    """A copy in which embedded objects have what every object has."""
    result = dict(schema)
    if schema.get("properties"):
        result["properties"] = {name: _with_embedded(part) for name, part in schema["properties"].items()}
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), Mapping):
            result[word] = _with_embedded(schema[word])
    return _with_type_meta(result) if schema.get(EMBEDDED) is True else result
