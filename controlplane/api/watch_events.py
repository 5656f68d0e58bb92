"""The events of a watch as bytes, in the form and through the selectors of one watcher.

Watchers of one form share the encoded events (:meth:`CacheEvent.encoded`). A change that moves an object into or out of
the selection is an ADDED or a DELETED to that watcher.
"""

from __future__ import annotations

from controlplane.api.negotiation import Form
from controlplane.api.selection import Selection
from controlplane.api.tables import assemble_table, render_one, table_row
from controlplane.api.views import viewed_entry
from controlplane.store.cache import CacheEvent, Entry
from controlplane.store.entry import deleted_entry
from flotilla.api.errors import ApiError
from flotilla.api.objects import KubeObject, encode

INITIAL_EVENTS_END = "k8s.io/initial-events-end"


def error_event(error: ApiError) -> bytes:
    """The ERROR that ends a watch."""
    return _event("ERROR", encode(error.status()))


class EventEncoder:
    """Turns cache events into the bytes of one watcher's form and selection."""

    def __init__(self, selection: Selection, form: Form, include: str) -> None:
        self._selection = selection
        self._everything = selection.everything
        self._resource = selection.resource
        self._form = form
        self._include = include
        seen_as = self._resource.version if self._resource.view else ""
        self._cache_key = f"{form.kind}/{form.version}/{include}/{seen_as}/"
        self._headed = form.kind != "Table"

    def encode(self, event: CacheEvent) -> bytes:
        """The event as this watcher has to see it, ``b""`` if it does not concern it."""
        type_ = self._type_for(event)
        if not type_:
            return b""
        if not self._headed:
            return self._render(type_, _entry_for(type_, event))
        return event.encoded(self._cache_key + type_, lambda shared: self._render(type_, _entry_for(type_, shared)))

    def added(self, entry: Entry) -> bytes:
        """The ADDED event of an object that was there before the watch."""
        return self._render("ADDED", entry)

    def bookmark(self, revision: int, *, initial_events_end: bool = False) -> bytes:
        """A BOOKMARK: everything up to ``revision`` has been sent."""
        metadata: KubeObject = {"resourceVersion": str(revision), "creationTimestamp": None}
        if initial_events_end:
            metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
        if self._form.kind == "Table":
            rows = [b'{"cells":[],"object":' + encode(self._bookmark_object(metadata)) + b"}"]
            return _event("BOOKMARK", assemble_table(self._form, {"resourceVersion": str(revision)}, None, rows))
        return _event("BOOKMARK", encode(self._bookmark_object(metadata)))

    def _bookmark_object(self, metadata: KubeObject) -> KubeObject:
        if self._form.kind:
            return {"kind": "PartialObjectMetadata", "apiVersion": self._form.api_version, "metadata": metadata}
        return {"kind": self._resource.kind, "apiVersion": self._resource.api_version, "metadata": metadata}

    def _type_for(self, event: CacheEvent) -> str:
        if self._everything:
            namespace = self._selection.namespace
            return event.type if not namespace or event.entry.namespace == namespace else ""
        now = self._selection.matches(event.entry)
        if event.type == "ADDED":
            return "ADDED" if now else ""
        before = event.previous is not None and self._selection.matches(event.previous)
        if event.type == "DELETED":
            return "DELETED" if before else ""
        if now:
            return "MODIFIED" if before else "ADDED"
        return "DELETED" if before else ""

    def _render(self, type_: str, entry: Entry) -> bytes:
        entry = viewed_entry(self._resource, entry)
        if self._form.kind != "Table":
            return _event(type_, render_one(self._resource, {}, entry.data, self._form, include=self._include))
        columns = self._resource.columns
        row = table_row(columns, entry.obj, entry.data, include=self._include, version=self._form.version)
        header = None if self._headed else columns
        self._headed = True
        return _event(type_, assemble_table(self._form, {"resourceVersion": str(entry.revision)}, header, [row]))


def _event(type_: str, data: bytes) -> bytes:
    return b'{"type":"' + type_.encode() + b'","object":' + data + b"}\n"


def _entry_for(type_: str, event: CacheEvent) -> Entry:
    """An object that leaves a selection is shown as it last was in it, at the revision at which it left."""
    if type_ == "DELETED" and event.type != "DELETED" and event.previous is not None:
        return deleted_entry(event.previous, event.revision)
    return event.entry
