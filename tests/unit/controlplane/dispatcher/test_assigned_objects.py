"""Which objects a pod needs, and what of an object makes it new for a node."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from controlplane.dispatcher.assignments import NodeAssignments, ObjectKey, Renderer, references, render, routing_view
from flotilla.api.objects import KubeObject, decode, encode
from flotilla.api.registry import Resource
from flotilla.api.resources import NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, SERVICES
from flotilla.api.storage import LOCAL_PATH_DRIVER, NODE_ATTRIBUTE


@dataclass(frozen=True)
class Stored:
    resource: Resource
    obj: KubeObject
    revision: int = 1
    namespace: str = "default"
    name: str = "object"
    node: str = ""

    @property
    def data(self) -> bytes:
        return encode(self.obj)


def _pod(**spec: Any) -> KubeObject:
    metadata = {"name": "pod", "namespace": "default", "resourceVersion": "1", "managedFields": [{}]}
    return {"metadata": metadata, "spec": {"containers": [], **spec}, "status": {"phase": "Pending"}}


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"volumes": [{"configMap": {"name": "a"}}]}, ("configmaps", "a")),
        ({"volumes": [{"secret": {"secretName": "a"}}]}, ("secrets", "a")),
        ({"volumes": [{"projected": {"sources": [{"configMap": {"name": "a"}}]}}]}, ("configmaps", "a")),
        ({"volumes": [{"projected": {"sources": [{"secret": {"name": "a"}}]}}]}, ("secrets", "a")),
        ({"containers": [{"envFrom": [{"configMapRef": {"name": "a"}}]}]}, ("configmaps", "a")),
        ({"containers": [{"envFrom": [{"secretRef": {"name": "a", "optional": True}}]}]}, ("secrets", "a")),
        ({"containers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": "a"}}}]}]}, ("configmaps", "a")),
        ({"initContainers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "a"}}}]}]}, ("secrets", "a")),
        ({"ephemeralContainers": [{"envFrom": [{"secretRef": {"name": "a"}}]}]}, ("secrets", "a")),
        ({"imagePullSecrets": [{"name": "a"}]}, ("secrets", "a")),
        ({"volumes": [{"persistentVolumeClaim": {"claimName": "a"}}]}, ("persistentvolumeclaims", "a")),
        ({"volumes": [{"name": "a", "ephemeral": {}}]}, ("persistentvolumeclaims", "pod-a")),
    ],
)
def test_every_way_to_name_an_object_is_found(spec: dict[str, Any], wanted: tuple[str, str]) -> None:
    """Each place of a pod that can name a ConfigMap, Secret or claim is a reference in the pod's namespace."""
    assert references(_pod(**spec)) == {ObjectKey(wanted[0], "default", wanted[1])}


def test_a_runtime_class_is_a_reference() -> None:
    """It has no namespace."""
    assert references(_pod(runtimeClassName="gvisor")) == {ObjectKey("runtimeclasses", "", "gvisor")}


def test_values_and_other_volumes_are_no_references() -> None:
    """Plain values, field references and other volumes need nothing."""
    env = [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    volumes = [{"emptyDir": {}}, {"hostPath": {"path": "/"}}, {"projected": {"sources": [{"downwardAPI": {}}]}}]
    assert references(_pod(containers=[{"env": env}], volumes=volumes)) == frozenset()


def _status(pod: KubeObject) -> None:
    pod["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}


def _version(pod: KubeObject) -> None:
    pod["metadata"]["resourceVersion"] = "2"
    pod["metadata"]["managedFields"] = [{"manager": "other"}]


def _deletion(pod: KubeObject) -> None:
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"


def _label(pod: KubeObject) -> None:
    pod["metadata"]["labels"] = {"a": "b"}


def _image(pod: KubeObject) -> None:
    pod["spec"]["containers"] = [{"name": "app", "image": "app:2"}]


def _gate(pod: KubeObject) -> None:
    pod["status"]["conditions"] = [{"type": "example.com/gate", "status": "True"}]


@pytest.mark.parametrize(
    ("edit", "new"),
    [(_status, False), (_version, False), (_deletion, True), (_label, True), (_image, True), (_gate, True)],
)
def test_a_pod_is_new_when_what_is_wanted_of_it_changes(edit: Callable[[KubeObject], None], new: bool) -> None:
    """A status write of the node itself is not echoed; intent and readiness gates are passed on."""
    gates = [{"conditionType": "example.com/gate"}]
    before, after = _pod(readinessGates=gates), _pod(readinessGates=gates)
    edit(after)
    fingerprints = {render(Stored(PODS, pod, revision)).fingerprint for revision, pod in enumerate((before, after))}
    assert (len(fingerprints) == 2) is new


def test_pods_travel_whole_but_for_managed_fields() -> None:
    """An agent that has lost its checkpoint finds the last status in the pod."""
    sent = decode(render(Stored(PODS, _pod())).json)
    assert sent["status"] == {"phase": "Pending"}
    assert "managedFields" not in sent["metadata"]


def test_nodes_are_cut_down_to_what_routing_needs() -> None:
    """Heartbeats, images and conditions of a node concern no other node."""
    node = {
        "metadata": {"name": "one", "uid": "u", "labels": {"a": "b"}},
        "spec": {"podCIDR": "10.42.0.0/24", "taints": [{}]},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}], "images": [{}]},
    }
    assert routing_view(node) == {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "one", "uid": "u"},
        "spec": {"podCIDR": "10.42.0.0/24"},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]},
    }


