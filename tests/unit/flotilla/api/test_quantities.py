"""Quantities parse, round and print as in Kubernetes."""

from __future__ import annotations

from fractions import Fraction

import pytest

from flotilla.api.quantities import (
    InvalidQuantityError,
    bytes_of,
    cpu_millis,
    format_bytes,
    format_cpu_millis,
    parse_quantity,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("1", 1),
        ("-1", -1),
        ("+1.5", Fraction(3, 2)),
        (".5", Fraction(1, 2)),
        ("1.", 1),
        ("100m", Fraction(1, 10)),
        ("1n", Fraction(1, 10**9)),
        ("1k", 1000),
        ("1Ki", 1024),
        ("1.5Gi", 3 * 2**29),
        ("1E", 10**18),
        ("1Ei", 2**60),
        ("1E3", 1000),
        ("12e-3", Fraction(12, 1000)),
        (2, 2),
        (0.1, Fraction(1, 10)),
    ],
)
def test_parsing(text: str | float, value: Fraction | int) -> None:
    """Every form must have its exact value."""
    assert parse_quantity(text) == value


@pytest.mark.parametrize(
    "text", ["", " ", "1 Gi", "1GB", "1Kib", "ki", "1K", "--1", "1e", "1e9999", "1e31", "0x1", "1_000", "١", "9" * 65]
)
def test_what_is_no_quantity(text: str) -> None:
    """Anything else must be refused, without computing a monster first."""
    with pytest.raises(InvalidQuantityError):
        parse_quantity(text)


def test_booleans_are_no_quantities() -> None:
    """JSON's true must not count as 1."""
    with pytest.raises(InvalidQuantityError):
        parse_quantity(True)


@pytest.mark.parametrize(
    ("text", "millis"), [("1", 1000), ("100m", 100), ("0.1", 100), ("1u", 1), ("1.0001", 1001), (2, 2000), (0.5, 500)]
)
def test_cpu_rounds_up(text: str | float, millis: int) -> None:
    """A container must get at least what it asked for."""
    assert cpu_millis(text) == millis


@pytest.mark.parametrize(("text", "count"), [("1Ki", 1024), ("1500m", 2), ("0.5Ki", 512), (7, 7), ("1e3", 1000)])
def test_bytes_round_up(text: str | int, count: int) -> None:
    """Half a byte is a byte."""
    assert bytes_of(text) == count


@pytest.mark.parametrize(("millis", "text"), [(0, "0"), (1, "1m"), (1000, "1"), (1500, "1500m"), (-250, "-250m")])
def test_printing_cpu(millis: int, text: str) -> None:
    """Whole cores are printed as such."""
    assert format_cpu_millis(millis) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (1000, "1000"), (1024, "1Ki"), (2**27, "128Mi"), (3 * 2**29, "1536Mi"), (2**60, "1Ei")],
)
def test_printing_bytes(count: int, text: str) -> None:
    """The largest suffix that is exact is used."""
    assert format_bytes(count) == text
