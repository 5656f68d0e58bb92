"""One object in the cache: its JSON as clients get it, and the few fields that the control plane looks things up by.

Fifty thousand decoded Pods would cost 14 KB each and make every full garbage collection stop the loop for a second, so
an entry holds bytes. Those bytes carry the resourceVersion already: it is spliced in at the front of ``metadata``
without decoding the object, and every reader and watcher shares them. Decoded objects live in :class:`DecodedObjects`,
bounded by the bytes that they were decoded from. Most states are read once, by those who handle the change: what has
been superseded is let go long before the bound is reached.
"""

from __future__ import annotations

import sys
from collections import OrderedDict, deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from controlplane.store.store import KeyValue
from flotilla.api.objects import KubeObject, decode, encode, in_order

if TYPE_CHECKING:
    from flotilla.api.registry import Resource

METADATA_START = b'"metadata":{'
SUPERSEDED_ENTRIES = 128


class _Owner(msgspec.Struct, gc=False):
    uid: str = ""


class _Metadata(msgspec.Struct, rename="camel"):
    name: str
    namespace: str = ""
    uid: str = ""
    labels: dict[str, str] | None = None
    owner_references: list[_Owner] | None = None
    resource_version: str | None = None


class _PodSpec(msgspec.Struct, rename="camel", gc=False):
    node_name: str | None = None


class _Head(msgspec.Struct):
    metadata: _Metadata


class _PodHead(msgspec.Struct):
    metadata: _Metadata
    spec: _PodSpec | None = None


_heads = msgspec.json.Decoder(_Head)
_pod_heads = msgspec.json.Decoder(_PodHead)
_NO_LABELS: dict[str, str] = {}


@dataclass(slots=True, eq=False)
class Entry:
    """An object's state at ``revision``. It never changes: a new state is a new entry."""

    resource: Resource
    key: str
    namespace: str
    name: str
    uid: str
    labels: dict[str, str]
    revision: int
    created: int
    data: bytes  # JSON with metadata.resourceVersion
    owners: tuple[str, ...]  # uids
    node: str  # spec.nodeName of a pod, else ""
    _decoded: DecodedObjects = field(repr=False)
    _obj: KubeObject | None = field(default=None, repr=False)
    unrestored: bytes | None = field(default=None, repr=False)  # the stored JSON where the kind's schema changes it

    @property
    def obj(self) -> KubeObject:
        """The decoded object, shared: read it, never change it."""
        if self._obj is None:
            self._obj = decode(self.data)
            self._decoded.hold(self)
        return self._obj

    @property
    def decoded(self) -> KubeObject | None:
        """The decoded object if it is held just now, as :attr:`obj`; for readers who need each object once."""
        return self._obj

    def copy(self) -> KubeObject:
        """The decoded object, the caller's own."""
        obj: KubeObject = decode(self.data)
        return obj

    def forget_decoded(self) -> None:
        """Drop the decoded object; the next reader decodes again."""
        self._obj = None


class DecodedObjects:
    """Keeps ``maximum_bytes`` worth of entries decoded, by the size of their JSON; the first decoded go first."""

    def __init__(self, *, maximum_bytes: int) -> None:
        self._maximum_bytes = maximum_bytes
        self._held: OrderedDict[Entry, None] = OrderedDict()
        self._held_bytes = 0
        self._superseded: deque[Entry] = deque()

    def hold(self, entry: Entry) -> None:
        """Count ``entry``, just decoded, and drop what no longer fits."""
        self._held[entry] = None
        self._held_bytes += len(entry.data)
        while self._held_bytes > self._maximum_bytes and len(self._held) > 1:
            oldest, _ = self._held.popitem(last=False)
            self._held_bytes -= len(oldest.data)
            oldest.forget_decoded()

    def supersede(self, entry: Entry) -> None:
        """A newer state stands in the place of ``entry``: keep it decoded for as long as the change is handled."""
        self._superseded.append(entry)
        if len(self._superseded) > SUPERSEDED_ENTRIES:
            past = self._superseded.popleft()
            if past in self._held:
                del self._held[past]
                self._held_bytes -= len(past.data)
                past.forget_decoded()


