"""What must hold of assignments, whatever happens in the cluster and in whichever portions it is looked at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controlplane.dispatcher.assignments import (
    Assigned,
    Difference,
    NodeAssignments,
    ObjectKey,
    Renderer,
    difference,
    key_of,
)
from controlplane.dispatcher.messages import Moment, increment_messages, set_messages
from flotilla.api.objects import KubeObject, decode, encode
from flotilla.api.registry import Resource
from flotilla.api.resources import CONFIG_MAPS, NODES, PODS, SECRETS, SERVICES

NODE = "one"
NAMES = ("a", "b", "c")
Held = dict[ObjectKey, KubeObject]


@dataclass(frozen=True)
class Stored:
    """One state of one object."""

    resource: Resource
    namespace: str
    name: str
    revision: int
    obj: KubeObject
    node: str = ""

    @property
    def data(self) -> bytes:
        return encode(self.obj)


class Cluster:
    """Objects by key, and the keys that changed since the last look."""

    def __init__(self) -> None:
        self.objects: dict[ObjectKey, Stored] = {}
        self.changed: list[ObjectKey] = []
        self.revision = 0

    def get(self, resource: Resource, namespace: str, name: str) -> Stored | None:
        return self.objects.get(ObjectKey(resource.plural, namespace, name))

    def list(self, resource: Resource) -> Iterable[Stored]:
        return [each for each in self.objects.values() if each.resource is resource]

    def pods_on_node(self, node: str) -> Iterable[Stored]:
        return [each for each in self.list(PODS) if each.node == node]

    def put(self, resource: Resource, name: str, content: KubeObject, *, node: str = "") -> None:
        self.revision += 1
        namespace = "" if resource is NODES else "default"
        metadata = {"name": name, "namespace": namespace, "resourceVersion": str(self.revision)}
        stored = Stored(resource, namespace, name, self.revision, {"metadata": metadata, **content}, node)
        self.objects[key_of(stored)] = stored
        self.changed.append(key_of(stored))

    def delete(self, resource: Resource, name: str) -> None:
        key = ObjectKey(resource.plural, "" if resource is NODES else "default", name)
        if self.objects.pop(key, None) is not None:
            self.changed.append(key)


def _pod(name: str, node: str, config_map: str, secret: str, phase: str) -> Any:
    volumes = [{"name": "c", "configMap": {"name": config_map}}] if config_map else []
    pull = [{"name": secret}] if secret else []
    spec = {"nodeName": node, "containers": [{"name": "app"}], "volumes": volumes, "imagePullSecrets": pull}
    return ("pod", name, node, {"spec": spec, "status": {"phase": phase}})


NAME = st.sampled_from(NAMES)
CHANGES = st.one_of(
    st.builds(
        _pod,
        NAME,
        st.sampled_from([NODE, "two", ""]),
        st.sampled_from(["", *NAMES]),
        st.sampled_from(["", *NAMES]),
        st.sampled_from(["Pending", "Running"]),
    ),
    st.tuples(st.just("data"), st.sampled_from([CONFIG_MAPS, SECRETS, SERVICES]), NAME, st.integers(0, 3)),
    st.tuples(st.just("node"), NAME, st.sampled_from(["10.42.0.0/24", "10.42.1.0/24"]), st.integers(0, 9)),
    st.tuples(st.just("delete"), st.sampled_from([PODS, CONFIG_MAPS, SECRETS, SERVICES, NODES]), NAME),
)


def _apply(cluster: Cluster, change: Any) -> None:
    match change:
        case "pod", name, node, content:
            cluster.put(PODS, name, content, node=node)
        case "data", resource, name, value:
            cluster.put(resource, name, {"data": {"value": str(value)}})
        case "node", name, network, pressure:
            cluster.put(NODES, name, {"spec": {"podCIDR": network}, "status": {"pressure": pressure}})
        case "delete", resource, name:
            cluster.delete(resource, name)


def _expected(cluster: Cluster) -> Held:
    """What the node must hold, computed anew."""
    fresh = NodeAssignments(NODE, cluster)
    return {each.key: _essence(each) for each in fresh.complete()}


def _essence(assigned: Assigned) -> KubeObject:
    """The object without what comes from the node itself or counts writes."""
    obj = {name: part for name, part in decode(assigned.json).items() if name != "status"}
    metadata = {name: value for name, value in obj["metadata"].items() if name != "resourceVersion"}
    return {**obj, "metadata": metadata}


def _take(held: Held, change: Difference) -> None:
    held.update({each.key: _essence(each) for each in change.changed})
    for key in change.removed:
        del held[key]


@given(before=st.lists(CHANGES, max_size=12), batches=st.lists(st.lists(CHANGES, max_size=5), max_size=8))
def test_a_set_and_increments_lead_where_a_fresh_set_leads(before: list[Any], batches: list[list[Any]]) -> None:
    """After any batch of events, in any portions, the node holds exactly what a complete set would give it."""
    cluster = Cluster()
    for change in before:
        _apply(cluster, change)
    assignments = NodeAssignments(NODE, cluster, renderer=Renderer())
    held: Held = {each.key: _essence(each) for each in assignments.complete()}
    cluster.changed.clear()
    for batch in batches:
        for change in batch:
            _apply(cluster, change)
        for key in cluster.changed:
            if key.resource not in ("configmaps", "secrets") or assignments.needs(key):
                assignments.mark(key)
        cluster.changed.clear()
        _take(held, assignments.increment())
        assert held == _expected(cluster)


@given(before=st.lists(CHANGES, max_size=20))
def test_nothing_is_sent_twice(before: list[Any]) -> None:
    """Looking again at everything without a change sends nothing."""
    cluster = Cluster()
    for change in before:
        _apply(cluster, change)
    assignments = NodeAssignments(NODE, cluster)
    assignments.complete()
    for key in cluster.changed:
        assignments.mark(key)
    assert not assignments.increment()


@given(before=st.lists(CHANGES, max_size=20))
def test_a_set_holds_no_object_of_others(before: list[Any]) -> None:
    """A node gets no pod of another node, and no ConfigMap or Secret that its own pods don't name."""
    cluster = Cluster()
    for change in before:
        _apply(cluster, change)
    sent = {each.key for each in NodeAssignments(NODE, cluster).complete()}
    pods = [pod.obj["spec"] for pod in cluster.pods_on_node(NODE)]
    named = {volume["configMap"]["name"] for spec in pods for volume in spec["volumes"]}
    secrets = {secret["name"] for spec in pods for secret in spec["imagePullSecrets"]}
    assert {key.name for key in sent if key.resource == "pods"} == {pod.name for pod in cluster.pods_on_node(NODE)}
    assert {key.name for key in sent if key.resource == "configmaps"} <= named
    assert {key.name for key in sent if key.resource == "secrets"} <= secrets


