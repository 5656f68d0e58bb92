"""How validators word faults: one constructor for each cause, with the texts of Kubernetes' ``field.Error``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from flotilla.api.errors import FieldError

MUST_NOT_BE_NEGATIVE = "must be greater than or equal to 0"
MUST_BE_POSITIVE = "must be greater than 0"
IMMUTABLE = "field is immutable"
_LONGEST_SHOWN = 256


def shown(value: Any) -> str:
    """A value as messages quote it: JSON, cut after 256 characters."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "..."


def required(path: str, why: str = "") -> FieldError:
    return FieldError(path, f"Required value: {why}" if why else "Required value", "FieldValueRequired")


def invalid(path: str, value: Any, why: str) -> FieldError:
    return FieldError(path, f"Invalid value: {shown(value)}: {why}", "FieldValueInvalid")


def invalid_whole(path: str, why: str) -> FieldError:
    """A fault of a structure that is too large to quote."""
    return FieldError(path, f"Invalid value: {why}", "FieldValueInvalid")


def unsupported(path: str, value: Any, supported: Iterable[str]) -> FieldError:
    listed = ", ".join(f'"{one}"' for one in supported)
    return FieldError(path, f"Unsupported value: {shown(value)}: supported values: {listed}", "FieldValueNotSupported")


def duplicate(path: str, value: Any) -> FieldError:
    return FieldError(path, f"Duplicate value: {shown(value)}", "FieldValueDuplicate")


def forbidden(path: str, why: str) -> FieldError:
    return FieldError(path, f"Forbidden: {why}", "FieldValueForbidden")


def not_found(path: str, value: Any) -> FieldError:
    return FieldError(path, f"Not found: {shown(value)}", "FieldValueNotFound")


def too_long(path: str, limit_bytes: int) -> FieldError:
    return FieldError(path, f"Too long: may not be more than {limit_bytes} bytes", "FieldValueTooLong")


def too_many(path: str, count: int, limit: int) -> FieldError:
    return FieldError(path, f"Too many: {count}: must have at most {limit} items", "FieldValueTooMany")


def each_invalid(path: str, value: Any, whys: Iterable[str]) -> list[FieldError]:
    """One fault for each of ``whys``."""
    return [invalid(path, value, why) for why in whys]


def negative(path: str, value: int | None) -> list[FieldError]:
    """A fault if the number is below 0; absent is fine."""
    return [invalid(path, value, MUST_NOT_BE_NEGATIVE)] if value is not None and value < 0 else []


def not_positive(path: str, value: int | None) -> list[FieldError]:
    """A fault if the number is below 1; absent is fine."""
    return [invalid(path, value, MUST_BE_POSITIVE)] if value is not None and value <= 0 else []


def out_of_range(path: str, value: int | None, lowest: int, highest: int) -> list[FieldError]:
    """A fault if the number is not within both bounds; absent is fine."""
    if value is None or lowest <= value <= highest:
        return []
    return [invalid(path, value, f"must be between {lowest} and {highest}, inclusive")]


def bad_port(path: str, value: int | None) -> list[FieldError]:
    return out_of_range(path, value, 1, 65535)


def not_among(path: str, value: str | None, supported: tuple[str, ...]) -> list[FieldError]:
    """A fault if the value is set to something else; absent and empty are fine."""
    return [unsupported(path, value, supported)] if value and value not in supported else []
