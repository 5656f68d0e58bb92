"""The registry of served resources, looked up by path and by kind."""

from __future__ import annotations

from collections.abc import Iterable

from flotilla.api import resources
from flotilla.api.kinds.resource import Column, Resource, Strategy

__all__ = ["REGISTRY", "Column", "Registry", "Resource", "Strategy"]


class Registry:
    """An immutable set of resources."""

    def __init__(self, rows: Iterable[Resource]) -> None:
        self._rows = tuple(rows)
        self._by_path = {(row.group, row.version, row.plural): row for row in self._rows}
        self._by_kind = {(row.api_version, row.kind): row for row in self._rows}

    def all(self) -> tuple[Resource, ...]:
        """Every resource, in the order of discovery."""
        return self._rows

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """The resource that is served at this path; group ``""`` is core."""
        return self._by_path.get((group, version, plural))

    def by_kind(self, api_version: str, kind: str) -> Resource | None:
        """The resource whose objects carry this ``apiVersion`` and ``kind``."""
        return self._by_kind.get((api_version, kind))


REGISTRY = Registry(resources.ALL)
