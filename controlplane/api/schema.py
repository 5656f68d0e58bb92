"""The published schema as merging needs it: which lists are maps, by which keys, and what is replaced as a whole.

Strategic merge reads ``x-kubernetes-patch-*``, server-side apply ``x-kubernetes-list-type`` and ``-map-type``. What has
no schema (raw extensions, managed fields) is one atomic value.
"""

from __future__ import annotations

from functools import cache, cached_property
from typing import Any

from flotilla.api.schema_source import definition

_PREFIX = "#/$defs/"


class TypeSchema:
    """One type at one place. Children are resolved when they are asked for and kept."""

    def __init__(self, raw: dict[str, Any]) -> None:
        target = definition(raw["$ref"].removeprefix(_PREFIX)) if "$ref" in raw else {}
        self._raw: dict[str, Any] = target | {key: value for key, value in raw.items() if key != "$ref"}
        self._fields: dict[str, TypeSchema] = {}
        self.properties: dict[str, Any] = self._raw.get("properties") or {}
        additional = self._raw.get("additionalProperties")
        self._additional: dict[str, Any] | None = additional if isinstance(additional, dict) else None

    @cached_property
    def atomic(self) -> bool:
        """Whether apply replaces the value as a whole: scalars, plain lists, and maps that say so."""
        if "items" in self._raw:
            return self.list_type == "atomic"
        if not self.properties and self._additional is None:
            return True
        return bool(self._raw.get("x-kubernetes-map-type") == "atomic")

    @property
    def is_map(self) -> bool:
        """Whether its keys are data (labels), not fields of a structure."""
        return self._additional is not None and not self.properties

    @property
    def list_type(self) -> str:
        return str(self._raw.get("x-kubernetes-list-type") or "atomic")

    @property
    def list_keys(self) -> tuple[str, ...]:
        """The fields that tell items of a map list apart."""
        return tuple(self._raw.get("x-kubernetes-list-map-keys") or ())

    @property
    def merge_key(self) -> str:
        """The field by which a strategic merge pairs items, ``""`` for a list of scalars or one that is replaced."""
        return str(self._raw.get("x-kubernetes-patch-merge-key") or "")

    @property
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
    """The schema of a kind."""
    return TypeSchema({"$ref": _PREFIX + definition_name})
