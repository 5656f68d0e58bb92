"""What a comparison of an object with its kind's schema found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flotilla.api.errors import FieldError


@dataclass(frozen=True, slots=True)
class SchemaReport:
    """What a check found, in document order.

    ``unknown`` are paths such as ``spec.template.spec.containers[0].imagee``, ``strays`` the parts of the object that
    they are in, with their names, where they have not been taken out already. ``errors`` have the reason
    ``FieldValueTypeInvalid`` (wrong type or form; the object can't be decoded) or ``FieldValueRequired``.
    """

    unknown: list[str] = field(default_factory=list)
    errors: list[FieldError] = field(default_factory=list)
    strays: list[tuple[dict[str, Any], str]] = field(default_factory=list)
