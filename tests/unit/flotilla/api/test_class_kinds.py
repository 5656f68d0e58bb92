"""Priority, runtime and storage classes, CSI drivers and attachments: defaults, faults, what may not change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flotilla.api.errors import FieldError
from flotilla.api.kinds.priority_classes import SYSTEM_CLASSES, system_class
from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource
from flotilla.api.resources import (
    CSI_DRIVERS,
    CSI_NODES,
    CSI_STORAGE_CAPACITIES,
    LEASES,
    PRIORITY_CLASSES,
    RUNTIME_CLASSES,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
    VOLUME_ATTRIBUTES_CLASSES,
)

Edited = Callable[[KubeObject, str, Any], KubeObject]
Faults = Callable[..., list[FieldError]]
Written = Callable[..., KubeObject]

PRIORITY: KubeObject = {"metadata": {"name": "high"}, "value": 1000}
RUNTIME: KubeObject = {
    "metadata": {"name": "kata"},
    "handler": "kata",
    "overhead": {"podFixed": {"cpu": "100m", "memory": "64Mi"}},
    "scheduling": {"nodeSelector": {"kata": "yes"}, "tolerations": [{"key": "kata"}]},
}
STORAGE: KubeObject = {"metadata": {"name": "fast"}, "provisioner": "example.com/disk", "parameters": {"kind": "ssd"}}
ATTRIBUTES: KubeObject = {"metadata": {"name": "gold"}, "driverName": "disk.example.com", "parameters": {"iops": "10"}}
DRIVER: KubeObject = {"metadata": {"name": "disk.example.com"}, "spec": {"tokenRequests": [{"audience": "vault"}]}}
NODE: KubeObject = {
    "metadata": {"name": "n"},
    "spec": {"drivers": [{"name": "disk.example.com", "nodeID": "n-1", "topologyKeys": ["example.com/zone"]}]},
}
CAPACITY: KubeObject = {
    "metadata": {"name": "c", "namespace": "default"},
    "storageClassName": "fast",
    "capacity": "10Gi",
    "nodeTopology": {"matchLabels": {"zone": "a"}},
}
ATTACHMENT: KubeObject = {
    "metadata": {"name": "a"},
    "spec": {"attacher": "disk.example.com", "nodeName": "n", "source": {"persistentVolumeName": "pv"}},
}
LEASE: KubeObject = {"metadata": {"name": "l", "namespace": "default"}, "spec": {"holderIdentity": "me"}}
_RESERVED = "priority class names with 'system-' prefix are reserved for system use only. error: "
_TERM = {"matchLabelExpressions": [{"key": "zone", "values": ["a", "b"]}]}

CASES: list[tuple[Resource, KubeObject, str, Any, str, str, str]] = [
    (PRIORITY_CLASSES, PRIORITY, "value", 1_000_000_001, "value", "Forbidden", "user defined priority is 1000000000"),
    (
        PRIORITY_CLASSES,
        PRIORITY,
        "metadata.name",
        "system-x",
        "metadata.name",
        "Forbidden",
        f"{_RESERVED}system-x is not",
    ),
    (
        PRIORITY_CLASSES,
        PRIORITY,
        "metadata.name",
        "system-node-critical",
        "metadata.name",
        "Forbidden",
        f"{_RESERVED}value of system-node-critical PriorityClass must be 2000001000",
    ),
    (
        PRIORITY_CLASSES,
        PRIORITY,
        "preemptionPolicy",
        "Always",
        "preemptionPolicy",
        "NotSupported",
        'supported values: "PreemptLowerPriority", "Never"',
    ),
    (RUNTIME_CLASSES, RUNTIME, "handler", "", "handler", "Invalid", "a lowercase RFC 1123 label must consist of"),
    (
        RUNTIME_CLASSES,
        RUNTIME,
        "overhead.podFixed.cpu",
        "-1",
        "overhead.limits[cpu]",
        "Invalid",
        "must be greater than or equal to 0",
    ),
    (
        RUNTIME_CLASSES,
        RUNTIME,
        "scheduling.nodeSelector",
        {"a/b/c": ""},
        "scheduling.nodeSelector",
        "Invalid",
        "a qualified name must consist of",
    ),
    (STORAGE_CLASSES, STORAGE, "provisioner", "", "provisioner", "Required", "Required value"),
    (STORAGE_CLASSES, STORAGE, "parameters", {"": "x"}, "parameters", "Invalid", "field can not be empty."),
    (STORAGE_CLASSES, STORAGE, "parameters", {"a": "x" * 262144}, "parameters", "TooLong", "262144 bytes"),
    (
        STORAGE_CLASSES,
        STORAGE,
        "reclaimPolicy",
        "Recycle",
        "reclaimPolicy",
        "NotSupported",
        'supported values: "Delete", "Retain"',
    ),
    (
        STORAGE_CLASSES,
        STORAGE,
        "volumeBindingMode",
        "Later",
        "volumeBindingMode",
        "NotSupported",
        'supported values: "Immediate", "WaitForFirstConsumer"',
    ),
    (
        STORAGE_CLASSES,
        STORAGE,
        "allowedTopologies",
        [_TERM, _TERM],
        "allowedTopologies[1].matchLabelExpressions",
        "Duplicate",
        "Duplicate value",
    ),
    (VOLUME_ATTRIBUTES_CLASSES, ATTRIBUTES, "driverName", "", "driverName", "Required", "Required value"),
    (
        VOLUME_ATTRIBUTES_CLASSES,
        ATTRIBUTES,
        "parameters",
        {},
        "parameters",
        "Required",
        "must contain at least one key/value pair",
    ),
    (
        CSI_DRIVERS,
        DRIVER,
        "spec.fsGroupPolicy",
        "Maybe",
        "spec.fsGroupPolicy",
        "NotSupported",
        'supported values: "File", "None", "ReadWriteOnceWithFSType"',
    ),
    (
        CSI_DRIVERS,
        DRIVER,
        "spec.tokenRequests",
        [{"audience": "a"}, {"audience": "a"}],
        "spec.tokenRequests[1].audience",
        "Duplicate",
        "Duplicate value",
    ),
    (
        CSI_DRIVERS,
        DRIVER,
        "spec.tokenRequests.0.expirationSeconds",
        60,
        "spec.tokenRequests[0].expirationSeconds",
        "Invalid",
        "may not specify a duration less than 10 minutes",
    ),
    (
        CSI_DRIVERS,
        DRIVER,
        "spec.volumeLifecycleModes",
        ["Short"],
        "spec.volumeLifecycleModes",
        "NotSupported",
        'supported values: "Persistent", "Ephemeral"',
    ),
    (CSI_NODES, NODE, "spec.drivers.0.name", "", "spec.drivers[0].name", "Required", "Required value"),
    (
        CSI_NODES,
        NODE,
        "spec.drivers.0.nodeID",
        "x" * 257,
        "spec.drivers[0].nodeID",
        "Invalid",
        "256 characters or less",
    ),
    (
        CSI_NODES,
        NODE,
        "spec.drivers.0.allocatable",
        {"count": -1},
        "spec.drivers[0].allocatable.count",
        "Invalid",
        "must be greater than or equal to 0",
    ),
    (CSI_NODES, NODE, "spec.drivers.0.topologyKeys", ["a", "a"], "spec.drivers[0]", "Duplicate", "Duplicate value"),
    (CSI_STORAGE_CAPACITIES, CAPACITY, "capacity", "-1", "capacity", "Invalid", "must be greater than or equal to 0"),
    (
        CSI_STORAGE_CAPACITIES,
        CAPACITY,
        "storageClassName",
        "A",
        "storageClassName",
        "Invalid",
        "a lowercase RFC 1123 subdomain must consist of",
    ),
    (VOLUME_ATTACHMENTS, ATTACHMENT, "spec.attacher", "", "spec.attacher", "Required", "Required value"),
    (VOLUME_ATTACHMENTS, ATTACHMENT, "spec.source", {}, "spec.source", "Required", "must specify exactly one of"),
    (
        VOLUME_ATTACHMENTS,
        ATTACHMENT,
        "spec.source.inlineVolumeSpec",
        {},
        "spec.source",
        "Forbidden",
        "must specify exactly one of",
    ),
    (
        VOLUME_ATTACHMENTS,
        ATTACHMENT,
        "spec.source.persistentVolumeName",
        "",
        "spec.source.persistentVolumeName",
        "Required",
        "must specify non empty persistentVolumeName",
    ),
    (LEASES, LEASE, "spec.strategy", "Newest", "spec.strategy", "NotSupported", '"OldestEmulationVersion"'),
    (
        LEASES,
        LEASE,
        "spec.preferredHolder",
        "you",
        "spec.preferredHolder",
        "Forbidden",
        "may only be specified if `strategy` is defined",
    ),
]


@pytest.mark.parametrize(("resource", "obj", "path", "value", "field", "reason", "message"), CASES)
def test_faults(
    edited: Edited,
    faults: Faults,
    resource: Resource,
    obj: KubeObject,
    path: str,
    value: Any,
    field: str,
    reason: str,
    message: str,
) -> None:
    """One wrong value must give one fault, at its path, with its reason."""
    (error,) = faults(resource, edited(obj, path, value))
    assert (error.field, error.reason) == (field, f"FieldValue{reason}")
    assert message in error.message


VALID: list[tuple[Resource, KubeObject]] = [
    (PRIORITY_CLASSES, PRIORITY),
    (PRIORITY_CLASSES, {"metadata": {"name": "none"}}),
    *((PRIORITY_CLASSES, system_class(*each)) for each in SYSTEM_CLASSES),
    (RUNTIME_CLASSES, RUNTIME),
    (STORAGE_CLASSES, STORAGE),
    (VOLUME_ATTRIBUTES_CLASSES, ATTRIBUTES),
    (CSI_DRIVERS, DRIVER),
    (CSI_DRIVERS, {"metadata": {"name": "plain"}}),
    (CSI_NODES, NODE),
    (CSI_NODES, {"metadata": {"name": "n"}}),
    (CSI_STORAGE_CAPACITIES, CAPACITY),
    (VOLUME_ATTACHMENTS, ATTACHMENT),
    (LEASES, LEASE),
]


@pytest.mark.parametrize(("resource", "obj"), VALID)
def test_what_is_valid(faults: Faults, written: Written, resource: Resource, obj: KubeObject) -> None:
    """What Kubernetes takes must be taken, as new and as an update of itself."""
    assert faults(resource, obj) == []
    assert faults(resource, obj, written(resource, obj)) == []


UPDATES: list[tuple[Resource, KubeObject, str, Any, str, str]] = [
    (PRIORITY_CLASSES, PRIORITY, "value", 1, "value", "may not be changed in an update."),
    (PRIORITY_CLASSES, PRIORITY, "preemptionPolicy", "Never", "preemptionPolicy", "field is immutable"),
    (RUNTIME_CLASSES, RUNTIME, "handler", "runc", "handler", "field is immutable"),
    (STORAGE_CLASSES, STORAGE, "provisioner", "other", "provisioner", "updates to provisioner are forbidden."),
    (STORAGE_CLASSES, STORAGE, "parameters", {}, "parameters", "updates to parameters are forbidden."),
    (STORAGE_CLASSES, STORAGE, "reclaimPolicy", "Retain", "reclaimPolicy", "updates to reclaimPolicy are forbidden."),
    (STORAGE_CLASSES, STORAGE, "volumeBindingMode", "WaitForFirstConsumer", "volumeBindingMode", "field is immutable"),
    (VOLUME_ATTRIBUTES_CLASSES, ATTRIBUTES, "driverName", "x", "driverName", "updates to driverName are forbidden."),
    (CSI_DRIVERS, DRIVER, "spec.attachRequired", False, "spec.attachedRequired", "field is immutable"),
    (CSI_NODES, NODE, "spec.drivers.0.nodeID", "other", "spec.drivers", "field is immutable"),
    (CSI_STORAGE_CAPACITIES, CAPACITY, "storageClassName", "slow", "storageClassName", "field is immutable"),
    (CSI_STORAGE_CAPACITIES, CAPACITY, "nodeTopology", None, "nodeTopology", "field is immutable"),
    (VOLUME_ATTACHMENTS, ATTACHMENT, "spec.nodeName", "m", "spec", "field is immutable"),
]


@pytest.mark.parametrize(("resource", "obj", "path", "value", "field", "message"), UPDATES)
def test_what_may_not_change(
    edited: Edited,
    written: Written,
    faults: Faults,
    resource: Resource,
    obj: KubeObject,
    path: str,
    value: Any,
    field: str,
    message: str,
) -> None:
    """A field that is fixed for ever must be refused at its path."""
    (error,) = faults(resource, edited(obj, path, value), written(resource, obj))
    assert error.field == field
    assert message in error.message


def test_what_may_change(edited: Edited, written: Written, faults: Faults) -> None:
    """How many volumes fit on a node, how much there is, and whether volumes may grow are news, not other objects."""
    for resource, obj, path, value in (
        (CSI_NODES, NODE, "spec.drivers.0.allocatable", {"count": 8}),
        (CSI_STORAGE_CAPACITIES, CAPACITY, "capacity", "1Gi"),
        (STORAGE_CLASSES, STORAGE, "allowVolumeExpansion", True),
        (PRIORITY_CLASSES, PRIORITY, "description", "new"),
    ):
        assert faults(resource, edited(obj, path, value), written(resource, obj)) == []


def test_defaults(written: Written) -> None:
    """What is left out is what Kubernetes fills in."""
    assert written(PRIORITY_CLASSES, PRIORITY)["preemptionPolicy"] == "PreemptLowerPriority"
    storage = written(STORAGE_CLASSES, STORAGE)
    assert (storage["reclaimPolicy"], storage["volumeBindingMode"]) == ("Delete", "Immediate")
    assert written(CSI_DRIVERS, {"metadata": {"name": "plain"}})["spec"] == {
        "attachRequired": True,
        "podInfoOnMount": False,
        "storageCapacity": False,
        "fsGroupPolicy": "ReadWriteOnceWithFSType",
        "requiresRepublish": False,
        "seLinuxMount": False,
        "volumeLifecycleModes": ["Persistent"],
    }
    assert written(RUNTIME_CLASSES, RUNTIME)["scheduling"]["tolerations"] == [{"key": "kata", "operator": "Equal"}]
    assert written(VOLUME_ATTACHMENTS, ATTACHMENT)["status"] == {"attached": False}


def test_attachments_are_selected_by_driver_and_node(written: Written) -> None:
    """Drivers watch their own attachments, nodes theirs."""
    fields = VOLUME_ATTACHMENTS.strategy.selectable_fields(written(VOLUME_ATTACHMENTS, ATTACHMENT))
    assert (fields["spec.attacher"], fields["spec.nodeName"]) == ("disk.example.com", "n")


def test_priorities_without_preemption_are_told(edited: Edited, written: Written) -> None:
    """A class that would take other pods' places must say that this version does not."""
    warnings = PRIORITY_CLASSES.strategy.warnings
    assert "takes no running pod away" in warnings(written(PRIORITY_CLASSES, PRIORITY))[0]
    assert warnings(edited(PRIORITY, "preemptionPolicy", "Never")) == []
