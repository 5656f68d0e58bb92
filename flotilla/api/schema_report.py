"""What a comparison of an object with its kind's schema found."""

from __future__ import annotations

from dataclasses import dataclass, field

from flotilla.api.errors import FieldError


@dataclass(frozen=True, slots=True)
class SchemaReport:
    """What a check found, in document order.

    ``unknown`` are paths such as ``spec.template.spec.containers[0].imagee``. ``errors`` have the reason
    ``FieldValueTypeInvalid`` (wrong type or form; the object can't be decoded) or ``FieldValueRequired``.
    """

    unknown: list[str] = field(default_factory=list)
    errors: list[FieldError] = field(default_factory=list)
