"""The one representation of an API object inside Flotilla, and how to read what every object has.

An object is the decoded JSON itself. A typed copy of the Kubernetes schema would drop fields that it does not know
and rename those that are Python keywords; templates must be copied, patched and stored without loss. What a plan needs
of an object it puts into a small frozen dataclass of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

KubeObject = dict[str, Any]
_METADATA_ORDER = (
    "resourceVersion",
    "name",
    "generateName",
    "namespace",
    "uid",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
)
_SECONDS_LENGTH = len("2006-01-02T15:04:05")

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


def encode(obj: Any) -> bytes:
    """JSON bytes of ``obj``, compact, keys in insertion order."""
    return _encoder.encode(obj)


def decode(data: bytes) -> Any:
    """The value that JSON ``data`` holds. Raises ``msgspec.DecodeError``."""
    return _decoder.decode(data)


def in_order(obj: KubeObject) -> KubeObject:
    """``obj`` with its fields in the order of Kubernetes' types, whichever a client sent: answers are alike.

    Only the resourceVersion comes earlier than there. Shares its parts with ``obj``; what they hold keeps its order.
    """
    metadata = obj["metadata"]
    ordered: KubeObject = {
        "kind": obj["kind"],
        "apiVersion": obj["apiVersion"],
        "metadata": {name: metadata[name] for name in _METADATA_ORDER if name in metadata} | metadata,
    }
    for name, value in obj.items():
        if name not in ordered and name != "status":
            ordered[name] = value
    if "status" in obj:
        ordered["status"] = obj["status"]
    return ordered


def name_of(obj: Mapping[str, Any]) -> str:
    name: str = obj["metadata"]["name"]
    return name


def namespace_of(obj: Mapping[str, Any]) -> str:
    """The namespace, or ``""`` for a cluster-scoped object."""
    namespace: str = obj["metadata"].get("namespace") or ""
    return namespace


def uid_of(obj: Mapping[str, Any]) -> str:
    uid: str = obj["metadata"].get("uid") or ""
    return uid


def labels_of(obj: Mapping[str, Any]) -> dict[str, str]:
    return obj["metadata"].get("labels") or {}


def annotations_of(obj: Mapping[str, Any]) -> dict[str, str]:
    return obj["metadata"].get("annotations") or {}


def resource_version_of(obj: Mapping[str, Any]) -> int:
    """The resourceVersion as a number, 0 where there is none."""
    return int(obj["metadata"].get("resourceVersion") or 0)


def is_deleting(obj: Mapping[str, Any]) -> bool:
    return obj["metadata"].get("deletionTimestamp") is not None


def controller_of(obj: Mapping[str, Any]) -> KubeObject | None:
    """The owner reference with ``controller: true``."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return dict(reference)
    return None


def owner_reference(owner: Mapping[str, Any]) -> KubeObject:
    """A controlling owner reference to ``owner`` that blocks its foreground deletion."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name_of(owner),
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def object_reference(obj: Mapping[str, Any]) -> KubeObject:
    """A core/v1 ObjectReference to ``obj``, as events carry it."""
    reference = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "name": name_of(obj), "uid": uid_of(obj)}
    if namespace_of(obj):
        reference["namespace"] = namespace_of(obj)
    if obj["metadata"].get("resourceVersion"):
        reference["resourceVersion"] = obj["metadata"]["resourceVersion"]
    return reference


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC with whole seconds, the form of ``metav1.Time``."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="seconds")[:_SECONDS_LENGTH] + "Z"


def format_micro_time(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds, the form of ``metav1.MicroTime``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    """The moment an RFC 3339 string names. Raises ValueError."""
    return datetime.fromisoformat(text)
