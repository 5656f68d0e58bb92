"""The registry of served resources, looked up by path and by kind.

The kinds of the release are there from the start; definitions of custom resources add and remove rows while the
server runs. Look-ups are dictionary accesses. Whoever keeps something that was made from all rows (discovery, OpenAPI)
compares ``generation`` before using it; whoever has to act on a change (the cache) listens.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from flotilla.api import resources
from flotilla.api.kinds.resource import Column, Resource, Strategy

__all__ = ["REGISTRY", "Column", "Listener", "Registry", "Resource", "Strategy"]

Listener = Callable[[Collection[Resource], Collection[Resource]], None]
"""Called with the rows that went and the rows that came, after the registry shows the change."""


class Registry:
    """A set of resources in the order of discovery. Used from one event loop only.

    Rows that are not served are found by :meth:`stored` and :meth:`in_version` alone. Every change puts new tables in
    the place of the old ones, so that a thread that looks something up finds what there was or what there is.
    """

    def __init__(self, rows: Iterable[Resource]) -> None:
        self._rows: tuple[Resource, ...] = ()
        self._served: tuple[Resource, ...] = ()
        self._by_path: dict[tuple[str, str, str], Resource] = {}
        self._by_kind: dict[tuple[str, str], Resource] = {}
        self._versions: dict[tuple[str, str], Resource] = {}
        self._listeners: list[Listener] = []
        self.generation = 0
        self._show(tuple(rows))

    def all(self) -> tuple[Resource, ...]:
        """Every served resource, in the order of discovery."""
        return self._served

    def stored(self) -> tuple[Resource, ...]:
        """The resources that are stored themselves: every object is one of exactly one of these."""
        return tuple(row for row in self._rows if row.view is None)

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """The resource that is served at this path; group ``""`` is core."""
        return self._by_path.get((group, version, plural))

    def by_kind(self, api_version: str, kind: str) -> Resource | None:
        """The resource whose objects carry this ``apiVersion`` and ``kind``."""
        return self._by_kind.get((api_version, kind))

    def in_version(self, resource: Resource, api_version: str) -> Resource | None:
        """The row of the objects of ``resource`` in another version, whether that is served or not any more."""
        if api_version == resource.api_version:
            return resource
        found = self._versions.get((api_version, resource.kind))
        return found if found is not None and found.storage == resource.storage else None

    def listen(self, listener: Listener) -> None:
        """Have ``listener`` called at each change, in the order of listening."""
        self._listeners.append(listener)

    def change(self, *, remove: Collection[Resource] = (), add: Collection[Resource] = ()) -> None:
        """Take rows away and add others in one step. ValueError if a path would be served twice."""
        if not remove and not add:
            return
        gone = set(remove)
        self._show((*(row for row in self._rows if row not in gone), *add))
        self.generation += 1
        for listener in self._listeners:
            listener(remove, add)

    def _show(self, rows: tuple[Resource, ...]) -> None:
        by_path = {(row.group, row.version, row.plural): row for row in rows}
        if len(by_path) != len(rows):
            raise ValueError("two resources are served at one path")
        self._rows = rows
        self._served = tuple(row for row in rows if row.served)
        self._by_path = {path: row for path, row in by_path.items() if row.served}
        self._by_kind = {(row.api_version, row.kind): row for row in self._served}
        self._versions = {(row.api_version, row.kind): row for row in rows}


REGISTRY = Registry(resources.ALL)
"""The kinds of the release; never changed. Each cache has a registry of its own that starts with these rows."""
