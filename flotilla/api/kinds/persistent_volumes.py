"""PersistentVolume: its strategy."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.claims import (
    PENDING,
    protect,
    validate_access_modes,
    validate_class_names,
    validate_volume_mode,
)
from flotilla.api.kinds.faults import IMMUTABLE, forbidden, invalid, not_among, required, unsupported
from flotilla.api.kinds.metadata import keep_status, metadata_fields, validate_metadata
from flotilla.api.kinds.node_selectors import validate_required_terms
from flotilla.api.kinds.pod_defaults import fill
from flotilla.api.kinds.resource import Strategy
from flotilla.api.kinds.resource_names import validate_amount
from flotilla.api.kinds.volume_defaults import default_source
from flotilla.api.kinds.volume_sources import driver_name_faults, more_than_one, no_backsteps, validate_source
from flotilla.api.objects import KubeObject
from flotilla.api.quantities import parse_quantity
from flotilla.api.storage import VOLUME_PROTECTION, local_node

SOURCES = (
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
)
MOUNTED_SOURCES = ("hostPath", "local")
_RECLAIM_POLICIES = ("Delete", "Recycle", "Retain")
_SECRET_REFERENCES = (
    "controllerPublishSecretRef",
    "controllerExpandSecretRef",
    "nodePublishSecretRef",
    "nodeStageSecretRef",
    "nodeExpandSecretRef",
)


def _default(volume: KubeObject) -> None:
    spec = volume.setdefault("spec", {})
    fill(spec, "persistentVolumeReclaimPolicy", "Retain")
    fill(spec, "volumeMode", "Filesystem")
    default_source(spec)
    status = volume.get("status") or {}
    volume["status"] = {**status, "phase": status.get("phase") or PENDING}


def _validate_capacity(spec: Mapping[str, Any]) -> list[FieldError]:
    capacity = spec.get("capacity") or {}
    errors = [] if capacity else [required("spec.capacity")]
    if "storage" not in capacity or len(capacity) > 1:
        errors.append(unsupported("spec.capacity", capacity, ("storage",)))
    for name, amount in capacity.items():
        path = f"spec.capacity[{name}]"
        errors += validate_amount(name, amount, path)
        if parse_quantity(amount) <= 0:
            errors.append(invalid(path, str(amount), "must be greater than zero"))
    return errors


def _validate_csi(source: Mapping[str, Any], path: str) -> list[FieldError]:
    errors = driver_name_faults(source.get("driver"), f"{path}.driver")
    if not source.get("volumeHandle"):
        errors.append(required(f"{path}.volumeHandle"))
    references = [field for field in _SECRET_REFERENCES if source.get(field) is not None]
    return errors + [
        required(f"{path}.{field}.{part}")
        for field in references
        for part in ("name", "namespace")
        if not source[field].get(part)
    ]


def _validate_local(source: Mapping[str, Any], spec: Mapping[str, Any]) -> list[FieldError]:
    target = source.get("path") or ""
    errors = no_backsteps(target, "spec.local.path") if target else [required("spec.local.path")]
    if not (spec.get("nodeAffinity") or {}).get("required"):
        errors.append(required("metadata.annotations", "Local volume requires node affinity"))
    return errors


def _validate_source(spec: Mapping[str, Any]) -> list[FieldError]:
    kinds = [kind for kind in SOURCES if spec.get(kind) is not None]
    if not kinds:
        return [required("spec", "must specify a volume type")]
    kind, errors = kinds[0], more_than_one(kinds, "spec")
    if kind == "csi":
        return errors + _validate_csi(spec["csi"], "spec.csi")
    if kind == "local":
        return errors + _validate_local(spec["local"], spec)
    if kind == "azureFile" and spec[kind].get("secretNamespace") == "":
        errors.append(required("spec.azureFile.secretNamespace"))
    return errors + validate_source(kind, spec[kind], f"spec.{kind}")


def _validate_spec(spec: Mapping[str, Any]) -> list[FieldError]:
    policy = spec.get("persistentVolumeReclaimPolicy")
    errors = validate_access_modes(spec, "spec") + _validate_capacity(spec)
    errors += not_among("spec.persistentVolumeReclaimPolicy", policy, _RECLAIM_POLICIES)
    affinity = spec.get("nodeAffinity")
    if affinity is not None:
        where = "spec.nodeAffinity.required"
        terms = affinity.get("required")
        errors += [required(where)] if terms is None else validate_required_terms(terms, where)
    errors += _validate_source(spec)
    target = (spec.get("hostPath") or {}).get("path") or ""
    if policy == "Recycle" and target and posixpath.normpath(target) in ("/", "//"):
        why = "may not be 'recycle' for a hostPath mount of '/'"
        errors.append(forbidden("spec.persistentVolumeReclaimPolicy", why))
    return errors + validate_class_names(spec, "spec") + validate_volume_mode(spec, "spec")


def _source_of(spec: Mapping[str, Any]) -> KubeObject:
    """The sources without what may change in them: a CSI driver's secrets."""
    source = {kind: spec.get(kind) for kind in SOURCES}
    if spec.get("csi") is not None:
        source["csi"] = {key: value for key, value in spec["csi"].items() if key not in _SECRET_REFERENCES}
    return source


def _validate_update(spec: Mapping[str, Any], was: Mapping[str, Any]) -> list[FieldError]:
    errors: list[FieldError] = []
    if _source_of(spec) != _source_of(was):
        path = "spec.persistentvolumesource"
        errors.append(forbidden(path, f"{path} is immutable after creation"))
    if spec.get("volumeMode") != was.get("volumeMode"):
        errors.append(invalid("volumeMode", spec.get("volumeMode"), IMMUTABLE))
    if was.get("nodeAffinity") is not None and spec.get("nodeAffinity") != was["nodeAffinity"]:
        errors.append(invalid("nodeAffinity", spec.get("nodeAffinity"), IMMUTABLE))
    return errors


def _validate(volume: KubeObject, old: KubeObject | None) -> list[FieldError]:
    errors = validate_metadata(volume) + _validate_spec(volume["spec"])
    return errors if old is None else errors + _validate_update(volume["spec"], old.get("spec") or {})


def _prepare_for_create(volume: KubeObject) -> None:
    volume["status"] = {"phase": PENDING}
    protect(volume, VOLUME_PROTECTION)


def _warnings(volume: KubeObject) -> list[str]:
    """Name what the nodes of this version can't mount."""
    sources = [kind for kind in SOURCES if (volume.get("spec") or {}).get(kind) is not None]
    ignored = ["spec.mountOptions: not used for directories"] if (volume.get("spec") or {}).get("mountOptions") else []
    return ignored + [
        f"spec.{kind}: this version of Flotilla can't mount such volumes; pods that use it will not start"
        for kind in sources
        if kind not in MOUNTED_SOURCES and not (kind == "csi" and local_node(volume))
    ]


STRATEGY = Strategy(
    default=_default,
    validate=_validate,
    prepare_for_create=_prepare_for_create,
    prepare_for_update=keep_status,
    warnings=_warnings,
    selectable_fields=metadata_fields,
    status_subresource=True,
)
