"""Validation of references to objects of any kind, by group, kind or resource, and name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import each_invalid, required
from flotilla.api.names import dns_subdomain_faults, path_segment_faults


def validate_segments(holder: Mapping[str, Any], fields: tuple[str, ...], path: str) -> list[FieldError]:
    """Faults of fields that must be set to names which fit into a path."""
    errors: list[FieldError] = []
    for field in fields:
        value = holder.get(field)
        if value:
            errors += each_invalid(f"{path}.{field}", value, path_segment_faults(value))
        else:
            errors.append(required(f"{path}.{field}"))
    return errors


def validate_typed_reference(reference: Mapping[str, Any], path: str) -> list[FieldError]:
    """Faults of a reference by ``apiGroup``, ``kind`` and ``name``."""
    group = reference.get("apiGroup")
    errors = [] if group is None else each_invalid(f"{path}.apiGroup", group, dns_subdomain_faults(group))
    return errors + validate_segments(reference, ("kind", "name"), path)