def restored(resource: Resource, value: bytes) -> bytes:
    """A stored object's JSON as the present schema of its kind shows it; ``value`` itself where that changes nothing.

    Kinds of the release are stored as they are shown. Those defined at run time may have got another schema since.
    """
    if resource.shape is None:
        return value
    obj: KubeObject = decode(value)
    return encode(obj) if resource.shape.restore(obj) else value


def read_entry(resource: Resource, item: KeyValue, decoded: DecodedObjects) -> Entry:
    """The entry of a stored object. Raises ``msgspec.DecodeError`` where the value is no object with a name."""
    spec = None
    value = restored(resource, item.value)
    if resource.storage == "pods":
        pod = _pod_heads.decode(value)
        metadata, spec = pod.metadata, pod.spec
    else:
        metadata = _heads.decode(value).metadata
    owners = metadata.owner_references
    return Entry(
        resource,
        item.key,
        sys.intern(metadata.namespace),
        metadata.name,
        metadata.uid,
        metadata.labels or _NO_LABELS,
        item.mod_revision,
        item.create_revision,
        _stamped(value, item.mod_revision, plain=metadata.resource_version is None),
        tuple([owner.uid for owner in owners]) if owners else (),
        sys.intern(spec.node_name) if spec is not None and spec.node_name else "",
        decoded,
        unrestored=item.value if value is not item.value else None,
    )


def read_again(resource: Resource, entry: Entry) -> Entry:
    """``entry`` as ``resource``, the present row of its kind, shows what is stored. ``msgspec.DecodeError``."""
    stored = entry.data if entry.unrestored is None else entry.unrestored
    return read_entry(resource, KeyValue(entry.key, stored, entry.created, entry.revision), entry._decoded)


def viewed_entry(resource: Resource, entry: Entry) -> Entry:
    """``entry`` in the form of ``resource``, which is the row of its kind or a view of it."""
    view = resource.view
    if view is None or entry.resource is resource:
        return entry
    obj = view.from_stored(entry.obj)
    return replace(entry, resource=resource, data=encode(in_order(obj)), _obj=None)


def stamped(value: bytes, revision: int) -> bytes:
    """``value``, an object's JSON, with ``revision`` as its metadata.resourceVersion."""
    return _stamped(value, revision, plain=_heads.decode(value).metadata.resource_version is None)


def _stamped(value: bytes, revision: int, *, plain: bool) -> bytes:
    at = value.find(METADATA_START)
    if plain and at > 0 and value.count(b"{", 0, at) == 1:
        cut = at + len(METADATA_START)
        return b'%b"resourceVersion":"%d",%b' % (value[:cut], revision, value[cut:])
    return _stamped_anew(value, revision)


def _stamped_anew(value: bytes, revision: int) -> bytes:
    """For objects whose metadata comes late or that were stored with a resourceVersion: encode them again."""
    obj: KubeObject = decode(value)
    front = {name: obj[name] for name in ("apiVersion", "kind") if name in obj}
    metadata = {"resourceVersion": str(revision)} | {
        name: held for name, held in obj["metadata"].items() if name != "resourceVersion"
    }
    return encode(front | {"metadata": metadata} | obj | {"metadata": metadata})


def deleted_entry(last: Entry, revision: int) -> Entry:
    """The last state of an object with its delete's revision as resourceVersion, as a DELETED event shows it."""
    before = b'%b"resourceVersion":"%d"' % (METADATA_START, last.revision)
    after = b'%b"resourceVersion":"%d"' % (METADATA_START, revision)
    return Entry(
        last.resource,
        last.key,
        last.namespace,
        last.name,
        last.uid,
        last.labels,
        revision,
        last.created,
        last.data.replace(before, after, 1),
        last.owners,
        last.node,
        last._decoded,
    )
