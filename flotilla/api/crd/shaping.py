"""Giving objects the shape of their schema: what it doesn't know goes, what it has defaults for comes.

Pruning and completing are idempotent, and completing never adds what pruning would take away. Both edit in place. A
null counts as absent unless its field is nullable. Source: ``pkg/apiserver/schema/{pruning,defaulting}``.
"""

from __future__ import annotations

import copy
from typing import Any

from flotilla.api.crd.object_meta import admit_metadata
from flotilla.api.crd.structural import Node
from flotilla.api.errors import FieldError
from flotilla.api.schema_check import Path, path_text

_TYPE_META = ("apiVersion", "kind", "metadata")


class Pruning:
    """One walk over one object: ``unknown`` are the paths that went, ``errors`` the faults of embedded metadata."""

    def __init__(self) -> None:
        self.unknown: list[str] = []
        self.errors: list[FieldError] = []

    def prune_object(self, obj: dict[str, Any], node: Node) -> None:
        """Prune a whole object: ``apiVersion``, ``kind`` and ``metadata`` are there whatever the schema says."""
        self._prune_fields(obj, node, (), protected=_TYPE_META)

    def _prune(self, value: Any, node: Node, path: Path) -> None:
        if isinstance(value, dict):
            self._prune_fields(value, node, path, protected=_TYPE_META if node.embedded else ())
            if node.embedded and isinstance(value.get("metadata"), dict):
                unknown, errors = admit_metadata(value["metadata"], path_text((path, "metadata")))
                self.unknown += unknown
                self.errors += errors
        elif isinstance(value, list) and node.items is not None:
            for index, item in enumerate(value):
                if isinstance(item, dict | list):
                    self._prune(item, node.items, (path, index))

    def _prune_fields(self, value: dict[str, Any], node: Node, path: Path, *, protected: tuple[str, ...]) -> None:
        keeps = node.preserve or node.additional is True
        gone = []
        for name, child in value.items():
            if name in protected:
                continue
            below = node.child(name)
            if below is not None:
                if isinstance(child, dict | list):
                    self._prune(child, below, (path, name))
            elif not keeps:
                gone.append(name)
        for name in gone:
            del value[name]
            self.unknown.append(path_text((path, name)))


def complete(obj: dict[str, Any], node: Node) -> bool:
    """Drop nulls that mean nothing and fill in defaults; whether that changed anything."""
    if not node.completes:
        return False
    dropped = _drop_nulls(obj, node)
    return _fill_in(obj, node) or dropped


def _is_void(value: Any, node: Node) -> bool:
    return value is None and not node.nullable


def _drop_nulls(value: Any, node: Node) -> bool:
    """Remove nulls of fields that are neither nullable nor have a default."""
    changed = False
    if isinstance(value, dict):
        for name in list(value):
            below = node.child(name)
            if below is None:
                continue
            if _is_void(value[name], below) and not below.has_default:
                del value[name]
                changed = True
            elif below.completes and isinstance(value[name], dict | list):
                changed |= _drop_nulls(value[name], below)
    elif isinstance(value, list) and node.items is not None and node.items.completes:
        for item in value:
            changed |= _drop_nulls(item, node.items)
    return changed


def _fill_in(value: Any, node: Node) -> bool:
    changed = False
    if isinstance(value, dict):
        for name, below in node.properties.items():
            if below.has_default and (name not in value or _is_void(value[name], below)):
                value[name] = copy.deepcopy(below.default)
                changed = True
        for name, child in value.items():
            part = node.child(name)
            if part is None:
                continue
            if _is_void(child, part) and part.has_default:
                value[name] = copy.deepcopy(part.default)
                changed = True
            if part.completes and isinstance(value[name], dict | list):
                changed |= _fill_in(value[name], part)
    elif isinstance(value, list) and node.items is not None:
        for index, item in enumerate(value):
            if _is_void(item, node.items) and node.items.has_default:
                value[index] = copy.deepcopy(node.items.default)
                changed = True
            if node.items.completes and isinstance(value[index], dict | list):
                changed |= _fill_in(value[index], node.items)
    return changed
