"""One session's assignment messages put together: chunks into sets, and increments in their order.

Each session numbers its own messages, and a gap asks for a complete set. A refusal is an answer too: the reason goes
back to the server, which then sends a set.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from nodeagent.assigned import Assignments, Held, Moment, ObjectKey, OutdatedError
from protos import dispatcher_pb2 as pb


class Applier(Protocol):
    """Who carries out what the assignments have come to."""

    assignments: Assignments

    def applied(self, keys: Iterable[ObjectKey]) -> None: ...

    def let_go(self) -> None: ...


def _key(key: pb.ObjectKey) -> ObjectKey:
    return ObjectKey(key.resource, key.namespace, key.name)


def _held(objects: Iterable[pb.Assigned]) -> dict[ObjectKey, Held]:
    return {_key(each.key): Held(each.resource_version, each.json) for each in objects}


@dataclass(slots=True)
class Incoming:
    """The state of one session's numbering; made anew for each session."""

    applier: Applier
    _sequence: int = 0
    _collecting: int = 0
    _chunks: dict[ObjectKey, Held] = field(default_factory=dict)

    def take_set(self, message: pb.AssignmentSet) -> str:
        """Take one chunk of a set and apply the set with its last; a reason for a resync, or an empty string."""
        if message.sequence != self._collecting:
            self._collecting, self._chunks = message.sequence, {}
        self._chunks |= _held(message.objects)
        if not message.last:
            return ""
        objects, self._chunks, self._collecting = self._chunks, {}, 0
        moment = Moment(message.history_id, message.revision)
        try:
            changed = self.applier.assignments.replace(objects, moment, confirmed=message.confirmed)
        except OutdatedError as error:
            self._sequence = 0
            return str(error)
        self._sequence = message.sequence
        self.applier.applied(changed)
        if message.confirmed:
            self.applier.let_go()
        return ""

    def take_increment(self, message: pb.Increment) -> str:
        """Apply an increment; a reason for a resync, or an empty string.

        One that another session has overtaken is passed over: what it says is in force already. Before the session's
        first set, increments have nothing to build on and are dropped.
        """
        if not self._sequence:
            return ""
        if message.sequence != self._sequence + 1:
            expected, self._sequence = self._sequence + 1, 0
            return f"expected increment {expected}, got {message.sequence}"
        self._sequence = message.sequence
        moment = Moment(message.history_id, message.revision)
        removed = [_key(key) for key in message.removed]
        assignments = self.applier.assignments
        if not assignments.follows(moment):
            self._sequence = 0
            return f"the increment is of history {moment.history_id}, which is not the one applied"
        try:
            changed = assignments.change(_held(message.changed), removed, moment)
        except OutdatedError:
            return ""
        self.applier.applied(changed)
        return ""
