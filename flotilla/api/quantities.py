"""Resource quantities as Kubernetes writes them: ``100m``, ``1.5``, ``64Mi``, ``2e3``.

Arithmetic is exact (:class:`fractions.Fraction`), because a request and a limit that differ by one byte differ.
Conversions to integers round up, as Kubernetes does: a container gets at least what it asked for.
Source: ``k8s.io/apimachinery/pkg/api/resource``.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

_NUMBER = re.compile(
    r"([+-]?)([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:([eE][+-]?[0-9]{1,3})|([KMGTPE]i|[numkMGTPE]?))", re.ASCII
)
_SUFFIXES = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 10**3),
    "": Fraction(1),
    "k": Fraction(10**3),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "T": Fraction(10**12),
    "P": Fraction(10**15),
    "E": Fraction(10**18),
} | {f"{letter}i": Fraction(1024**power) for power, letter in enumerate("KMGTPE", start=1)}
_LARGEST_LENGTH = 64
_LARGEST_EXPONENT = 30
_BINARY_SUFFIXES = ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki")


class InvalidQuantityError(ValueError):
    """The text is no quantity."""


def _fault(text: str) -> InvalidQuantityError:
    shown = text if len(text) <= _LARGEST_LENGTH else text[:_LARGEST_LENGTH] + "..."
    return InvalidQuantityError(
        f"{shown!r} is no quantity: use a number with an optional suffix, such as 0.5, 100m, 64Mi or 1e3"
    )


@lru_cache(maxsize=4096)
def _parse(text: str) -> Fraction:
    match = _NUMBER.fullmatch(text) if len(text) <= _LARGEST_LENGTH else None
    if match is None:
        raise _fault(text)
    sign, digits, exponent, suffix = match.groups()
    power = int(exponent[1:]) if exponent else 0
    if abs(power) > _LARGEST_EXPONENT:
        raise _fault(text)
    value = Fraction(digits.rstrip(".")) * Fraction(10) ** power * _SUFFIXES[suffix or ""]
    return -value if sign == "-" else value


def parse_quantity(text: str | int | float) -> Fraction:
    """The exact value of a quantity; JSON numbers are taken as they are written. Raises InvalidQuantityError."""
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise InvalidQuantityError(f"{text!r} is no quantity")
    return _parse(text if isinstance(text, str) else repr(text))


@lru_cache(maxsize=4096)
def _rounded_up(text: str, per_unit: int) -> int:
    return -((-_parse(text) * per_unit) // 1)


def cpu_millis(value: str | int | float) -> int:
    """Thousandths of a core, rounded up. Raises InvalidQuantityError."""
    if isinstance(value, str):
        return _rounded_up(value, 1000)
    return _rounded_up(repr(value), 1000)


def bytes_of(value: str | int | float) -> int:
    """Whole bytes (or other whole units, such as pods), rounded up. Raises InvalidQuantityError."""
    if isinstance(value, str):
        return _rounded_up(value, 1)
    return _rounded_up(repr(value), 1)


def format_cpu_millis(millis: int) -> str:
    """The shortest exact form: whole cores as ``2``, anything else as ``1500m``."""
    return f"{millis}m" if millis % 1000 else str(millis // 1000)


def format_bytes(count: int) -> str:
    """The exact form with the largest binary suffix that divides ``count``: ``64Mi``, ``1000``."""
    if count == 0:
        return "0"
    for power, suffix in zip(range(6, 0, -1), _BINARY_SUFFIXES, strict=True):
        if count % 1024**power == 0:
            return f"{count // 1024**power}{suffix}"
    return str(count)
