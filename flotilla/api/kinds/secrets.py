"""Secret: its strategy. ``stringData`` is for writing only: it becomes ``data``."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import msgspec

from flotilla.api.errors import FieldError
from flotilla.api.kinds.config_maps import (
    LARGEST_DATA_BYTES,
    decoded_size_bytes,
    validate_immutability,
    validate_keys,
)
from flotilla.api.kinds.faults import IMMUTABLE, invalid, required, too_long
from flotilla.api.kinds.metadata import (
    metadata_fields,
    no_warnings,
    prepare_plain,
    prepare_plain_update,
    validate_metadata,
)
from flotilla.api.kinds.resource import Strategy
from flotilla.api.objects import KubeObject

_REQUIRED_KEYS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
}
_DOCKER_TYPES = ("kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg")
_ACCOUNT_ANNOTATION = "kubernetes.io/service-account.name"


def _default(secret: KubeObject) -> None:
    secret["type"] = secret.get("type") or "Opaque"
    plain = secret.pop("stringData", None)
    if plain:
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in plain.items()}
        secret["data"] = {**(secret.get("data") or {}), **encoded}


def _validate_docker_config(secret: KubeObject) -> list[FieldError]:
    (key,) = _REQUIRED_KEYS[secret["type"]]
    try:
        msgspec.json.decode(base64.b64decode(secret["data"][key]), type=dict[str, Any])
    except (msgspec.DecodeError, binascii.Error):
        return [invalid(f"data[{key}]", "<secret contents redacted>", "must be a JSON object")]
    return []


def _validate_type(secret: KubeObject) -> list[FieldError]:
    """Faults against what the well-known types promise to their readers."""
    kind, data = secret["type"], secret.get("data") or {}
    missing = [required(f"data[{key}]") for key in _REQUIRED_KEYS.get(kind, ()) if key not in data]
    if missing:
        return missing
    if kind in _DOCKER_TYPES:
        return _validate_docker_config(secret)
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & data.keys():
        return [required("data[username]"), required("data[password]")]
    annotations = secret["metadata"].get("annotations") or {}
    if kind == "kubernetes.io/service-account-token" and not annotations.get(_ACCOUNT_ANNOTATION):
        return [required(f"metadata.annotations[{_ACCOUNT_ANNOTATION}]")]
    return []


def _validate(secret: KubeObject, old: KubeObject | None) -> list[FieldError]:
    data = secret.get("data") or {}
    errors = validate_metadata(secret) + validate_keys(data, "data") + _validate_type(secret)
    if sum(map(decoded_size_bytes, data.values())) > LARGEST_DATA_BYTES:
        errors.append(too_long("data", LARGEST_DATA_BYTES))
    if old is None:
        return errors
    if secret["type"] != old.get("type", "Opaque"):
        errors.append(invalid("type", secret["type"], IMMUTABLE))
    return errors + validate_immutability(secret, old, ("data",))


def _selectable_fields(secret: Mapping[str, Any]) -> dict[str, str]:
    return metadata_fields(secret) | {"type": secret.get("type", "")}


STRATEGY = Strategy(
    default=_default,
    validate=_validate,
    prepare_for_create=prepare_plain,
    prepare_for_update=prepare_plain_update,
    warnings=no_warnings,
    selectable_fields=_selectable_fields,
)