def test_shared_objects_are_rendered_once() -> None:
    """Every node gets the very same rendering, until the object changes."""
    renderer = Renderer()
    node: KubeObject = {"metadata": {"name": "one"}}
    first = renderer(Stored(NODES, node, 1))
    assert renderer(Stored(NODES, node, 1)) is first
    assert renderer(Stored(NODES, node, 2)) is not first
    service = Stored(SERVICES, node, 1)
    assert renderer(service).json == encode(node)
    restored = Stored(SERVICES, node | {"spec": {"clusterIP": "10.43.0.9"}}, 1)
    assert renderer(restored).json == encode(restored.obj)


class _Cluster:
    """Objects by key, as a cache has them."""

    def __init__(self) -> None:
        self.objects: dict[ObjectKey, Stored] = {}

    def put(self, resource: Resource, obj: KubeObject, *, node: str = "") -> None:
        namespace, name = obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
        stored = Stored(resource, obj, len(self.objects) + 1, namespace, name, node)
        self.objects[ObjectKey(resource.plural, namespace, name)] = stored

    def get(self, resource: Resource, namespace: str, name: str) -> Stored | None:
        return self.objects.get(ObjectKey(resource.plural, namespace, name))

    def list(self, resource: Resource) -> Iterable[Stored]:
        return [each for each in self.objects.values() if each.resource is resource]

    def pods_on_node(self, node: str) -> Iterable[Stored]:
        return [each for each in self.list(PODS) if each.node == node]


def _claim(volume: str = "") -> KubeObject:
    return {"metadata": {"name": "data", "namespace": "default"}, "spec": {"volumeName": volume} if volume else {}}


def _volume(name: str, node: str = "") -> KubeObject:
    source = {"csi": {"driver": LOCAL_PATH_DRIVER, "volumeAttributes": {NODE_ATTRIBUTE: node}}} if node else {}
    return {"metadata": {"name": name}, "spec": source}


def test_claims_bring_their_volumes() -> None:
    """A node gets a pod's claim and the volume that it has, also when it has it later, and loses both with the pod."""
    cluster = _Cluster()
    claim, volume = ObjectKey("persistentvolumeclaims", "default", "data"), ObjectKey("persistentvolumes", "", "v")
    user = ObjectKey("pods", "default", "pod")
    cluster.put(PODS, _pod(volumes=[{"persistentVolumeClaim": {"claimName": "data"}}]), node="a")
    cluster.put(PERSISTENT_VOLUME_CLAIMS, _claim())
    cluster.put(PERSISTENT_VOLUMES, _volume("v"))
    assignments = NodeAssignments("a", cluster)
    assert [each.key for each in assignments.complete()] == [claim, user]
    assert assignments.needs(claim) and not assignments.needs(volume)
    cluster.put(PERSISTENT_VOLUME_CLAIMS, _claim("v"))
    assignments.mark(claim)
    assert [each.key for each in assignments.increment().changed] == [volume, claim]
    assert assignments.needs(volume)
    assert [each.key for each in NodeAssignments("a", cluster).complete()] == [volume, claim, user]
    del cluster.objects[user]
    assignments.mark(user)
    assert assignments.increment().removed == (user, claim, volume)
    assert not assignments.needs(volume)


def test_a_node_holds_the_volumes_whose_data_it_has() -> None:
    """Used or not, so that it learns when they are to go; and no other node does."""
    cluster = _Cluster()
    cluster.put(PERSISTENT_VOLUMES, _volume("mine", "a"))
    cluster.put(PERSISTENT_VOLUMES, _volume("theirs", "b"))
    cluster.put(PERSISTENT_VOLUMES, _volume("shared"))
    assignments = NodeAssignments("a", cluster)
    assert [each.key.name for each in assignments.complete()] == ["mine"]
    for name in ("theirs", "shared", "mine"):
        assignments.mark(ObjectKey("persistentvolumes", "", name))
    assert not assignments.increment()
    del cluster.objects[ObjectKey("persistentvolumes", "", "mine")]
    assignments.mark(ObjectKey("persistentvolumes", "", "mine"))
    assert [key.name for key in assignments.increment().removed] == ["mine"]
