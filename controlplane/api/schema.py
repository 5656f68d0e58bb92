"""The schema of a kind as merging needs it: which lists are maps, by which keys, and what is replaced as a whole.

Strategic merge reads ``x-kubernetes-patch-*``, server-side apply ``x-kubernetes-list-type`` and ``-map-type``. What has
no schema (raw extensions, managed fields) is one atomic value; what a custom resource keeps without a schema
(``x-kubernetes-preserve-unknown-fields``) is merged by its own form: objects field by field, lists as a whole.
"""

from __future__ import annotations

from functools import cache, cached_property, lru_cache
from typing import Any

from flotilla.api.registry import Resource
from flotilla.api.schema_source import definition

_PREFIX = "#/$defs/"
_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_SHAPES_KEPT = 512
_KEY_DEFAULTS = {"protocol": "TCP"}
_PARTS = ("metadata", "spec", "status")
# Fields that are structures without a pointer, or lists without omitempty, in Go: there before anybody sets them.
_ALWAYS_THERE = {
    "PodTemplateSpec": ("metadata", "spec"),
    "PodSpec": ("containers",),
    "DeploymentSpec": ("strategy", "template"),
    "ReplicaSetSpec": ("template",),
    "StatefulSetSpec": ("template", "updateStrategy"),
    "DaemonSetSpec": ("template", "updateStrategy"),
    "JobSpec": ("template",),
    "CronJobSpec": ("jobTemplate",),
    "JobTemplateSpec": ("metadata", "spec"),
    "PodTemplate": ("template",),
    "PersistentVolumeClaimSpec": ("resources",),
    "HorizontalPodAutoscalerSpec": ("scaleTargetRef",),
    "NetworkPolicySpec": ("podSelector",),
    "VolumeAttachmentSpec": ("source",),
    "ServiceStatus": ("loadBalancer",),
    "IngressStatus": ("loadBalancer",),
    "NodeStatus": ("daemonEndpoints", "nodeInfo"),
    "NodeDaemonEndpoints": ("kubeletEndpoint",),
    "Event": ("involvedObject", "source"),
}


class TypeSchema:
    """One type at one place. Children are resolved when they are asked for and kept.

    ``always_there`` names the fields that Kubernetes' own types have even where nobody has set them, so that no writer
    comes to own them by setting something in them.
    """

    def __init__(self, raw: dict[str, Any], *, always_there: tuple[str, ...] = ()) -> None:
        name = raw["$ref"].removeprefix(_PREFIX) if "$ref" in raw else ""
        target = definition(name) if name else {}
        self._raw: dict[str, Any] = target | {key: value for key, value in raw.items() if key != "$ref"}
        self._fields: dict[str, TypeSchema] = {}
        self.properties: dict[str, Any] = self._raw.get("properties") or {}
        additional = self._raw.get("additionalProperties")
        self._additional: dict[str, Any] | None = additional if isinstance(additional, dict) else None
        if self._raw.get(_PRESERVE) and self._additional is None:
            self._additional = {_PRESERVE: True}
        self.always_there = (*always_there, *_ALWAYS_THERE.get(name.rpartition(".")[2], ()))

    @cached_property
    def atomic(self) -> bool:
        """Whether apply replaces the value as a whole: scalars, plain lists, and maps that say so."""
        if "items" in self._raw:
            return self.list_type == "atomic"
        if not self.properties and self._additional is None:
            return True
        return bool(self._raw.get("x-kubernetes-map-type") == "atomic")

    def replaces(self, value: Any) -> bool:
        """Whether apply replaces ``value`` as a whole, a list where only its own form tells how to merge."""
        if self.atomic or not isinstance(value, dict | list):
            return True
        return isinstance(value, list) and "items" not in self._raw

    @property
    def is_map(self) -> bool:
        """Whether its keys are data (labels), not fields of a structure."""
        return self._additional is not None and not self.properties

    @cached_property
    def list_type(self) -> str:
        return str(self._raw.get("x-kubernetes-list-type") or "atomic")

    @cached_property
    def list_keys(self) -> dict[str, Any]:
        """The fields that tell items of a map list apart, in order, with the values of those that are left out."""
        names = sorted(self._raw.get("x-kubernetes-list-map-keys") or ())
        return {name: self.element.field(name).default or _KEY_DEFAULTS.get(name) for name in names}

    @property
    def default(self) -> Any:
        """The value of the field where it is left out, None where the schema gives none."""
        return self._raw.get("default")

    @property
    def merge_key(self) -> str:
        """The field by which a strategic merge pairs items, ``""`` for a list of scalars or one that is replaced."""
        return str(self._raw.get("x-kubernetes-patch-merge-key") or "")

    @cached_property
    def patch_strategies(self) -> tuple[str, ...]:
        return tuple(str(self._raw.get("x-kubernetes-patch-strategy") or "").split(","))

    def field(self, name: str) -> TypeSchema:
        """The type of one field or key; an unknown one is atomic."""
        found = self._fields.get(name)
        if found is None:
            if name not in self.properties:
                return self._value
            found = self._fields[name] = TypeSchema(self.properties[name])
        return found

    @cached_property
    def _value(self) -> TypeSchema:
        """The type of a map's values."""
        return TypeSchema(self._additional) if self._additional else UNTYPED

    @cached_property
    def element(self) -> TypeSchema:
        """The type of a list's items."""
        return TypeSchema(self._raw["items"]) if isinstance(self._raw.get("items"), dict) else UNTYPED


UNTYPED = TypeSchema({})


@cache
def root_schema(definition_name: str) -> TypeSchema:
    """The schema of a kind of the release."""
    return TypeSchema({"$ref": _PREFIX + definition_name}, always_there=_PARTS)


def schema_of(resource: Resource) -> TypeSchema:
    """The schema of a row's kind, whether of the release or defined at run time."""
    return root_schema(resource.definition) if resource.shape is None else _custom_schema(resource)


@lru_cache(maxsize=_SHAPES_KEPT)
def _custom_schema(resource: Resource) -> TypeSchema:
    raw = dict(resource.shape.openapi) if resource.shape is not None else {}
    return TypeSchema(raw, always_there=("metadata",))
