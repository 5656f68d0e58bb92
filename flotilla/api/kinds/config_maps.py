"""ConfigMap: its strategy, and what Secrets have in common with it."""

from __future__ import annotations

from collections.abc import Iterable

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import each_invalid, forbidden, invalid, too_long
from flotilla.api.kinds.metadata import (
    metadata_fields,
    no_defaults,
    no_warnings,
    prepare_plain,
    prepare_plain_update,
    validate_metadata,
)
from flotilla.api.kinds.resource import Strategy
from flotilla.api.names import config_key_faults
from flotilla.api.objects import KubeObject

LARGEST_DATA_BYTES = 1024 * 1024
_WHY_FORBIDDEN = "field is immutable when `immutable` is set"


def validate_keys(keys: Iterable[str], path: str) -> list[FieldError]:
    """Faults of the keys of a data map."""
    faulty = [(key, faults) for key in keys if (faults := config_key_faults(key))]
    return [error for key, faults in faulty for error in each_invalid(f"{path}[{key}]", key, faults)]


def validate_immutability(obj: KubeObject, old: KubeObject, fields: tuple[str, ...]) -> list[FieldError]:
    """Once immutable, always so, data included."""
    if not old.get("immutable"):
        return []
    errors = [] if obj.get("immutable") else [forbidden("immutable", _WHY_FORBIDDEN)]
    changed = [field for field in fields if (obj.get(field) or {}) != (old.get(field) or {})]
    return errors + [forbidden(field, _WHY_FORBIDDEN) for field in changed]


def decoded_size_bytes(base64_text: str) -> int:
    """How many bytes a base64 text stands for."""
    return len(base64_text) * 3 // 4 - base64_text[-2:].count("=")


def _validate(config_map: KubeObject, old: KubeObject | None) -> list[FieldError]:
    errors = validate_metadata(config_map)
    data, binary = config_map.get("data") or {}, config_map.get("binaryData") or {}
    errors += validate_keys(data, "data") + validate_keys(binary, "binaryData")
    for key in data.keys() & binary.keys():
        errors.append(invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
    size = sum(len(value.encode()) for value in data.values()) + sum(map(decoded_size_bytes, binary.values()))
    if size > LARGEST_DATA_BYTES:
        errors.append(too_long("data", LARGEST_DATA_BYTES))
    return errors if old is None else errors + validate_immutability(config_map, old, ("data", "binaryData"))


STRATEGY = Strategy(
    default=no_defaults,
    validate=_validate,
    prepare_for_create=prepare_plain,
    prepare_for_update=prepare_plain_update,
    warnings=no_warnings,
    selectable_fields=metadata_fields,
)
