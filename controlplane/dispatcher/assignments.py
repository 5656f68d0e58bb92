"""What a node must hold, and how that differs from what it was sent. Pure: no clock, no I/O, no protobuf.

A node holds its own pods, the ConfigMaps, Secrets, claims and RuntimeClasses that exactly those pods name, the volumes
of these claims, those whose data it has itself, every Service and EndpointSlice, and of every Node what routing needs.
The state is level-triggered: an event only marks keys as worth a look, and the difference is computed from the cluster
as it is then, so that events may be repeated, merged or arrive late.

A pod's fingerprint leaves its status out, because the status comes from the node itself and would be echoed back with
every write; conditions that the pod's readiness gates name are the exception, since others set them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from flotilla.api.objects import KubeObject, encode
from flotilla.api.registry import Resource
from flotilla.api.resources import (
    CONFIG_MAPS,
    ENDPOINT_SLICES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    RUNTIME_CLASSES,
    SECRETS,
    SERVICES,
)
from flotilla.api.storage import claims_of, local_node

SHARED = (SERVICES, ENDPOINT_SLICES, NODES)
REFERENCED = (PERSISTENT_VOLUMES, PERSISTENT_VOLUME_CLAIMS, CONFIG_MAPS, SECRETS, RUNTIME_CLASSES)
ASSIGNABLE = (*REFERENCED, *SHARED, PODS)
_BY_PLURAL = {resource.plural: resource for resource in ASSIGNABLE}
# What pods need comes before the pods.
_ORDER = {resource.plural: rank for rank, resource in enumerate(ASSIGNABLE)}


class ObjectKey(NamedTuple):
    """An object that a node may hold; ``resource`` is the plural."""

    resource: str
    namespace: str
    name: str


class Stored(Protocol):
    """What is read of a cache entry."""

    @property
    def resource(self) -> Resource: ...
    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def revision(self) -> int: ...
    @property
    def node(self) -> str: ...
    @property
    def data(self) -> bytes: ...
    @property
    def obj(self) -> KubeObject: ...


class Cluster(Protocol):
    """The reads that assignments are computed from; the cache has them."""

    def get(self, resource: Resource, namespace: str, name: str) -> Stored | None: ...
    def list(self, resource: Resource) -> Iterable[Stored]: ...
    def pods_on_node(self, node: str) -> Iterable[Stored]: ...


@dataclass(frozen=True, slots=True)
class Assigned:
    """An object as a node gets it. Equal fingerprints mean that there is nothing new for the node."""

    key: ObjectKey
    resource_version: int
    fingerprint: bytes
    json: bytes


@dataclass(frozen=True, slots=True)
class Difference:
    """What to send: needed things before the pods that need them, pods removed before what they needed."""

    changed: tuple[Assigned, ...]
    removed: tuple[ObjectKey, ...]

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed)


def key_of(stored: Stored) -> ObjectKey:
    return ObjectKey(stored.resource.plural, stored.namespace, stored.name)


def references(pod: Mapping[str, Any]) -> frozenset[ObjectKey]:
    """Every ConfigMap, Secret, claim and RuntimeClass that the pod names, optional ones included."""
    spec = pod["spec"]
    namespace = pod["metadata"].get("namespace") or ""
    named = [*_volume_references(spec), *_environment_references(spec)]
    named += [(PERSISTENT_VOLUME_CLAIMS, name) for name in claims_of(pod)]
    named += [(SECRETS, secret.get("name")) for secret in spec.get("imagePullSecrets") or ()]
    named.append((RUNTIME_CLASSES, spec.get("runtimeClassName")))
    return frozenset(
        ObjectKey(resource.plural, namespace if resource.namespaced else "", name) for resource, name in named if name
    )


def volumes_of(claim: Mapping[str, Any]) -> frozenset[ObjectKey]:
    """The volume that a claim has."""
    name = claim["spec"].get("volumeName")
    return frozenset((ObjectKey(PERSISTENT_VOLUMES.plural, "", name),) if name else ())


def _volume_references(spec: Mapping[str, Any]) -> Iterator[tuple[Resource, str | None]]:
    for volume in spec.get("volumes") or ():
        yield CONFIG_MAPS, (volume.get("configMap") or {}).get("name")
        yield SECRETS, (volume.get("secret") or {}).get("secretName")
        for source in (volume.get("projected") or {}).get("sources") or ():
            yield CONFIG_MAPS, (source.get("configMap") or {}).get("name")
            yield SECRETS, (source.get("secret") or {}).get("name")


def _environment_references(spec: Mapping[str, Any]) -> Iterator[tuple[Resource, str | None]]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(kind) or ():
            for source in container.get("envFrom") or ():
                yield CONFIG_MAPS, (source.get("configMapRef") or {}).get("name")
                yield SECRETS, (source.get("secretRef") or {}).get("name")
            for variable in container.get("env") or ():
                source = variable.get("valueFrom") or {}
                yield CONFIG_MAPS, (source.get("configMapKeyRef") or {}).get("name")
                yield SECRETS, (source.get("secretKeyRef") or {}).get("name")


def render(stored: Stored) -> Assigned:
    """The object in the form in which nodes get it."""
    if stored.resource is PODS:
        return _render_pod(stored)
    if stored.resource is NODES:
        data = encode(routing_view(stored.obj))
        return Assigned(key_of(stored), stored.revision, _digest(data), data)
    return Assigned(key_of(stored), stored.revision, stored.revision.to_bytes(8, "big"), stored.data)


def routing_view(node: Mapping[str, Any]) -> KubeObject:
    """What other nodes need of a node: name, addresses, and the pods' network behind it."""
    metadata, spec, status = node["metadata"], node.get("spec") or {}, node.get("status") or {}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": metadata["name"], "uid": metadata.get("uid", "")},
        "spec": {name: spec[name] for name in ("podCIDR", "podCIDRs") if name in spec},
        "status": {"addresses": status.get("addresses") or []},
    }


