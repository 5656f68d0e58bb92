"""From a body to an object that fits its endpoint: the right kind, known fields, right types.

``fieldValidation`` says what becomes of unknown and duplicate fields: refused (Strict), reported in a Warning header
(Warn) or dropped silently (Ignore). Wrong types are always refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from controlplane.api.bodies import YAML_TYPES, decode_object
from controlplane.api.duplicates import duplicate_fields, duplicate_yaml_fields
from controlplane.api.persistence import MAXIMUM_OBJECT_BYTES
from flotilla.api.errors import ApiError, FieldError, bad_request, invalid, too_large
from flotilla.api.objects import KubeObject, encode
from flotilla.api.registry import Resource
from flotilla.api.schema_check import check, drop_nulls

_SHOWN = 20


def decode_for(resource: Resource, data: bytes, media_type: str, *, validation: str, warnings: list[str]) -> KubeObject:
    """The object of a create or an update. BadRequest, Invalid, UnsupportedMediaType; adds to ``warnings``."""
    obj = decode_object(data, media_type)
    admit(resource, obj, data, media_type, validation=validation, warnings=warnings)
    return obj


def admit(
    resource: Resource, obj: KubeObject, data: bytes, media_type: str, *, validation: str, warnings: list[str]
) -> None:
    """Check the object that ``data`` was decoded to, which is edited. BadRequest, Invalid; adds to ``warnings``."""
    require_type(resource, obj)
    if len(data) > MAXIMUM_OBJECT_BYTES and len(encode(obj)) > MAXIMUM_OBJECT_BYTES:
        raise too_large(MAXIMUM_OBJECT_BYTES)
    duplicates = find_duplicates(data, media_type, obj, validation=validation)
    check_fields(resource, obj, validation=validation, warnings=warnings, duplicates=duplicates)


def find_duplicates(data: bytes, media_type: str, value: Any, *, validation: str) -> list[str]:
    """Faults for fields that a body gives twice, if these are to be reported."""
    if validation == "Ignore":
        return []
    if media_type in YAML_TYPES:
        return duplicate_yaml_fields(data)
    return duplicate_fields(data, value) if not media_type or media_type.endswith("json") else []


def require_type(resource: Resource, obj: KubeObject) -> None:
    """Fill in a missing apiVersion and kind. BadRequest for those of something else."""
    api_version = obj.setdefault("apiVersion", resource.api_version) or resource.api_version
    kind = obj.setdefault("kind", resource.kind) or resource.kind
    if api_version != resource.api_version:
        message = f"does not match the expected API version ({resource.api_version})"
        raise bad_request(f"the API version in the data ({api_version}) {message}")
    if kind != resource.kind:
        raise bad_request(f'{kind} in version "{resource.version}" cannot be handled as a {resource.kind}')


def check_fields(
    resource: Resource,
    obj: KubeObject,
    *,
    validation: str,
    warnings: list[str],
    duplicates: Sequence[str] = (),
    applied: bool = False,
) -> None:
    """Check against the schema and drop nulls and unknown fields. BadRequest, Invalid.

    What is ``applied`` may lack required fields, which the object may have already, and may have no unknown ones,
    because nobody could own them.
    """
    try:
        report = check(resource.definition, obj) if resource.shape is None else resource.shape.admit(obj)
    except RecursionError as error:
        raise bad_request(f"{_subject(resource)}: it is nested too deeply") from error
    wrong = [error for error in report.errors if error.reason != "FieldValueRequired"]
    if wrong:
        raise bad_request(f"{_subject(resource)}: {'; '.join(str(error) for error in wrong[:_SHOWN])}")
    if applied and report.unknown:
        raise bad_request(f"failed to create typed patch object ({_typed_place(obj)}): {_undeclared(report.unknown)}")
    faults = [f'unknown field "{path}"' for path in report.unknown[:_SHOWN]]
    faults += duplicates[:_SHOWN]
    if faults and validation == "Strict":
        raise bad_request(f"{_subject(resource)}: strict decoding error: {', '.join(faults)}")
    if validation == "Warn":
        warnings.extend(faults)
    if resource.shape is None:
        for owner, name in report.strays:
            del owner[name]
        drop_nulls(obj)
    missing = [error for error in report.errors if error.reason == "FieldValueRequired"]
    if missing and not applied:
        raise _incomplete(resource, obj, missing)


def _typed_place(obj: KubeObject) -> str:
    """What is applied, as Kubernetes' messages of the merge name it."""
    metadata = obj.get("metadata") or {}
    group, _, version = str(obj["apiVersion"]).rpartition("/")
    return f"{metadata.get('namespace', '')}/{metadata.get('name', '')}; {group}/{version}, Kind={obj['kind']}"


def _undeclared(paths: Sequence[str]) -> str:
    faults = [f".{path}: field not declared in schema" for path in paths[:_SHOWN]]
    return faults[0] if len(faults) == 1 else "errors:\n" + "".join(f"  {fault}\n" for fault in faults)


def _subject(resource: Resource) -> str:
    return f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}'


def _incomplete(resource: Resource, obj: KubeObject, missing: Sequence[FieldError]) -> ApiError:
    name = (obj.get("metadata") or {}).get("name") or ""
    return invalid(resource.kind, name, missing, group=resource.group)
