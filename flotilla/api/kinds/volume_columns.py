"""PersistentVolume, PersistentVolumeClaim, and the quotas of a namespace: their table columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from flotilla.api.kinds.columns import AGE, NAME, UNSET, column, spec_of, status_of
from flotilla.api.objects import KubeObject

_SHORT_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}
_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"


def _access_modes(modes: Iterable[str]) -> str:
    given = set(modes)
    return ",".join(short for mode, short in _SHORT_MODES.items() if mode in given)


def _phase(obj: KubeObject, now: datetime) -> str:
    return "Terminating" if obj["metadata"].get("deletionTimestamp") else status_of(obj).get("phase", "")


def _claim(volume: KubeObject, now: datetime) -> str:
    reference = spec_of(volume).get("claimRef")
    return f"{reference.get('namespace', '')}/{reference.get('name', '')}" if reference else ""


def _class(obj: KubeObject, now: datetime) -> str:
    annotation = (obj["metadata"].get("annotations") or {}).get(_CLASS_ANNOTATION)
    return annotation or spec_of(obj).get("storageClassName") or ""


def _attributes_class(obj: KubeObject, now: datetime) -> str:
    return spec_of(obj).get("volumeAttributesClassName") or UNSET


def _volume_mode(obj: KubeObject, now: datetime) -> str:
    return spec_of(obj).get("volumeMode") or UNSET


def _bound(claim: KubeObject) -> Mapping[str, Any]:
    """The status of a claim that has a volume; nothing for the others."""
    return status_of(claim) if spec_of(claim).get("volumeName") else {}


def _storage(holder: Mapping[str, Any]) -> str:
    return str((holder.get("capacity") or {}).get("storage", ""))


def _used(quota: KubeObject, *, limits: bool) -> str:
    """What is used of each resource, of how much, in the order of their names."""
    hard, used = status_of(quota).get("hard") or {}, status_of(quota).get("used") or {}
    names = [name for name in sorted(hard) if ("limits" in name) == limits]
    return ", ".join(f"{name}: {used.get(name, 0)}/{hard[name]}" for name in names)


_TAIL = (
    column("StorageClass", _class, description="Its storage class."),
    column("VolumeAttributesClass", _attributes_class, description="Its class of mutable attributes."),
)
_WIDE = column("VolumeMode", _volume_mode, description="Block device or file system.", wide=True)
PERSISTENT_VOLUME_COLUMNS = (
    NAME,
    column("Capacity", lambda obj, now: _storage(spec_of(obj)), description="Its size."),
    column(
        "Access Modes",
        lambda obj, now: _access_modes(spec_of(obj).get("accessModes") or ()),
        description="Who may mount it.",
    ),
    column(
        "Reclaim Policy",
        lambda obj, now: spec_of(obj).get("persistentVolumeReclaimPolicy", ""),
        description="What happens to it once its claim is gone.",
    ),
    column("Status", _phase, description="Whether it is bound."),
    column("Claim", _claim, description="The claim it is bound to."),
    *_TAIL,
    column("Reason", lambda obj, now: status_of(obj).get("reason", ""), description="Why it is in a failed state."),
    AGE,
    _WIDE,
)
PERSISTENT_VOLUME_CLAIM_COLUMNS = (
    NAME,
    column("Status", _phase, description="Whether it is bound."),
    column("Volume", lambda obj, now: spec_of(obj).get("volumeName", ""), description="The volume it is bound to."),
    column("Capacity", lambda obj, now: _storage(_bound(obj)), description="The size of that volume."),
    column(
        "Access Modes",
        lambda obj, now: _access_modes(_bound(obj).get("accessModes") or ()),
        description="Who may mount that volume.",
    ),
    *_TAIL,
    AGE,
    _WIDE,
)
RESOURCE_QUOTA_COLUMNS = (
    NAME,
    column(
        "Request", lambda obj, now: _used(obj, limits=False), description="What is used and requested, of how much."
    ),
    column("Limit", lambda obj, now: _used(obj, limits=True), description="The sum of the limits, of how much."),
    AGE,
)
LIMIT_RANGE_COLUMNS = (
    NAME,
    column(
        "Created At",
        lambda obj, now: obj["metadata"].get("creationTimestamp") or "",
        description="When the object was created, in UTC.",
    ),
)
