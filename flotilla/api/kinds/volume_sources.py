"""Validation of where a volume's data comes from, for the sources that pods and PersistentVolumes share.

Most of them say which fields must be set; these are a table. The others have a function. Fields that only a
PersistentVolume has are checked with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import each_invalid, forbidden, invalid, not_among, out_of_range, required
from flotilla.api.names import qualified_name_faults

Source = Mapping[str, Any]

REQUIRED_FIELDS: dict[str, tuple[str, ...]] = {
    "awsElasticBlockStore": ("volumeID",),
    "azureDisk": ("diskName", "diskURI"),
    "azureFile": ("secretName", "shareName"),
    "cephfs": ("monitors",),
    "cinder": ("volumeID",),
    "flexVolume": ("driver",),
    "gcePersistentDisk": ("pdName",),
    "gitRepo": ("repository",),
    "glusterfs": ("endpoints", "path"),
    "iscsi": ("targetPortal", "iqn"),
    "nfs": ("server", "path"),
    "persistentVolumeClaim": ("claimName",),
    "photonPersistentDisk": ("pdID",),
    "portworxVolume": ("volumeID",),
    "quobyte": ("registry", "volume"),
    "rbd": ("monitors", "image"),
    "scaleIO": ("gateway", "system", "volumeName"),
    "storageos": ("volumeName",),
    "vsphereVolume": ("volumePath",),
}
HOST_PATH_TYPES = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)
ONE_TYPE_ONLY = "may not specify more than 1 volume type"
_CACHING_MODES = ("None", "ReadOnly", "ReadWrite")
_DISK_KINDS = ("Dedicated", "Managed", "Shared")
_LONGEST_DRIVER_NAME = 63
_DRIVER_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_DRIVER_FAULT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_IQN = re.compile(r"iqn\.\d{4}-\d{2}\.([a-zA-Z0-9.-]+)(:[^,;*&$|\s]+)", re.ASCII)
_EUI = re.compile(r"eui.[0-9a-zA-Z]{16}", re.ASCII)
_NAA = re.compile(r"naa.[0-9a-zA-Z]{32}", re.ASCII)
_INITIATORS = {"iqn": _IQN, "eui": _EUI, "naa": _NAA}


def driver_name_faults(name: str | None, path: str) -> list[FieldError]:
    """Faults of the name of a CSI driver."""
    if not name:
        return [required(path)]
    errors: list[FieldError] = []
    if len(name) > _LONGEST_DRIVER_NAME:
        why = f"Too long: may not be more than {_LONGEST_DRIVER_NAME} bytes"
        errors.append(FieldError(path, why, "FieldValueTooLong"))
    return errors if _DRIVER_NAME.fullmatch(name) else [*errors, invalid(path, name, _DRIVER_FAULT)]


def _validate_initiator(name: str, path: str) -> list[FieldError]:
    pattern = _INITIATORS.get(name[:3])
    if pattern is None:
        return [invalid(path, name, "must be valid format starting with iqn, eui, or naa")]
    return [] if pattern.fullmatch(name) else [invalid(path, name, "must be valid format")]


def _validate_iscsi(source: Source, path: str) -> list[FieldError]:
    errors = _validate_initiator(source["iqn"], f"{path}.iqn") if source.get("iqn") else []
    errors += out_of_range(f"{path}.lun", source.get("lun"), 0, 255)
    authenticated = source.get("chapAuthDiscovery") or source.get("chapAuthSession")
    if authenticated and source.get("secretRef") is None:
        errors.append(required(f"{path}.secretRef"))
    if source.get("initiatorName") is not None:
        errors += _validate_initiator(source["initiatorName"], f"{path}.initiatorname")
    return errors


def _validate_nfs(source: Source, path: str) -> list[FieldError]:
    target = source.get("path") or ""
    return [] if not target or target.startswith("/") else [invalid(f"{path}.path", target, "must be an absolute path")]


def _validate_partition(source: Source, path: str) -> list[FieldError]:
    return out_of_range(f"{path}.partition", source.get("partition") or None, 1, 255)


def _validate_flocker(source: Source, path: str) -> list[FieldError]:
    name, uuid = source.get("datasetName") or "", source.get("datasetUUID")
    if not name and not uuid:
        return [required(path, "one of datasetName and datasetUUID is required")]
    if name and uuid:
        return [invalid(path, "resource", "datasetName and datasetUUID can not be specified simultaneously")]
    return [invalid(f"{path}.datasetName", name, "must not contain '/'")] if "/" in name else []


def _validate_fc(source: Source, path: str) -> list[FieldError]:
    targets, ids = source.get("targetWWNs") or [], source.get("wwids") or []
    if not targets and not ids:
        return [required(f"{path}.targetWWNs", "must specify either targetWWNs or wwids, but not both")]
    if targets and ids:
        why = "targetWWNs and wwids can not be specified simultaneously"
        return [invalid(f"{path}.targetWWNs", targets, why)]
    if not targets:
        return []
    if source.get("lun") is None:
        return [required(f"{path}.lun", "lun is required if targetWWNs is specified")]
    return out_of_range(f"{path}.lun", source["lun"], 0, 255)


def _validate_flex(source: Source, path: str) -> list[FieldError]:
    driver = source.get("driver") or ""
    errors = each_invalid(f"{path}.driver", driver, qualified_name_faults(driver)) if driver else []
    for key in source.get("options") or {}:
        namespace = key.partition("/")[0]
        if f".{namespace}".endswith((".kubernetes.io", ".k8s.io")):
            why = "must not use reserved namespace"
            errors.append(invalid(f"{path}.options[{key}]", key, why))
    return errors


def _validate_azure_disk(source: Source, path: str) -> list[FieldError]:
    errors = not_among(f"{path}.cachingMode", source.get("cachingMode"), _CACHING_MODES)
    kind, uri = source.get("kind") or "Shared", source.get("diskURI") or ""
    errors += not_among(f"{path}.kind", kind, _DISK_KINDS)
    if kind == "Managed" and uri and not uri.startswith("/subscriptions"):
        errors.append(invalid(f"{path}.diskURI", uri, "diskURI has to start with '/subscriptions'"))
    if kind in ("Shared", "Dedicated") and uri and not uri.startswith("https"):
        errors.append(invalid(f"{path}.diskURI", uri, "diskURI has to start with 'https'"))
    return errors


def _validate_git_repo(source: Source, path: str) -> list[FieldError]:
    directory = source.get("directory") or ""
    if directory.startswith("/"):
        return [invalid(f"{path}.directory", directory, "must be a relative path")]
    return no_backsteps(directory, f"{path}.directory")


def _validate_host_path(source: Source, path: str) -> list[FieldError]:
    target = source.get("path") or ""
    errors = no_backsteps(target, f"{path}.path") if target else [required(f"{path}.path")]
    return errors + not_among(f"{path}.type", source.get("type"), HOST_PATH_TYPES)


def _validate_cinder(source: Source, path: str) -> list[FieldError]:
    reference = source.get("secretRef")
    return [required(f"{path}.secretRef.name")] if reference is not None and not reference.get("name") else []


def _validate_glusterfs(source: Source, path: str) -> list[FieldError]:
    namespace = source.get("endpointsNamespace")
    if namespace == "":
        why = "if the endpointnamespace is set, it must be a valid namespace name"
        return [invalid(f"{path}.endpointsNamespace", namespace, why)]
    return []


_VALIDATORS: dict[str, Callable[[Source, str], list[FieldError]]] = {
    "awsElasticBlockStore": _validate_partition,
    "azureDisk": _validate_azure_disk,
    "cinder": _validate_cinder,
    "fc": _validate_fc,
    "flexVolume": _validate_flex,
    "flocker": _validate_flocker,
    "gcePersistentDisk": _validate_partition,
    "gitRepo": _validate_git_repo,
    "glusterfs": _validate_glusterfs,
    "hostPath": _validate_host_path,
    "iscsi": _validate_iscsi,
    "nfs": _validate_nfs,
}


def no_backsteps(target: str, path: str) -> list[FieldError]:
    """A fault if a path leads upwards."""
    return [invalid(path, target, "must not contain '..'")] if ".." in target.split("/") else []


def validate_source(kind: str, source: Source, path: str) -> list[FieldError]:
    """Faults of one source of that kind at ``path``; a kind that isn't known here has none."""
    errors = [required(f"{path}.{field}") for field in REQUIRED_FIELDS.get(kind, ()) if not source.get(field)]
    validator = _VALIDATORS.get(kind)
    return errors + validator(source, path) if validator else errors


def more_than_one(kinds: list[str], path: str) -> list[FieldError]:
    """A fault for each source beyond the first."""
    return [forbidden(f"{path}.{kind}", ONE_TYPE_ONLY) for kind in kinds[1:]]
