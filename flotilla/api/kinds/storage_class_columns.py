"""The kinds of storage.k8s.io: their table columns."""

from __future__ import annotations

from datetime import datetime

from flotilla.api.kinds.columns import AGE, NAME, NONE, UNSET, column, spec_of, status_of
from flotilla.api.kinds.resource import Column
from flotilla.api.kinds.storage_classes import ATTRIBUTES_ANNOTATION, is_default_class
from flotilla.api.objects import KubeObject, annotations_of


def _class_name(storage_class: KubeObject, now: datetime) -> str:
    name: str = storage_class["metadata"]["name"]
    return f"{name} (default)" if is_default_class(storage_class) else name


def _attributes_name(attributes_class: KubeObject, now: datetime) -> str:
    name: str = attributes_class["metadata"]["name"]
    return f"{name} (default)" if annotations_of(attributes_class).get(ATTRIBUTES_ANNOTATION) == "true" else name


def _audiences(driver: KubeObject, now: datetime) -> str:
    requests = spec_of(driver).get("tokenRequests")
    return UNSET if requests is None else ",".join(request.get("audience") or "" for request in requests)


def _modes(driver: KubeObject, now: datetime) -> str:
    return ",".join(spec_of(driver).get("volumeLifecycleModes") or ()) or NONE


def _flag(name: str, field: str, description: str, *, usual: bool = False) -> Column:
    return column(name, lambda obj, now: spec_of(obj).get(field, usual), type_="boolean", description=description)


CLASS_COLUMNS = (
    column("Name", _class_name, description=NAME.description, format_="name"),
    column("Provisioner", lambda obj, now: obj.get("provisioner", ""), description="Who makes the volumes."),
    column(
        "ReclaimPolicy",
        lambda obj, now: obj.get("reclaimPolicy") or "Delete",
        description="What becomes of a volume that its claim has let go.",
    ),
    column(
        "VolumeBindingMode",
        lambda obj, now: obj.get("volumeBindingMode") or "Immediate",
        description="When claims are bound to volumes.",
    ),
    column(
        "AllowVolumeExpansion",
        lambda obj, now: bool(obj.get("allowVolumeExpansion")),
        description="Whether volumes may grow.",
    ),
    AGE,
)
ATTRIBUTES_COLUMNS = (
    column("Name", _attributes_name, description=NAME.description, format_="name"),
    column("DriverName", lambda obj, now: obj.get("driverName", ""), description="The driver that reads it."),
    AGE,
)
DRIVER_COLUMNS = (
    NAME,
    _flag("AttachRequired", "attachRequired", "Whether volumes are attached before they are mounted.", usual=True),
    _flag("PodInfoOnMount", "podInfoOnMount", "Whether the driver is told of the pod."),
    _flag("StorageCapacity", "storageCapacity", "Whether the driver publishes how much there is."),
    column("TokenRequests", _audiences, description="Whom tokens of service accounts are made for."),
    _flag("RequiresRepublish", "requiresRepublish", "Whether the driver is called again from time to time."),
    column("Modes", _modes, description="The kinds of volumes that the driver makes."),
    AGE,
)
NODE_COLUMNS = (
    NAME,
    column(
        "Drivers",
        lambda obj, now: len(spec_of(obj).get("drivers") or ()),
        type_="integer",
        description="Drivers indicates the number of CSI drivers registered on the node",
    ),
    AGE,
)
CAPACITY_COLUMNS = (
    NAME,
    column(
        "StorageClassName",
        lambda obj, now: obj.get("storageClassName", ""),
        description="The class that the figure is for.",
    ),
    column(
        "Capacity",
        lambda obj, now: str(obj["capacity"]) if obj.get("capacity") is not None else UNSET,
        description="How much there is.",
    ),
)
ATTACHMENT_COLUMNS = (
    NAME,
    column("Attacher", lambda obj, now: spec_of(obj).get("attacher", ""), description="The driver.", format_="name"),
    column(
        "PV",
        lambda obj, now: (spec_of(obj).get("source") or {}).get("persistentVolumeName") or "",
        description="The volume.",
    ),
    column("Node", lambda obj, now: spec_of(obj).get("nodeName", ""), description="The node that it is attached to."),
    column(
        "Attached",
        lambda obj, now: bool(status_of(obj).get("attached")),
        type_="boolean",
        description="Whether it is.",
    ),
    AGE,
)