def _render_pod(stored: Stored) -> Assigned:
    pod = stored.obj
    metadata = {name: value for name, value in pod["metadata"].items() if name != "managedFields"}
    intent = {name: value for name, value in metadata.items() if name != "resourceVersion"}
    gates = {gate.get("conditionType") for gate in pod["spec"].get("readinessGates") or ()}
    conditions = (pod.get("status") or {}).get("conditions") or ()
    gated = [(each["type"], each["status"]) for each in conditions if each.get("type") in gates]
    fingerprint = _digest(encode((intent, pod["spec"], gated)))
    return Assigned(key_of(stored), stored.revision, fingerprint, encode({**pod, "metadata": metadata}))


class Renderer:
    """:func:`render` that remembers what every node gets, so that a thousand nodes cost one encoding.

    It goes by the object's bytes too: a revision may stand for something else in the history of a restored backup.
    """

    def __init__(self) -> None:
        self._shared: dict[ObjectKey, tuple[bytes, Assigned]] = {}

    def __call__(self, stored: Stored) -> Assigned:
        if stored.resource not in SHARED:
            return render(stored)
        key = key_of(stored)
        known = self._shared.get(key)
        if known is None or known[1].resource_version != stored.revision or known[0] != stored.data:
            known = self._shared[key] = (stored.data, render(stored))
        return known[1]

    def forget(self, key: ObjectKey) -> None:
        """The object is gone."""
        self._shared.pop(key, None)


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def difference(sent: Mapping[ObjectKey, bytes], wanted: Mapping[ObjectKey, Assigned | None]) -> Difference:
    """How to bring a node that holds ``sent`` (key → fingerprint) to ``wanted``; None means that it must not hold it.

    Keys that ``wanted`` does not mention are left alone.
    """
    changed = [each for key, each in wanted.items() if each is not None and sent.get(key) != each.fingerprint]
    removed = [key for key, each in wanted.items() if each is None and key in sent]
    changed.sort(key=lambda each: (_ORDER[each.key.resource], each.key))
    removed.sort(key=lambda key: (-_ORDER[key.resource], key))
    return Difference(tuple(changed), tuple(removed))


