"""Laws of quantities."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from flotilla.api.quantities import (
    InvalidQuantityError,
    bytes_of,
    cpu_millis,
    format_bytes,
    format_cpu_millis,
    parse_quantity,
)

SUFFIXES = st.sampled_from(["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"])
NUMBERS = st.decimals(min_value=-(10**9), max_value=10**9, places=3).map(lambda number: f"{number:f}")


@given(st.integers(min_value=-(10**12), max_value=10**12))
def test_printed_cpu_reads_back(millis: int) -> None:
    """Printing and reading cpu must be inverse."""
    assert cpu_millis(format_cpu_millis(millis)) == millis


@given(st.integers(min_value=-(2**70), max_value=2**70))
def test_printed_bytes_read_back(count: int) -> None:
    """Printing and reading bytes must be inverse."""
    assert bytes_of(format_bytes(count)) == count


@given(NUMBERS, SUFFIXES)
def test_rounding_goes_up_by_less_than_one(number: str, suffix: str) -> None:
    """An integer amount must be the smallest that isn't below the exact one."""
    exact = parse_quantity(number + suffix)
    assert 0 <= bytes_of(number + suffix) - exact < 1
    assert 0 <= Fraction(cpu_millis(number + suffix)) - exact * 1000 < 1


@given(NUMBERS, NUMBERS, SUFFIXES)
def test_the_order_of_numbers_is_kept(one: str, other: str, suffix: str) -> None:
    """With the same suffix, the larger number must be the larger quantity."""
    assert (Fraction(one) <= Fraction(other)) == (parse_quantity(one + suffix) <= parse_quantity(other + suffix))


@given(st.text(max_size=80))
def test_any_text_parses_or_is_refused(text: str) -> None:
    """No text may raise anything but InvalidQuantityError."""
    try:
        parse_quantity(text)
    except InvalidQuantityError as error:
        assert str(error)
