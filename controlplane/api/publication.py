"""Discovery and OpenAPI of what is served now: rebuilt when they are asked for after the registry has changed.

Definitions often come by the dozen; what is written from the registry is therefore written when
the next client asks, not at each of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.api.catalog import Catalog, GroupVersion
from controlplane.api.discovery import Discovery
from controlplane.api.openapi import Documents
from flotilla.api.registry import Registry


class Publication:
    """``extra`` are group versions that are served without rows."""

    def __init__(self, registry: Registry, extra: Sequence[GroupVersion], *, server_address: str = "") -> None:
        self._registry = registry
        self._extra = extra
        self._server_address = server_address
        self._generation = registry.generation
        self._catalog = Catalog(registry, extra)
        self._discovery: Discovery | None = None
        self._documents = Documents(self._catalog)

    @property
    def catalog(self) -> Catalog:
        if self._generation != self._registry.generation:
            self._generation = self._registry.generation
            self._catalog = Catalog(self._registry, self._extra)
            self._discovery = None
            self._documents.show(self._catalog)
        return self._catalog

    @property
    def discovery(self) -> Discovery:
        catalog = self.catalog
        if self._discovery is None:
            self._discovery = Discovery(catalog, server_address=self._server_address)
        return self._discovery

    @property
    def documents(self) -> Documents:
        _ = self.catalog
        return self._documents
