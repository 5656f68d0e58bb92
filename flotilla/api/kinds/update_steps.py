"""Validation of how far an update may go at a time: a number of pods or a percentage of them."""

from __future__ import annotations

import re

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import MUST_NOT_BE_NEGATIVE, invalid

_PERCENT = re.compile(r"[0-9]{1,9}%")
_PERCENT_FAULT = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for "
    "validation is '[0-9]+%')"
)


def validate_step(value: int | str, path: str) -> list[FieldError]:
    """Faults of a number or percentage that may not be negative."""
    if isinstance(value, int):
        return [invalid(path, value, MUST_NOT_BE_NEGATIVE)] if value < 0 else []
    return [] if _PERCENT.fullmatch(value) else [invalid(path, value, _PERCENT_FAULT)]


def step_amount(value: int | str) -> int:
    """The number in a valid step, whether of pods or of per cent."""
    return value if isinstance(value, int) else int(value.removesuffix("%"))


def more_than_all(value: int | str, path: str) -> list[FieldError]:
    """A fault if a valid step is more than 100 %."""
    if isinstance(value, int) or step_amount(value) <= 100:
        return []
    return [invalid(path, value, "must not be greater than 100%")]
