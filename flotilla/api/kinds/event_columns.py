"""Event: its table columns."""

from __future__ import annotations

from datetime import datetime

from flotilla.api.durations import time_since
from flotilla.api.kinds.columns import NAME, column
from flotilla.api.kinds.resource import Column
from flotilla.api.objects import KubeObject


def _first_seen(event: KubeObject, now: datetime) -> str:
    return time_since(event.get("firstTimestamp") or event.get("eventTime"), now)


def _last_seen(event: KubeObject, now: datetime) -> str:
    observed = (event.get("series") or {}).get("lastObservedTime") or event.get("lastTimestamp")
    return time_since(observed, now) if observed else _first_seen(event, now)


def _count(event: KubeObject, now: datetime) -> int:
    return int((event.get("series") or {}).get("count") or event.get("count") or 1)


def _object(event: KubeObject, now: datetime) -> str:
    about = event.get("involvedObject") or {}
    return "/".join(filter(None, ((about.get("kind") or "").lower(), about.get("name"))))


def _source(event: KubeObject, now: datetime) -> str:
    source = event.get("source") or {}
    component = source.get("component") or event.get("reportingComponent") or ""
    host = source.get("host") or event.get("reportingInstance") or ""
    return f"{component}, {host}" if host else component


def _wide_name() -> Column:
    return column(NAME.name, NAME.value, description=NAME.description, wide=True, format_=NAME.format)


COLUMNS = (
    column("Last Seen", _last_seen, description="How long ago it was last observed."),
    column("Type", lambda event, now: event.get("type", ""), description="Normal or Warning."),
    column("Reason", lambda event, now: event.get("reason", ""), description="Why, in one word."),
    column("Object", _object, description="The object that it is about."),
    column(
        "Subobject",
        lambda event, now: (event.get("involvedObject") or {}).get("fieldPath", ""),
        description="The part of the object that it is about.",
        wide=True,
    ),
    column("Source", _source, description="The part of the system that reports it.", wide=True),
    column("Message", lambda event, now: (event.get("message") or "").strip(), description="What happened."),
    column("First Seen", _first_seen, description="How long ago it was first observed.", wide=True),
    column("Count", _count, description="How often it was observed.", type_="integer", wide=True),
    _wide_name(),
)
