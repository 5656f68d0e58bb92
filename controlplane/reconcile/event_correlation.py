"""Which stored Event an occurrence belongs to: pure bookkeeping without I/O.

The same occurrence (object, type, reason, message, component) is one Event that counts. Ten different messages of one
reason about one object within ten minutes become one combined Event, so that a Deployment of a thousand pods doesn't
write a thousand of them. Source: client-go ``tools/record/events_cache.go``.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flotilla.api.objects import KubeObject, format_time

DISTINCT_MESSAGES = 10
COMBINED_WITHIN_S = 600.0
COMBINED_PREFIX = "(combined from similar events): "
_REMEMBERED = 4096
_LONGEST_MESSAGE = 1024
_LONGEST_OBJECT_NAME = 236


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One thing that happened to the object of ``reference`` (a core/v1 ObjectReference)."""

    reference: Mapping[str, Any]
    type: str
    reason: str
    message: str
    component: str
    host: str = ""

    @property
    def kind_of_event(self) -> tuple[str, ...]:
        """What occurrences with different messages have in common."""
        about = self.reference
        identity = (about.get("kind", ""), about.get("namespace", ""), about.get("name", ""), about.get("uid", ""))
        return (*identity, about.get("fieldPath", ""), self.type, self.reason, self.component, self.host)


@dataclass(slots=True)
class _Similar:
    last_s: float
    messages: list[bytes] = field(default_factory=list)


class Correlator:
    """Remembers the messages of each kind of event for ten minutes, all of them as digests: there may be thousands."""

    def __init__(self) -> None:
        self._similar: OrderedDict[bytes, _Similar] = OrderedDict()

    def correlate(self, occurrence: Occurrence, *, now_s: float) -> tuple[str, str]:
        """The name of the Event that stands for the occurrence, and the message it shall show."""
        kind = occurrence.kind_of_event
        similar = self._recall(_digest(kind), now_s)
        message = occurrence.message[:_LONGEST_MESSAGE]
        known = _digest((message,))
        if known not in similar.messages and len(similar.messages) < DISTINCT_MESSAGES - 1:
            similar.messages.append(known)
        if known in similar.messages:
            return event_name(occurrence.reference["name"], (*kind, message)), message
        return event_name(occurrence.reference["name"], kind), (COMBINED_PREFIX + message)[:_LONGEST_MESSAGE]

    def _recall(self, kind: bytes, now_s: float) -> _Similar:
        similar = self._similar.pop(kind, None)
        if similar is None or now_s - similar.last_s > COMBINED_WITHIN_S:
            similar = _Similar(now_s)
        similar.last_s = now_s
        self._similar[kind] = similar
        while len(self._similar) > _REMEMBERED or now_s - self._oldest_s() > COMBINED_WITHIN_S:
            self._similar.popitem(last=False)
        return similar

    def _oldest_s(self) -> float:
        return next(iter(self._similar.values())).last_s


def event_name(object_name: str, identity: tuple[str, ...]) -> str:
    """The object's name and sixteen hexadecimal digits that the identity determines."""
    return f"{object_name[:_LONGEST_OBJECT_NAME]}.{_digest(identity).hex()}"


def _digest(identity: tuple[str, ...]) -> bytes:
    return hashlib.blake2b("\0".join(identity).encode(), digest_size=8).digest()


def event_namespace(reference: Mapping[str, Any]) -> str:
    """Where events about the object live: its own namespace, ``default`` for cluster-scoped objects."""
    return reference.get("namespace") or "default"


def new_event(
    name: str, occurrence: Occurrence, message: str, *, count: int, first: datetime, last: datetime
) -> KubeObject:
    """The core/v1 Event of ``count`` occurrences."""
    source = {"component": occurrence.component}
    if occurrence.host:
        source["host"] = occurrence.host
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": event_namespace(occurrence.reference)},
        "involvedObject": dict(occurrence.reference),
        "reason": occurrence.reason,
        "message": message,
        "source": source,
        "firstTimestamp": format_time(first),
        "lastTimestamp": format_time(last),
        "count": count,
        "type": occurrence.type,
        "eventTime": None,
        "reportingComponent": occurrence.component,
        "reportingInstance": occurrence.host,
    }
