"""Assignments as messages: numbered, and cut so that each stays under 1 MiB (gRPC's own limit is 4 MiB).

A single object may be 1 MiB by itself and then travels alone. The envelope around an object is small and bounded, so
sizes are counted from the JSON and a fixed allowance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from controlplane.dispatcher.assignments import Assigned, Difference, ObjectKey
from protos import dispatcher_pb2 as pb

CHUNK_BYTES = 1_000_000
ENVELOPE_BYTES = 600  # the key (253 + 63 characters at most), the version, and protobuf's framing


@dataclass(frozen=True, slots=True)
class Moment:
    """The state of the store that a message reflects."""

    history_id: str
    revision: int


def set_messages(
    objects: Sequence[Assigned], moment: Moment, *, sequence: int, confirmed: bool
) -> Iterator[pb.ServerMessage]:
    """A complete set in chunks; all carry the set's number, the last one says so."""
    chunks = list(_chunks(objects)) or [[]]
    for index, chunk in enumerate(chunks):
        yield pb.ServerMessage(
            assignment_set=pb.AssignmentSet(
                history_id=moment.history_id,
                revision=moment.revision,
                sequence=sequence,
                objects=[_assigned(each) for each in chunk],
                last=index == len(chunks) - 1,
                confirmed=confirmed,
            )
        )


def increment_messages(change: Difference, moment: Moment, *, sequence: int) -> Iterator[pb.ServerMessage]:
    """An increment, numbered from ``sequence`` on; removals travel with the last part."""
    chunks = list(_chunks(change.changed)) or [[]]
    for index, chunk in enumerate(chunks):
        removed = change.removed if index == len(chunks) - 1 else ()
        yield pb.ServerMessage(
            increment=pb.Increment(
                history_id=moment.history_id,
                revision=moment.revision,
                sequence=sequence + index,
                changed=[_assigned(each) for each in chunk],
                removed=[_key(key) for key in removed],
            )
        )


def _chunks(objects: Sequence[Assigned]) -> Iterator[list[Assigned]]:
    chunk: list[Assigned] = []
    size = 0
    for each in objects:
        needed = len(each.json) + ENVELOPE_BYTES
        if chunk and size + needed > CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(each)
        size += needed
    if chunk:
        yield chunk


def _assigned(each: Assigned) -> pb.Assigned:
    return pb.Assigned(key=_key(each.key), resource_version=each.resource_version, json=each.json)


def _key(key: ObjectKey) -> pb.ObjectKey:
    return pb.ObjectKey(resource=key.resource, namespace=key.namespace, name=key.name)
