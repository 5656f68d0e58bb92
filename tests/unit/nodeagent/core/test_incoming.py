"""One session's messages, put together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from nodeagent.assigned import Assignments, ObjectKey
from nodeagent.incoming import Incoming
from protos import dispatcher_pb2 as pb


@dataclass
class Recorder:
    """Takes down what is applied."""

    assignments: Assignments = field(default_factory=Assignments)
    changes: list[set[str]] = field(default_factory=list)
    releases: int = 0

    def applied(self, keys: Iterable[ObjectKey]) -> None:
        self.changes.append({key.name for key in keys})

    def let_go(self) -> None:
        self.releases += 1


def assigned(name: str, version: int = 1) -> pb.Assigned:
    key = pb.ObjectKey(resource="pods", namespace="n", name=name)
    return pb.Assigned(key=key, resource_version=version, json=b"{}")


def chunk(
    *names: str, sequence: int = 1, revision: int = 5, last: bool = True, confirmed: bool = True
) -> pb.AssignmentSet:
    objects = [assigned(name) for name in names]
    return pb.AssignmentSet(
        history_id="h", revision=revision, sequence=sequence, objects=objects, last=last, confirmed=confirmed
    )


def increment(*names: str, sequence: int, revision: int = 6, history: str = "h") -> pb.Increment:
    changed = [assigned(name, revision) for name in names]
    return pb.Increment(history_id=history, revision=revision, sequence=sequence, changed=changed)


def test_a_set_counts_once_its_last_chunk_is_there() -> None:
    """Half a set must not make pods of the other half disappear."""
    recorder = Recorder()
    incoming = Incoming(recorder)
    assert incoming.take_set(chunk("a", last=False)) == ""
    assert recorder.changes == []
    assert incoming.take_set(chunk("b")) == ""
    assert (recorder.changes, recorder.releases) == ([{"a", "b"}], 1)


def test_an_unfinished_set_is_dropped_for_the_next() -> None:
    """Chunks of two sets are never mixed."""
    recorder = Recorder()
    incoming = Incoming(recorder)
    incoming.take_set(chunk("stale", sequence=1, last=False))
    incoming.take_set(chunk("a", sequence=2))
    assert recorder.changes == [{"a"}]


def test_increments_follow_the_set() -> None:
    """In order they are applied one by one."""
    recorder = Recorder()
    incoming = Incoming(recorder)
    incoming.take_set(chunk("a"))
    assert incoming.take_increment(increment("b", sequence=2)) == ""
    assert incoming.take_increment(increment("c", sequence=3, revision=7)) == ""
    assert recorder.changes == [{"a"}, {"b"}, {"c"}]


def test_a_gap_asks_for_a_set_once() -> None:
    """After a gap nothing is applied until the set has come."""
    recorder = Recorder()
    incoming = Incoming(recorder)
    incoming.take_set(chunk("a"))
    assert "expected increment 2, got 3" in incoming.take_increment(increment("c", sequence=3))
    assert incoming.take_increment(increment("d", sequence=4)) == ""
    assert recorder.changes == [{"a"}]
    incoming.take_set(chunk("a", "c", "d", sequence=5, revision=8))
    assert recorder.changes[-1] == {"c", "d"}


def test_an_outdated_set_is_answered() -> None:
    """The server hears why its set was refused; increments on top of it are not applied."""
    recorder = Recorder()
    Incoming(recorder).take_set(chunk("a", revision=9))
    late = Incoming(recorder)
    assert "revision 5" in late.take_set(chunk("b", revision=5))
    assert late.take_increment(increment("c", sequence=2)) == ""
    assert recorder.changes == [{"a"}]


def test_an_increment_overtaken_by_another_session_is_passed_over() -> None:
    """Its number counts, its contents are in force already."""
    recorder = Recorder()
    slow, fast = Incoming(recorder), Incoming(recorder)
    slow.take_set(chunk("a"))
    fast.take_set(chunk("a"))
    fast.take_increment(increment("b", sequence=2, revision=9))
    assert slow.take_increment(increment("b", sequence=2, revision=8)) == ""
    assert slow.take_increment(increment("c", sequence=3, revision=10)) == ""
    assert recorder.changes == [{"a"}, set(), {"b"}, {"c"}]


def test_an_unconfirmed_set_releases_nothing() -> None:
    """Only a confirmed set says which pods are not this node's."""
    recorder = Recorder()
    Incoming(recorder).take_set(chunk("a", confirmed=False))
    assert recorder.releases == 0


def test_an_increment_of_another_history_asks_for_a_set() -> None:
    """Increments never carry a node from one history to another."""
    recorder = Recorder()
    incoming = Incoming(recorder)
    incoming.take_set(chunk("a"))
    assert "history" in incoming.take_increment(increment("b", sequence=2, history="other"))
