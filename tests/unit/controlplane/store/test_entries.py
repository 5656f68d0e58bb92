"""Entries: resourceVersions spliced into stored bytes, and the bounded set of decoded objects."""

from __future__ import annotations

import msgspec
import pytest

from controlplane.store.entry import SUPERSEDED_ENTRIES, DecodedObjects, deleted_entry, read_entry, stamped
from controlplane.store.store import KeyValue
from flotilla.api.objects import decode, encode
from flotilla.api.resources import CONFIG_MAPS, DEPLOYMENTS, PODS
from tests.unit.controlplane.store.conftest import stored

NESTED = {"template": {"metadata": {"labels": {"resourceVersion": "7"}, "resourceVersion": "3"}}}


def item(value: bytes, *, revision: int = 9) -> KeyValue:
    return KeyValue("/registry/pods/default/a", value, 3, revision)


@pytest.mark.parametrize(
    "value",
    [
        stored("a"),
        stored("a", spec=NESTED),
        encode({"spec": NESTED, "kind": "Pod", "metadata": {"name": "a"}}),
        encode({"apiVersion": "odd{", "kind": 'Po"d', "metadata": {"name": "a"}, "spec": NESTED}),
        encode({"kind": "Pod", "metadata": {"labels": {"x": '"metadata":{'}, "name": "a", "resourceVersion": "5"}}),
        encode({"note": '"metadata":{', "kind": "Pod", "metadata": {"name": "a"}}),
        b' { "kind" : "Pod", "metadata" : { "name" : "a" } } ',
    ],
)
def test_stamp_changes_the_resource_version_alone(value: bytes) -> None:
    """However an object is laid out, stamping sets its own metadata.resourceVersion and nothing else."""
    expected = decode(value)
    expected["metadata"]["resourceVersion"] = "42"
    assert decode(stamped(value, 42)) == expected


@pytest.mark.parametrize("value", [stored("a", spec=NESTED), encode({"spec": NESTED, "metadata": {"name": "a"}})])
def test_deleted_entry_carries_the_revision_of_its_delete(value: bytes) -> None:
    """A deleted entry is the last state with the delete's revision, in its bytes as well."""
    last = read_entry(DEPLOYMENTS, item(value), DecodedObjects(maximum_bytes=1000))
    deleted = deleted_entry(last, 12)
    expected = decode(value)
    expected["metadata"]["resourceVersion"] = "12"
    assert deleted.obj == expected
    assert (deleted.revision, deleted.created, deleted.uid) == (12, 3, last.uid)
    assert last.obj["metadata"]["resourceVersion"] == "9"


def test_entry_reads_what_is_looked_up() -> None:
    """An entry knows name, labels, owners and node of its object."""
    owners = [{"kind": "ReplicaSet", "name": "r", "uid": "u1"}, {"kind": "Other", "name": "o", "uid": "u2"}]
    value = stored("a", metadata={"labels": {"app": "web"}, "ownerReferences": owners}, spec={"nodeName": "n1"})
    entry = read_entry(PODS, item(value), DecodedObjects(maximum_bytes=1000))
    assert (entry.namespace, entry.name, entry.uid, entry.node) == ("default", "a", "uid-a", "n1")
    assert (entry.labels, entry.owners, entry.revision, entry.created) == ({"app": "web"}, ("u1", "u2"), 9, 3)


def test_only_pods_have_a_node() -> None:
    """A field of the same name in another kind means nothing to the cache."""
    entry = read_entry(CONFIG_MAPS, item(stored("a", spec={"nodeName": 5})), DecodedObjects(maximum_bytes=1000))
    assert entry.node == ""


@pytest.mark.parametrize("value", [b"", b"{}", b"[]", b"not json", encode({"metadata": {"labels": {}}})])
def test_value_without_a_name_is_no_object(value: bytes) -> None:
    """What is no object with a name is refused as undecodable."""
    with pytest.raises(msgspec.DecodeError):
        read_entry(PODS, item(value), DecodedObjects(maximum_bytes=1000))


def test_decoded_objects_are_shared_until_there_are_too_many() -> None:
    """Readers get one decoded object until its place is needed for others; a copy is always private."""
    decoded = DecodedObjects(maximum_bytes=3 * len(stored("a0")) + 100)
    entries = [read_entry(PODS, item(stored(f"a{number}")), decoded) for number in range(5)]
    first = entries[0].obj
    assert entries[0].obj is first
    assert entries[0].copy() == first
    assert entries[0].copy() is not first
    for entry in entries[1:]:
        assert entry.obj["metadata"]["name"] == entry.name
    assert entries[0].obj is not first
    assert entries[0].obj == first


def test_superseded_states_are_let_go_first() -> None:
    """A state that was superseded stays decoded while the change is handled, and leaves its room to present ones."""
    decoded = DecodedObjects(maximum_bytes=1 << 20)
    present, *past = [read_entry(PODS, item(stored(f"a{number}")), decoded) for number in range(SUPERSEDED_ENTRIES + 2)]
    objects = [entry.obj for entry in past]
    shown = present.obj
    for entry in past:
        decoded.supersede(entry)
    assert past[0].obj is not objects[0]
    assert past[0].obj == objects[0]
    assert all(entry.obj is obj for entry, obj in zip(past[1:], objects[1:], strict=True))
    assert present.obj is shown
