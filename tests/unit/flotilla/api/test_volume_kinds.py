"""PersistentVolumes, PersistentVolumeClaims, ResourceQuotas, LimitRanges: defaults, faults, updates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flotilla.api.errors import FieldError
from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource
from flotilla.api.resources import LIMIT_RANGES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, RESOURCE_QUOTAS

Sample = Callable[[Resource], KubeObject]
Edited = Callable[[KubeObject, str, Any], KubeObject]
Faults = Callable[..., list[FieldError]]
Written = Callable[..., KubeObject]
_PV, _PVC, _RQ, _LR = PERSISTENT_VOLUMES, PERSISTENT_VOLUME_CLAIMS, RESOURCE_QUOTAS, LIMIT_RANGES
_LIMIT = "spec.limits[0]"


def test_volume_defaults(sample: Sample, written: Written) -> None:
    """A minimal PersistentVolume must come out complete and pending."""
    volume = written(_PV, sample(_PV))
    assert volume["status"] == {"phase": "Pending"}
    assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    assert volume["spec"]["volumeMode"] == "Filesystem"
    assert volume["spec"]["hostPath"] == {"path": "/srv", "type": ""}


def test_claim_defaults(sample: Sample, edited: Edited, written: Written) -> None:
    """A minimal claim must come out complete and pending, its data source under both names."""
    source = {"kind": "PersistentVolumeClaim", "name": "old"}
    claim = written(_PVC, edited(sample(_PVC), "spec.dataSource", source))
    assert claim["status"] == {"phase": "Pending"}
    assert claim["spec"]["volumeMode"] == "Filesystem"
    assert claim["spec"]["dataSourceRef"] == source


def test_limit_defaults(sample: Sample, written: Written) -> None:
    """The limit must default to the most that is allowed, the request to the limit."""
    (item,) = written(_LR, sample(_LR))["spec"]["limits"]
    assert (item["default"], item["defaultRequest"]) == ({"cpu": "2"}, {"cpu": "2"})


def test_the_minimum_is_the_last_default(sample: Sample, edited: Edited, written: Written) -> None:
    """Where there is no limit the request must default to the minimum."""
    obj = edited(sample(_LR), "spec.limits.0", {"type": "Container", "min": {"memory": "1Mi"}})
    (item,) = written(_LR, obj)["spec"]["limits"]
    assert item == {"type": "Container", "min": {"memory": "1Mi"}, "defaultRequest": {"memory": "1Mi"}}


CASES: list[tuple[Resource, str, Any, str, str]] = [
    (_PV, "spec.accessModes", [], "spec.accessModes", "Required value"),
    (
        _PV,
        "spec.accessModes",
        ["Sometimes"],
        "spec.accessModes",
        'supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"',
    ),
    (
        _PV,
        "spec.accessModes",
        ["ReadWriteOncePod", "ReadWriteOnce"],
        "spec.accessModes",
        "Forbidden: may not use ReadWriteOncePod with other access modes",
    ),
    (_PV, "spec.capacity", {"storage": "0"}, "spec.capacity[storage]", 'Invalid value: "0": must be greater than zero'),
    (_PV, "spec.hostPath", None, "spec", "Required value: must specify a volume type"),
    (_PV, "spec.nfs", {"server": "s", "path": "/p"}, "spec.nfs", "may not specify more than 1 volume type"),
    (_PV, "spec.hostPath.path", "/a/../b", "spec.hostPath.path", "must not contain '..'"),
    (
        _PV,
        "spec.persistentVolumeReclaimPolicy",
        "Burn",
        "spec.persistentVolumeReclaimPolicy",
        'supported values: "Delete", "Recycle", "Retain"',
    ),
    (_PV, "spec.volumeMode", "Tape", "spec.volumeMode", 'supported values: "Block", "Filesystem"'),
    (_PV, "spec.storageClassName", "A_b", "spec.storageClassName", "a lowercase RFC 1123 subdomain"),
    (_PV, "spec.nodeAffinity", {}, "spec.nodeAffinity.required", "Required value"),
    (_PVC, "spec.accessModes", [], "spec.accessModes", "Required value: at least 1 access mode is required"),
    (_PVC, "spec.resources", {}, "spec.resources[storage]", "Required value"),
    (
        _PVC,
        "spec.resources.requests.storage",
        "0",
        "spec.resources[storage]",
        'Invalid value: "0": must be greater than zero',
    ),
    (
        _PVC,
        "spec.dataSourceRef",
        {"kind": "Snapshot", "name": "s", "namespace": "x"},
        "spec.dataSourceRef",
        "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
    ),
    (_RQ, "spec.hard", {"gpus": "1"}, "spec.hard[gpus]", "must be a standard resource"),
    (_RQ, "spec.hard", {"pods": "1500m"}, "spec.hard[pods]", "must be an integer"),
    (_RQ, "spec.hard", {"cpu": "-1"}, "spec.hard[cpu]", "must be greater than or equal to 0"),
    (_RQ, "spec.hard", {"storage": "1"}, "spec.hard[storage]", "must be a standard resource for quota"),
    (_RQ, "spec.scopes", ["Cheap"], "spec.scopes", "unsupported scope"),
    (_RQ, "spec.scopes", ["BestEffort", "NotBestEffort"], "spec.scopes", "conflicting scopes"),
    (
        _RQ,
        "spec.scopeSelector",
        {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In"}]},
        "spec.scopeSelector.matchExpressions[0].values",
        "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
    ),
    (_LR, "spec.limits.0.type", "Node", f"{_LIMIT}.type", "must be a standard limit type or fully qualified"),
    (_LR, "spec.limits.0.min.cpu", "3", f"{_LIMIT}.min[cpu]", "min value 3 is greater than max value 2"),
    (
        _LR,
        "spec.limits.0.maxLimitRequestRatio",
        {"cpu": "500m"},
        f"{_LIMIT}.maxLimitRequestRatio[cpu]",
        "ratio 500m is less than 1",
    ),
    (
        _LR,
        "spec.limits.0",
        {"type": "Pod", "default": {"cpu": "1"}},
        f"{_LIMIT}.default",
        "Forbidden: may not be specified when `type` is 'Pod'",
    ),
    (
        _LR,
        "spec.limits.0",
        {"type": "PersistentVolumeClaim"},
        f"{_LIMIT}.limits",
        "either minimum or maximum storage value is required, but neither was provided",
    ),
    (_LR, "spec.limits.0.max.gpus", "1", f"{_LIMIT}.max[gpus]", "must be a standard resource"),
]


@pytest.mark.parametrize(("resource", "path", "value", "field", "message"), CASES)
def test_faults(
    sample: Sample, edited: Edited, faults: Faults, resource: Resource, path: str, value: Any, field: str, message: str
) -> None:
    """A wrong value must give a fault, at its path."""
    error = faults(resource, edited(sample(resource), path, value))[0]
    assert error.field == field
    assert message in error.message


@pytest.mark.parametrize(
    ("source", "field", "message"),
    [
        ({"nfs": {"server": "", "path": "data"}}, "spec.nfs.server", "Required value"),
        ({"nfs": {"server": "s", "path": "data"}}, "spec.nfs.path", "must be an absolute path"),
        ({"csi": {"driver": "d"}}, "spec.csi.volumeHandle", "Required value"),
        ({"csi": {"driver": "-", "volumeHandle": "v"}}, "spec.csi.driver", "a lowercase RFC 1123 subdomain"),
        (
            {"csi": {"driver": "d", "volumeHandle": "v", "nodePublishSecretRef": {"name": "s"}}},
            "spec.csi.nodePublishSecretRef.namespace",
            "Required value",
        ),
        ({"local": {"path": "/x"}}, "metadata.annotations", "Local volume requires node affinity"),
        ({"rbd": {"monitors": [], "image": "i"}}, "spec.rbd.monitors", "Required value"),
        (
            {"fc": {"targetWWNs": ["a"], "wwids": ["b"]}},
            "spec.fc.targetWWNs",
            "targetWWNs and wwids can not be specified simultaneously",
        ),
        ({"iscsi": {"targetPortal": "p", "iqn": "abc", "lun": 0}}, "spec.iscsi.iqn", "starting with iqn, eui, or naa"),
        (
            {"iscsi": {"targetPortal": "p", "iqn": "iqn.2015-02.example.com:t", "lun": 256}},
            "spec.iscsi.lun",
            "must be between 0 and 255, inclusive",
        ),
        ({"azureDisk": {"diskName": "d", "diskURI": "x"}}, "spec.azureDisk.diskURI", "diskURI has to start with"),
        ({"flocker": {}}, "spec.flocker", "one of datasetName and datasetUUID is required"),
        ({"flexVolume": {"driver": "a b"}}, "spec.flexVolume.driver", "name part must consist of"),
    ],
)
def test_source_faults(
    sample: Sample, edited: Edited, faults: Faults, source: KubeObject, field: str, message: str
) -> None:
    """Each kind of source must be asked for what it needs."""
    spec = {key: value for key, value in sample(_PV)["spec"].items() if key != "hostPath"}
    errors = faults(_PV, edited(sample(_PV), "spec", spec | source))
    assert any(error.field == field and message in error.message for error in errors)


def test_the_source_of_a_volume_is_immutable(sample: Sample, edited: Edited, faults: Faults, written: Written) -> None:
    """A volume must go on holding the same data; how large it is may change."""
    old = written(_PV, sample(_PV))
    assert faults(_PV, edited(old, "spec.capacity.storage", "2Gi"), old) == []
    (error,) = faults(_PV, edited(old, "spec.hostPath.path", "/other"), old)
    assert str(error) == (
        "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"
    )
    (error,) = faults(_PV, edited(old, "spec.volumeMode", "Block"), old)
    assert str(error) == 'volumeMode: Invalid value: "Block": field is immutable'


def test_a_claim_is_immutable_until_it_is_bound(
    sample: Sample, edited: Edited, faults: Faults, written: Written
) -> None:
    """A claim may be given its volume once, and asked for more room once it is bound."""
    old = written(_PVC, sample(_PVC))
    larger = edited(old, "spec.resources.requests.storage", "2Gi")
    (error,) = faults(_PVC, larger, old)
    assert error.field == "spec"
    assert error.message.startswith("Forbidden: spec is immutable after creation except resources.requests")
    bound = edited(edited(old, "spec.volumeName", "v"), "status", {"phase": "Bound", "capacity": {"storage": "1Gi"}})
    assert faults(_PVC, edited(old, "spec.volumeName", "v"), old) == []
    assert faults(_PVC, edited(bound, "spec.resources.requests.storage", "2Gi"), bound) == []
    (error,) = faults(_PVC, edited(bound, "spec.resources.requests.storage", "512Mi"), bound)
    assert str(error) == ("spec.resources.requests.storage: Forbidden: field can not be less than status.capacity")
    assert [error.field for error in faults(_PVC, edited(bound, "spec.volumeName", "w"), bound)] == ["spec"]


@pytest.mark.parametrize(
    "hard",
    [
        {"pods": "10", "requests.cpu": "1", "limits.memory": "1Gi", "count/deployments.apps": "3"},
        {"requests.example.com/gpu": "1", "services.nodeports": "0", "requests.storage": "1Ti", "hugepages-2Mi": "4Mi"},
        {"gold.storageclass.storage.k8s.io/requests.storage": "500Gi"},
    ],
)
def test_good_quotas(sample: Sample, edited: Edited, faults: Faults, hard: KubeObject) -> None:
    """What Kubernetes counts must be countable."""
    assert faults(_RQ, edited(sample(_RQ), "spec.hard", hard)) == []


def test_scopes_fit_their_resources(sample: Sample, edited: Edited, faults: Faults) -> None:
    """A scope about pods must not narrow down what pods don't use, and can't be changed."""
    obj = edited(edited(sample(_RQ), "spec.hard", {"services": "1"}), "spec.scopes", ["Terminating"])
    (error,) = faults(_RQ, obj)
    assert "unsupported scope applied to resource" in error.message
    good = edited(edited(sample(_RQ), "spec.hard", {"pods": "1"}), "spec.scopes", ["BestEffort"])
    assert faults(_RQ, good) == []
    (error,) = faults(_RQ, edited(good, "spec.scopes", ["Terminating"]), good)
    assert (error.field, error.message.endswith("field is immutable")) == ("spec.scopes", True)
