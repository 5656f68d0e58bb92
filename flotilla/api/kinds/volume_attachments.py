"""VolumeAttachment: its strategy. Attaching is the work of CSI drivers' own controllers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.columns import spec_of, status_of
from flotilla.api.kinds.csi import validate_driver_name
from flotilla.api.kinds.faults import IMMUTABLE, each_invalid, forbidden, invalid, required, too_long
from flotilla.api.kinds.metadata import keep_status, metadata_fields, no_defaults, no_warnings, validate_metadata
from flotilla.api.kinds.resource import Strategy
from flotilla.api.names import dns_subdomain_faults
from flotilla.api.objects import KubeObject

_LARGEST_METADATA_BYTES = 256 * 1024
_LONGEST_MESSAGE = 1024
_ONE_SOURCE = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"


def _validate_source(source: Mapping[str, Any], path: str) -> list[FieldError]:
    inline, volume = source.get("inlineVolumeSpec"), source.get("persistentVolumeName")
    if inline is None and volume is None:
        return [required(path, _ONE_SOURCE)]
    if inline is not None and volume is not None:
        return [forbidden(path, _ONE_SOURCE)]
    if volume is None:
        return []
    where = f"{path}.persistentVolumeName"
    if not volume:
        return [required(where, "must specify non empty persistentVolumeName")]
    return each_invalid(where, volume, dns_subdomain_faults(volume))


def _validate_status(subresource: str, attachment: KubeObject, old: KubeObject) -> list[FieldError]:
    """Faults of what an attacher reports."""
    status = status_of(attachment)
    size = sum(len(key) + len(value) for key, value in (status.get("attachmentMetadata") or {}).items())
    errors: list[FieldError] = []
    if size > _LARGEST_METADATA_BYTES:
        errors.append(too_long("status.attachmentMetadata", _LARGEST_METADATA_BYTES))
    for field in ("attachError", "detachError"):
        report = status.get(field) or {}
        if len(report.get("message") or "") > _LONGEST_MESSAGE:
            errors.append(too_long(f"status.{field}.message", _LONGEST_MESSAGE))
        code = report.get("errorCode")
        if code is not None and code < 0:
            errors.append(invalid(f"status.{field}.errorCode", code, "must be between 0 and 2147483647, inclusive"))
    return errors


def _validate(attachment: KubeObject, old: KubeObject | None) -> list[FieldError]:
    spec = spec_of(attachment)
    errors = validate_metadata(attachment)
    errors += validate_driver_name(spec.get("attacher") or "", "spec.attacher")
    errors += _validate_source(spec.get("source") or {}, "spec.source")
    node = spec.get("nodeName") or ""
    errors += each_invalid("spec.nodeName", node, dns_subdomain_faults(node))
    if old is not None and spec != spec_of(old):
        errors.append(invalid("spec", spec, IMMUTABLE))
    return errors


def _prepare_for_create(attachment: KubeObject) -> None:
    attachment["status"] = {"attached": False}


def _selectable_fields(attachment: Mapping[str, Any]) -> dict[str, str]:
    spec = spec_of(attachment)
    return metadata_fields(attachment) | {
        "spec.attacher": spec.get("attacher") or "",
        "spec.nodeName": spec.get("nodeName") or "",
    }


STRATEGY = Strategy(
    default=no_defaults,
    validate=_validate,
    prepare_for_create=_prepare_for_create,
    prepare_for_update=keep_status,
    warnings=no_warnings,
    selectable_fields=_selectable_fields,
    status_subresource=True,
    validate_subresource=_validate_status,
)