SIZES = st.lists(st.integers(1, 700_000), max_size=12)


def _objects(sizes: list[int]) -> list[Assigned]:
    keys = [ObjectKey("configmaps", "default", f"map-{index}") for index in range(len(sizes))]
    return [Assigned(key, 1, b"1", b"x" * size) for key, size in zip(keys, sizes, strict=True)]


@given(sizes=SIZES)
def test_sets_are_cut_without_loss(sizes: list[int]) -> None:
    """Chunks are under 1 MiB, together they are the set, and exactly the last one says that it is the last."""
    parts = [
        message.assignment_set
        for message in set_messages(_objects(sizes), Moment("history", 7), sequence=3, confirmed=True)
    ]
    assert all(part.ByteSize() < 1 << 20 for part in parts)
    assert [len(each.json) for part in parts for each in part.objects] == sizes
    assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]
    assert {(part.sequence, part.revision, part.history_id) for part in parts} == {(3, 7, "history")}


@given(sizes=SIZES)
def test_increments_are_numbered_without_gaps(sizes: list[int]) -> None:
    """A large increment becomes several, each with the next number; what is removed goes with the last."""
    gone = ObjectKey("pods", "default", "gone")
    change = Difference(tuple(_objects(sizes)), (gone,))
    parts = [message.increment for message in increment_messages(change, Moment("history", 7), sequence=5)]
    assert [part.sequence for part in parts] == list(range(5, 5 + len(parts)))
    assert [bool(part.removed) for part in parts] == [False] * (len(parts) - 1) + [True]


def test_pods_come_after_what_they_need_and_go_before_it() -> None:
    """Within one increment an agent never sees a pod before its ConfigMap, or loses the ConfigMap first."""
    pod, config_map = ObjectKey("pods", "default", "a"), ObjectKey("configmaps", "default", "z")
    wanted = {key: Assigned(key, 1, b"1", b"{}") for key in (pod, config_map)}
    assert [each.key for each in difference({}, wanted).changed] == [config_map, pod]
    gone = difference({pod: b"1", config_map: b"1"}, {config_map: None, pod: None})
    assert gone.removed == (pod, config_map)