class NodeAssignments:
    """What one node was sent, and what to look at again. Not complete until :meth:`complete` was called once."""

    def __init__(self, node: str, cluster: Cluster, *, renderer: Callable[[Stored], Assigned] = render) -> None:
        self._node = node
        self._cluster = cluster
        self._render = renderer
        self._sent: dict[ObjectKey, bytes] = {}
        self._references: dict[ObjectKey, frozenset[ObjectKey]] = {}
        self._users: Counter[ObjectKey] = Counter()
        self._marked: set[ObjectKey] = set()

    def __contains__(self, key: ObjectKey) -> bool:
        return key in self._sent

    def needs(self, key: ObjectKey) -> bool:
        """Whether a pod of this node names the object, or the claim that has it."""
        return key in self._users

    def mark(self, key: ObjectKey) -> None:
        """The object may have changed, appeared or gone."""
        self._marked.add(key)

    def complete(self) -> tuple[Assigned, ...]:
        """Everything that the node must hold; from now on increments continue from here."""
        self._sent.clear()
        self._references.clear()
        self._users.clear()
        self._marked = {key_of(stored) for resource in SHARED for stored in self._cluster.list(resource)}
        self._marked |= {key_of(pod) for pod in self._cluster.pods_on_node(self._node)}
        volumes = self._cluster.list(PERSISTENT_VOLUMES)
        self._marked |= {key_of(volume) for volume in volumes if local_node(volume.obj) == self._node}
        return self.increment().changed

    def increment(self) -> Difference:
        """What has changed since the last call here or to :meth:`complete`."""
        marked, self._marked = self._marked, set()
        wanted: dict[ObjectKey, Assigned | None] = {}
        for key in [key for key in marked if key.resource == PODS.plural]:
            wanted[key], touched = self._look_at_pod(key)
            marked |= touched
        for key in [key for key in marked if key.resource == PERSISTENT_VOLUME_CLAIMS.plural]:
            wanted[key], touched = self._look_at_claim(key)
            marked |= touched
        for key in marked - wanted.keys():
            wanted[key] = self._look_at(key)
        change = difference(self._sent, wanted)
        self._sent |= {each.key: each.fingerprint for each in change.changed}
        for key in change.removed:
            del self._sent[key]
        return change

    def _look_at_pod(self, key: ObjectKey) -> tuple[Assigned | None, frozenset[ObjectKey]]:
        """The pod as the node must hold it, and the references that it gained or lost."""
        stored = self._cluster.get(PODS, key.namespace, key.name)
        mine = stored if stored is not None and stored.node == self._node else None
        touched = self._refer(key, references(mine.obj) if mine is not None else frozenset())
        return (self._render(mine) if mine is not None else None), touched

    def _look_at_claim(self, key: ObjectKey) -> tuple[Assigned | None, frozenset[ObjectKey]]:
        """The claim as the node must hold it, and the volume that it gained or lost."""
        stored = self._cluster.get(PERSISTENT_VOLUME_CLAIMS, key.namespace, key.name) if key in self._users else None
        touched = self._refer(key, volumes_of(stored.obj) if stored is not None else frozenset())
        return (self._render(stored) if stored is not None else None), touched

    def _refer(self, key: ObjectKey, after: frozenset[ObjectKey]) -> frozenset[ObjectKey]:
        """Note what an object refers to now; what that adds or takes away."""
        before = self._references.pop(key, frozenset())
        if after:
            self._references[key] = after
        self._users.update(after)
        self._users.subtract(before)
        for reference in before:
            if self._users[reference] <= 0:
                del self._users[reference]
        return before ^ after

    def _look_at(self, key: ObjectKey) -> Assigned | None:
        resource = _BY_PLURAL[key.resource]
        stored = self._cluster.get(resource, key.namespace, key.name)
        if stored is None or (resource in REFERENCED and key not in self._users and not self._has_data_of(stored)):
            return None
        return self._render(stored)

    def _has_data_of(self, stored: Stored) -> bool:
        return stored.resource is PERSISTENT_VOLUMES and local_node(stored.obj) == self._node
