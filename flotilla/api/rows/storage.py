"""``storage.k8s.io``: the classes of volumes, and what CSI drivers tell of themselves."""

from __future__ import annotations

from functools import partial

from flotilla.api.kinds import csi, storage_class_columns, storage_classes, volume_attachments
from flotilla.api.kinds.resource import Resource, guarded

_storage = partial(Resource, group="storage.k8s.io", version="v1")

CSI_DRIVERS = _storage(
    plural="csidrivers",
    singular="csidriver",
    kind="CSIDriver",
    namespaced=False,
    definition="io.k8s.api.storage.v1.CSIDriver",
    columns=storage_class_columns.DRIVER_COLUMNS,
    strategy=guarded(csi.DRIVER_STRATEGY),
)
CSI_NODES = _storage(
    plural="csinodes",
    singular="csinode",
    kind="CSINode",
    namespaced=False,
    definition="io.k8s.api.storage.v1.CSINode",
    columns=storage_class_columns.NODE_COLUMNS,
    strategy=guarded(csi.NODE_STRATEGY),
)
CSI_STORAGE_CAPACITIES = _storage(
    plural="csistoragecapacities",
    singular="csistoragecapacity",
    kind="CSIStorageCapacity",
    namespaced=True,
    definition="io.k8s.api.storage.v1.CSIStorageCapacity",
    columns=storage_class_columns.CAPACITY_COLUMNS,
    strategy=guarded(csi.CAPACITY_STRATEGY),
)
STORAGE_CLASSES = _storage(
    plural="storageclasses",
    singular="storageclass",
    kind="StorageClass",
    namespaced=False,
    definition="io.k8s.api.storage.v1.StorageClass",
    columns=storage_class_columns.CLASS_COLUMNS,
    strategy=guarded(storage_classes.STRATEGY),
    short_names=("sc",),
)
VOLUME_ATTACHMENTS = _storage(
    plural="volumeattachments",
    singular="volumeattachment",
    kind="VolumeAttachment",
    namespaced=False,
    definition="io.k8s.api.storage.v1.VolumeAttachment",
    columns=storage_class_columns.ATTACHMENT_COLUMNS,
    strategy=guarded(volume_attachments.STRATEGY),
    subresources=("status",),
)
VOLUME_ATTRIBUTES_CLASSES = _storage(
    plural="volumeattributesclasses",
    singular="volumeattributesclass",
    kind="VolumeAttributesClass",
    namespaced=False,
    definition="io.k8s.api.storage.v1.VolumeAttributesClass",
    columns=storage_class_columns.ATTRIBUTES_COLUMNS,
    strategy=guarded(storage_classes.ATTRIBUTES_STRATEGY),
    short_names=("vac",),
)

ROWS = (
    CSI_DRIVERS,
    CSI_NODES,
    CSI_STORAGE_CAPACITIES,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
    VOLUME_ATTRIBUTES_CLASSES,
)
