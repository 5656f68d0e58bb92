"""The kinds of ``storage.k8s.io``: their table columns."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flotilla.api.kinds.columns import AGE, NAME, UNSET, column, spec_of, status_of
from flotilla.api.kinds.resource import Column
from flotilla.api.objects import KubeObject

_DEFAULT_ANNOTATIONS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)


def _flag(name: str, field: str, description: str, *, unset: bool) -> Column:
    def cell(driver: KubeObject, now: datetime) -> bool:
        return bool(spec_of(driver).get(field, unset))

    return column(name, cell, description=description, type_="boolean")


def _joined(values: list[str]) -> str:
    return ",".join(values) or UNSET


def _audiences(driver: KubeObject, now: datetime) -> str:
    return _joined([request.get("audience", "") for request in spec_of(driver).get("tokenRequests") or ()])


def _modes(driver: KubeObject, now: datetime) -> str:
    return ",".join(spec_of(driver).get("volumeLifecycleModes") or ()) or "<none>"


def _class_name(storage_class: KubeObject, now: datetime) -> str:
    annotations = storage_class["metadata"].get("annotations") or {}
    is_default = any(annotations.get(annotation) == "true" for annotation in _DEFAULT_ANNOTATIONS)
    return f"{storage_class['metadata']['name']}{' (default)' if is_default else ''}"


def _field(name: str, field: str, description: str, *, unset: Any = "") -> Column:
    return column(name, lambda obj, now: obj.get(field) or unset, description=description)


DRIVER_COLUMNS = (
    NAME,
    _flag("AttachRequired", "attachRequired", "Whether volumes are attached before they are mounted.", unset=True),
    _flag("PodInfoOnMount", "podInfoOnMount", "Whether the driver is told about the pod.", unset=False),
    _flag("StorageCapacity", "storageCapacity", "Whether the scheduler asks for room.", unset=False),
    column("TokenRequests", _audiences, description="The audiences of the tokens that the driver is given."),
    _flag("RequiresRepublish", "requiresRepublish", "Whether mounts are renewed from time to time.", unset=False),
    column("Modes", _modes, description="The kinds of volumes that the driver serves."),
    AGE,
)
NODE_COLUMNS = (
    NAME,
    column(
        "Drivers",
        lambda node, now: len(spec_of(node).get("drivers") or ()),
        description="Number of drivers on the node.",
        type_="integer",
    ),
    AGE,
)
CAPACITY_COLUMNS = (
    NAME,
    _field("StorageClassName", "storageClassName", "The class whose volumes have this room."),
    _field("Capacity", "capacity", "The room that is left.", unset=UNSET),
)
CLASS_COLUMNS = (
    column("Name", _class_name, description=NAME.description, format_="name"),
    _field("Provisioner", "provisioner", "What makes its volumes."),
    _field("ReclaimPolicy", "reclaimPolicy", "What happens to a volume once its claim is gone.", unset="Delete"),
    _field("VolumeBindingMode", "volumeBindingMode", "When volumes are bound.", unset="Immediate"),
    column(
        "AllowVolumeExpansion",
        lambda obj, now: bool(obj.get("allowVolumeExpansion")),
        description="Whether volumes may grow.",
    ),
    AGE,
)
ATTACHMENT_COLUMNS = (
    NAME,
    column("Attacher", lambda obj, now: spec_of(obj).get("attacher", ""), description="The driver that attaches."),
    column(
        "PV",
        lambda obj, now: (spec_of(obj).get("source") or {}).get("persistentVolumeName") or "",
        description="The volume.",
    ),
    column("Node", lambda obj, now: spec_of(obj).get("nodeName", ""), description="The node."),
    column("Attached", lambda obj, now: bool(status_of(obj).get("attached")), description="Whether it is attached."),
    AGE,
)
ATTRIBUTES_COLUMNS = (NAME, _field("DriverName", "driverName", "The driver that knows the attributes."), AGE)
