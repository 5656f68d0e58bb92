"""Amounts in whole billionths, the finest that quantities can tell: sums of thousands of pods are sums of integers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.quantities import parse_quantity

PER_UNIT = 10**9
_BINARY = tuple((1024**power * PER_UNIT, f"{letter}i") for power, letter in zip(range(6, 0, -1), "EPTGMK", strict=True))
_DECIMAL = tuple(
    (10**power, suffix)
    for power, suffix in zip(range(27, -1, -3), ("E", "P", "T", "G", "M", "k", "", "m", "u", "n"), strict=True)
)

Amounts = Mapping[str, int]


def amount_of(quantity: Any) -> int:
    """A quantity in billionths, rounded up. InvalidQuantityError."""
    return -(-parse_quantity(quantity) * PER_UNIT // 1)


def amounts_of(listed: Mapping[str, Any] | None) -> dict[str, int]:
    """Quantities by name in billionths."""
    return {name: amount_of(quantity) for name, quantity in (listed or {}).items()}


def shown(name: str, amount: int) -> str:
    """An amount of the resource ``name`` as Kubernetes writes it: with the largest suffix that leaves a whole number.

    Bytes are shown in powers of two where that is shorter.
    """
    decimal = _with_suffix(amount, _DECIMAL)
    counts_bytes = name.endswith(("memory", "storage")) or "hugepages-" in name
    if not counts_bytes or amount == 0 or amount % _BINARY[-1][0]:
        return decimal
    return min(_with_suffix(amount, _BINARY), decimal, key=len)


def _with_suffix(amount: int, sizes: tuple[tuple[int, str], ...]) -> str:
    if amount == 0:
        return "0"
    size, suffix = next((size, suffix) for size, suffix in sizes if amount % size == 0)
    return f"{amount // size}{suffix}"


def listed(amounts: Amounts) -> str:
    """Names and amounts for an error's text: ``pods=1,requests.cpu=500m``."""
    return ",".join(f"{name}={shown(name, amount)}" for name, amount in sorted(amounts.items()))
