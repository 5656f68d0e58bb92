"""Keeps the registry in step with the definitions that are stored.

The cache calls in the order of revisions, before anyone else sees the change, so that a kind is served on every server
from the very revision that established it, and an object never arrives before its kind.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from controlplane.store.cache import CacheEvent, Entry
from flotilla.api.conditions import is_true
from flotilla.api.crd.rows import rows_of
from flotilla.api.objects import KubeObject, encode, is_deleting
from flotilla.api.registry import Registry, Resource
from flotilla.api.resources import CUSTOM_RESOURCE_DEFINITIONS

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a definition was when its rows were made."""

    content: bytes
    rows: tuple[Resource, ...]


class CustomKinds:
    """Implements :class:`controlplane.store.cache.Definitions`."""

    resource = CUSTOM_RESOURCE_DEFINITIONS

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._shown: dict[str, _Shown] = {}

    def define(self, entries: Sequence[Entry]) -> None:
        """Serve exactly the kinds that these definitions establish."""
        names = {entry.name for entry in entries}
        for name in [name for name in self._shown if name not in names]:
            self._show(name, None)
        for entry in entries:
            self._show(entry.name, entry.obj)

    def follow(self, event: CacheEvent) -> None:
        """Take over one changed definition."""
        self._show(event.entry.name, event.entry.obj if event.type != "DELETED" else None)

    def _show(self, name: str, crd: KubeObject | None) -> None:
        before = self._shown.get(name)
        content = _content(crd) if crd is not None and is_true(crd, "Established") else b""
        if content == (before.content if before is not None else b""):
            return
        old_rows = before.rows if before is not None else ()
        rows = self._rows(name, crd, old_rows) if crd is not None and content else ()
        self._registry.change(remove=old_rows, add=rows)
        if content:
            self._shown[name] = _Shown(content, rows)
        else:
            del self._shown[name]

    def _rows(self, name: str, crd: KubeObject, old_rows: Sequence[Resource]) -> tuple[Resource, ...]:
        try:
            rows = rows_of(crd, terminating=is_deleting(crd))
        except Exception:
            # What is stored was valid once, and one definition must not keep all others from being served.
            logger.exception("definition_unreadable", extra={"definition": name})
            return ()
        taken = [row for row in rows if self._is_taken(row, old_rows)]
        if taken:
            logger.error("definition_in_the_way", extra={"definition": name, "rows": repr(taken)})
            return ()
        return rows

    def _is_taken(self, row: Resource, old_rows: Sequence[Resource]) -> bool:
        """Whether another row, of a kind of the release for example, is served or stored there."""
        others = [other for other in self._registry.stored() if other not in old_rows]
        found = self._registry.find(row.group, row.version, row.plural)
        return (found is not None and found not in old_rows) or any(other.storage == row.storage for other in others)


def _content(crd: KubeObject) -> bytes:
    """What the rows depend on."""
    status: dict[str, Any] = crd.get("status") or {}
    return encode([crd.get("spec"), status.get("acceptedNames"), is_deleting(crd)])
