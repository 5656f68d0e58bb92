"""``events.k8s.io``: the core group's events under the names that replace them."""

from __future__ import annotations

from flotilla.api.kinds import event_columns, event_view
from flotilla.api.kinds.resource import Resource, View, guarded
from flotilla.api.rows.core import EVENTS

NEW_EVENTS = Resource(
    group="events.k8s.io",
    version="v1",
    plural="events",
    singular="event",
    kind="Event",
    namespaced=True,
    definition="io.k8s.api.events.v1.Event",
    columns=tuple(map(event_view.viewed_column, event_columns.COLUMNS)),
    strategy=guarded(event_view.STRATEGY),
    short_names=("ev",),
    view=View(EVENTS, event_view.to_stored, event_view.from_stored),
)

ROWS = (NEW_EVENTS,)
