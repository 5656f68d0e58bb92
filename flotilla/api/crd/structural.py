"""A structural schema as a tree of nodes, read once for each definition.

What says where a value may be (properties, items, unknown fields) is told apart from what says which value it may have
(``checks``: the schema itself, which :mod:`flotilla.api.crd.validation` compiles). Whether there is anything to do
below a node is noted there, so that walks leave out whole branches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PRESERVE = "x-kubernetes-preserve-unknown-fields"
EMBEDDED = "x-kubernetes-embedded-resource"
INT_OR_STRING = "x-kubernetes-int-or-string"
LIST_TYPE = "x-kubernetes-list-type"
LIST_MAP_KEYS = "x-kubernetes-list-map-keys"
MAP_TYPE = "x-kubernetes-map-type"
RULES = "x-kubernetes-validations"

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Node:
    """The schema at one place. ``additional`` is True where a map's values may be anything."""

    checks: Schema
    type: str
    properties: Mapping[str, Node]
    items: Node | None
    additional: Node | bool
    preserve: bool
    embedded: bool
    int_or_string: bool
    nullable: bool
    default: Any
    has_default: bool
    list_type: str
    map_keys: tuple[str, ...]
    atomic_map: bool
    rules: tuple[Schema, ...]
    completes: bool  # whether there are defaults, or nulls that go, at this node or below
    has_rules: bool  # at this node or below
    embeds: bool  # whether whole objects are at this node or below

    def child(self, name: str) -> Node | None:
        """The schema of a field or a map's value, None where there is none."""
        found = self.properties.get(name)
        if found is None and isinstance(self.additional, Node):
            return self.additional
        return found


def _additional(schema: Schema) -> Node | bool:
    found = schema.get("additionalProperties")
    if isinstance(found, dict):
        return read_schema(found)
    return found is True


def read_schema(schema: Schema) -> Node:
    """The tree of a schema that has passed the structural rules."""
    properties = {name: read_schema(part) for name, part in (schema.get("properties") or {}).items()}
    raw_items = schema.get("items")
    items = read_schema(raw_items) if isinstance(raw_items, dict) else None
    additional = _additional(schema)
    below = [*properties.values(), *(part for part in (items, additional) if isinstance(part, Node))]
    rules = tuple(schema.get(RULES) or ())
    return Node(
        checks=schema,
        type=schema.get("type") or "",
        properties=properties,
        items=items,
        additional=additional,
        preserve=schema.get(PRESERVE) is True,
        embedded=schema.get(EMBEDDED) is True,
        int_or_string=schema.get(INT_OR_STRING) is True,
        nullable=schema.get("nullable") is True,
        default=schema.get("default"),
        has_default=schema.get("default") is not None,
        list_type=schema.get(LIST_TYPE) or "atomic",
        map_keys=tuple(schema.get(LIST_MAP_KEYS) or ()),
        atomic_map=schema.get(MAP_TYPE) == "atomic",
        rules=rules,
        completes=bool(below),
        has_rules=bool(rules) or any(part.has_rules for part in below),
        embeds=schema.get(EMBEDDED) is True or any(part.embeds for part in below),
    )
