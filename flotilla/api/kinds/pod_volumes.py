"""Validation of a pod's volumes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.claims import validate_claim_spec
from flotilla.api.kinds.faults import (
    MUST_NOT_BE_NEGATIVE,
    duplicate,
    each_invalid,
    invalid,
    not_among,
    required,
    unsupported,
)
from flotilla.api.kinds.label_selectors import validate_label_selector
from flotilla.api.kinds.pod_environment import validate_field_reference, validate_resource_reference
from flotilla.api.kinds.volume_sources import driver_name_faults, more_than_one, validate_source
from flotilla.api.names import dns_label_faults
from flotilla.api.quantities import parse_quantity

MOUNTED_KINDS = (
    "emptyDir",
    "hostPath",
    "configMap",
    "secret",
    "downwardAPI",
    "projected",
    "persistentVolumeClaim",
    "ephemeral",
    "image",
)
MOUNTED_PROJECTIONS = ("configMap", "secret", "downwardAPI")
_PROJECTIONS = ("secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_KEY_TYPES = ("ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519", "RSA3072", "RSA4096")
_SHORTEST_TOKEN_S = 600
_LONGEST_TOKEN_S = 2**32
_SHORTEST_CERTIFICATE_S = 3600
_LONGEST_CERTIFICATE_S = 91 * 86400


def path_faults(path: str) -> list[str]:
    """Why a path is not one below a directory."""
    faults = ["must be a relative path"] if path.startswith("/") else []
    if ".." in path.split("/"):
        faults.append("must not contain '..'")
    return faults


def _validate_mode(mode: int | None, path: str) -> list[FieldError]:
    if mode is None or 0 <= mode <= 0o777:
        return []
    return [invalid(path, mode, "must be a number between 0 and 0777 (octal), both inclusive")]


def _validate_target(target: str | None, path: str) -> list[FieldError]:
    if not target:
        return [required(path)]
    return each_invalid(path, target, path_faults(target))


def _validate_items(source: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, item in enumerate(source.get("items") or ()):
        where = f"{path}.items[{index}]"
        errors += [] if item.get("key") else [required(f"{where}.key")]
        errors += _validate_target(item.get("path"), f"{where}.path")
        errors += _validate_mode(item.get("mode"), f"{where}.mode")
    return errors


def _validate_downward_items(source: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, item in enumerate(source.get("items") or ()):
        where = f"{path}.items[{index}]"
        errors += _validate_target(item.get("path"), f"{where}.path")
        errors += _validate_mode(item.get("mode"), f"{where}.mode")
        field, resource = item.get("fieldRef"), item.get("resourceFieldRef")
        if field is not None and resource is not None:
            errors.append(
                invalid(where, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
            )
        elif field is not None:
            errors += validate_field_reference(field, f"{where}.fieldRef", volume=True)
        elif resource is not None:
            errors += validate_resource_reference(resource, f"{where}.resourceFieldRef", volume=True)
        else:
            errors.append(required(f"{where}.fieldRef", "one of fieldRef and resourceFieldRef is required"))
    return errors


def _validate_token(token: Mapping[str, Any], path: str) -> list[FieldError]:
    errors = _validate_target(token.get("path"), f"{path}.path")
    lifetime = token.get("expirationSeconds", 3600)
    if lifetime < _SHORTEST_TOKEN_S:
        errors.append(invalid(f"{path}.expirationSeconds", lifetime, "may not specify a duration less than 10 minutes"))
    elif lifetime > _LONGEST_TOKEN_S:
        errors.append(
            invalid(f"{path}.expirationSeconds", lifetime, "may not specify a duration larger than 2^32 seconds")
        )
    return errors


def _validate_trust_bundle(source: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    name, signer = source.get("name"), source.get("signerName")
    if name is not None and signer is not None:
        errors.append(invalid(path, source, "only one of name and signerName may be used"))
    elif name is None and signer is None:
        errors.append(required(path, "either name or signerName must be specified"))
    elif name == "":
        errors.append(required(f"{path}.name", "must be a valid object name"))
    elif signer == "":
        errors.append(required(f"{path}.signerName", "must be a valid signer name"))
    if source.get("labelSelector") is not None:
        errors += validate_label_selector(source["labelSelector"], f"{path}.labelSelector")
    return errors + _validate_target(source.get("path"), f"{path}.path")


def _validate_certificate(source: Mapping[str, Any], path: str) -> list[FieldError]:
    errors = [] if source.get("signerName") else [required(f"{path}.signerName")]
    if source.get("keyType") not in _KEY_TYPES:
        errors.append(unsupported(f"{path}.keyType", source.get("keyType"), _KEY_TYPES))
    lifetime = source.get("maxExpirationSeconds")
    if lifetime is not None and not _SHORTEST_CERTIFICATE_S <= lifetime <= _LONGEST_CERTIFICATE_S:
        bounds = f"[{_SHORTEST_CERTIFICATE_S}, {_LONGEST_CERTIFICATE_S}]"
        errors.append(invalid(f"{path}.maxExpirationSeconds", lifetime, f"must be in range {bounds}"))
    paths = [field for field in ("credentialBundlePath", "keyPath", "certificateChainPath") if source.get(field)]
    if not paths:
        errors.append(required(path, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"))
    return errors + [
        error for field in paths for error in each_invalid(f"{path}.{field}", source[field], path_faults(source[field]))
    ]


def _validate_projection(kind: str, body: Mapping[str, Any], path: str) -> list[FieldError]:
    match kind:
        case "secret" | "configMap":
            named = [] if body.get("name") else [required(f"{path}.name")]
            return named + _validate_items(body, path)
        case "downwardAPI":
            return _validate_downward_items(body, path)
        case "serviceAccountToken":
            return _validate_token(body, path)
        case "clusterTrustBundle":
            return _validate_trust_bundle(body, path)
    return _validate_certificate(body, path)


def _projected_paths(kind: str, body: Mapping[str, Any]) -> list[str]:
    """The files that one projection makes, as far as the pod names them."""
    fields = ("path", "credentialBundlePath", "keyPath", "certificateChainPath")
    own = [body[field] for field in fields if body.get(field)]
    return own + [item["path"] for item in body.get("items") or () if item.get("path")]


def _validate_projected(source: Mapping[str, Any], path: str) -> list[FieldError]:
    errors = _validate_mode(source.get("defaultMode"), f"{path}.defaultMode")
    taken: set[str] = set()
    for index, projection in enumerate(source.get("sources") or ()):
        where = f"{path}.sources[{index}]"
        given = [kind for kind in _PROJECTIONS if projection.get(kind) is not None]
        if not given:
            errors.append(required(where, "must specify a projected volume source"))
        errors += more_than_one(given, where)
        for kind in given[:1]:
            errors += _validate_projection(kind, projection[kind], f"{where}.{kind}")
            for target in _projected_paths(kind, projection[kind]):
                if target in taken:
                    errors.append(invalid(path, target, "conflicting duplicate paths"))
                taken.add(target)
    return errors


def _validate_csi(source: Mapping[str, Any], path: str) -> list[FieldError]:
    errors = driver_name_faults(source.get("driver"), f"{path}.driver")
    reference = source.get("nodePublishSecretRef")
    if reference is not None and not reference.get("name"):
        errors.append(required(f"{path}.nodePublishSecretRef.name"))
    return errors


def _validate_ephemeral(source: Mapping[str, Any], path: str) -> list[FieldError]:
    template = source.get("volumeClaimTemplate")
    if template is None:
        return [required(f"{path}.volumeClaimTemplate")]
    return validate_claim_spec(template.get("spec") or {}, f"{path}.volumeClaimTemplate.spec")


def _validate_empty_dir(source: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    medium, limit = source.get("medium") or "", source.get("sizeLimit")
    if medium not in ("", "Memory") and not medium.startswith("HugePages"):
        errors.append(unsupported(f"{path}.medium", medium, ("HugePages", "Memory")))
    if limit is not None and parse_quantity(limit) < 0:
        errors.append(invalid(f"{path}.sizeLimit", limit, MUST_NOT_BE_NEGATIVE))
    return errors


def _validate_source(kind: str, source: Mapping[str, Any], path: str) -> list[FieldError]:
    match kind:
        case "emptyDir":
            return _validate_empty_dir(source, path)
        case "secret" | "configMap":
            name = "secretName" if kind == "secret" else "name"
            errors = [] if source.get(name) else [required(f"{path}.{name}")]
            errors += _validate_mode(source.get("defaultMode"), f"{path}.defaultMode")
            return errors + _validate_items(source, path)
        case "downwardAPI":
            errors = _validate_mode(source.get("defaultMode"), f"{path}.defaultMode")
            return errors + _validate_downward_items(source, path)
        case "projected":
            return _validate_projected(source, path)
        case "csi":
            return _validate_csi(source, path)
        case "ephemeral":
            return _validate_ephemeral(source, path)
        case "image":
            return not_among(f"{path}.pullPolicy", source.get("pullPolicy"), _PULL_POLICIES)
    return validate_source(kind, source, path)


def validate_volumes(spec: Mapping[str, Any], path: str) -> tuple[list[FieldError], frozenset[str]]:
    """Faults of the volumes of a pod spec at ``path``, and the names that mounts may use."""
    errors: list[FieldError] = []
    names: set[str] = set()
    for index, volume in enumerate(spec.get("volumes") or ()):
        where, name = f"{path}.volumes[{index}]", volume.get("name")
        if not name:
            errors.append(required(f"{where}.name"))
        else:
            errors += each_invalid(f"{where}.name", name, dns_label_faults(name))
            if name in names:
                errors.append(duplicate(f"{where}.name", name))
            names.add(name)
        kinds = [kind for kind, source in volume.items() if kind != "name" and source is not None]
        if not kinds:
            errors.append(required(where, "must specify a volume type"))
        errors += more_than_one(kinds, where)
        for kind in kinds[:1]:
            errors += _validate_source(kind, volume[kind], f"{where}.{kind}")
    return errors, frozenset(names)
