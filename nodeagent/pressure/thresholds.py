"""Eviction thresholds as they are set: ``memory.available<100Mi,nodefs.available<10%``.

The notation and the defaults are the kubelet's ``--eviction-hard``, ``--eviction-soft``,
``--eviction-soft-grace-period`` and ``--eviction-minimum-reclaim``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flotilla.api.durations import parse_duration
from flotilla.api.quantities import InvalidQuantityError, bytes_of

MEMORY_AVAILABLE = "memory.available"
NODEFS_AVAILABLE = "nodefs.available"
NODEFS_INODES_FREE = "nodefs.inodesFree"
IMAGEFS_AVAILABLE = "imagefs.available"
IMAGEFS_INODES_FREE = "imagefs.inodesFree"
PID_AVAILABLE = "pid.available"
# What is left of the pods' own limit where the node reserves memory for itself; it follows memory.available.
ALLOCATABLE_MEMORY = "allocatableMemory.available"

SIGNALS = (
    MEMORY_AVAILABLE,
    NODEFS_AVAILABLE,
    NODEFS_INODES_FREE,
    IMAGEFS_AVAILABLE,
    IMAGEFS_INODES_FREE,
    PID_AVAILABLE,
)
CONDITIONS = {
    MEMORY_AVAILABLE: "MemoryPressure",
    ALLOCATABLE_MEMORY: "MemoryPressure",
    NODEFS_AVAILABLE: "DiskPressure",
    NODEFS_INODES_FREE: "DiskPressure",
    IMAGEFS_AVAILABLE: "DiskPressure",
    IMAGEFS_INODES_FREE: "DiskPressure",
    PID_AVAILABLE: "PIDPressure",
}
DEFAULT_HARD = (
    "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%"
)


class InvalidThresholdError(ValueError):
    """A setting does not say what it should; the message names the part and the form that is expected."""


@dataclass(frozen=True, slots=True)
class Amount:
    """A quantity, or a share of the capacity."""

    quantity: int = 0
    share: float | None = None

    def of(self, capacity: int) -> int:
        """The amount in whole units for a resource of that capacity."""
        return self.quantity if self.share is None else int(capacity * self.share)


@dataclass(frozen=True, slots=True)
class Threshold:
    """It is met while less than ``amount`` of ``signal`` is left, and counts once it was for ``grace_s``.

    A hard threshold has no grace. What was met stays so until ``minimum_reclaim`` more than ``amount`` is left.
    """

    signal: str
    amount: Amount
    grace_s: float = 0.0
    hard: bool = True
    minimum_reclaim: Amount = Amount()


@dataclass(frozen=True, slots=True)
class EvictionSettings:
    """All that decides about evictions. Times in seconds; ``maximum_grace_s`` bounds the grace of soft evictions."""

    thresholds: tuple[Threshold, ...]
    transition_s: float = 300.0
    maximum_grace_s: float = 0.0

    def hard_amount(self, signal: str, capacity: int) -> int:
        """What the hard threshold of a signal keeps from pods; 0 without one."""
        found = [each for each in self.thresholds if each.hard and each.signal == signal]
        return found[0].amount.of(capacity) if found else 0


def parse_settings(
    *,
    hard: str = DEFAULT_HARD,
    soft: str = "",
    soft_grace: str = "",
    minimum_reclaim: str = "",
    transition_s: float = 300.0,
    maximum_grace_s: float = 0.0,
) -> EvictionSettings:
    """The settings that such options mean. Raises InvalidThresholdError."""
    reclaims = {signal: _amount(signal, text) for signal, text in _pairs(minimum_reclaim, "=").items()}
    graces = {signal: _span(signal, text) for signal, text in _pairs(soft_grace, "=").items()}
    thresholds = []
    for text, is_hard in ((hard, True), (soft, False)):
        for signal, amount in _pairs(text, "<").items():
            if not is_hard and signal not in graces:
                raise InvalidThresholdError(f"the soft threshold of {signal} has no grace period: set {signal}=1m30s")
            grace_s = 0.0 if is_hard else graces[signal]
            reclaim = reclaims.get(signal, Amount())
            thresholds.append(Threshold(signal, _amount(signal, amount), grace_s, is_hard, reclaim))
    idle = graces.keys() - _pairs(soft, "<").keys()
    if idle:
        raise InvalidThresholdError(f"a grace period without a soft threshold: {', '.join(sorted(idle))}")
    return EvictionSettings(tuple(thresholds), transition_s, maximum_grace_s)


def _span(signal: str, text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise InvalidThresholdError(f"{signal}: {text!r} is no span of time: write 90s or 1m30s") from error
    if seconds < 0:
        raise InvalidThresholdError(f"{signal}: {text} is negative")
    return seconds


def _pairs(text: str, operator: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        signal, separator, value = part.partition(operator)
        if not separator:
            raise InvalidThresholdError(f"{part!r}: write SIGNAL{operator}VALUE")
        if signal not in SIGNALS:
            raise InvalidThresholdError(f"{signal!r} is no signal: use one of {', '.join(SIGNALS)}")
        if signal in found:
            raise InvalidThresholdError(f"{signal} is set twice")
        found[signal] = value
    return found


def _amount(signal: str, text: str) -> Amount:
    """A quantity or a percentage; ``0`` and ``0%`` turn a threshold off, as they are never met."""
    try:
        if text.endswith("%"):
            share = float(text[:-1]) / 100
            if not 0 <= share < 1:
                raise InvalidThresholdError(f"{signal}: {text} is not from 0% to less than 100%")
            return Amount(share=share)
        amount = bytes_of(text)
    except (InvalidQuantityError, ValueError) as error:
        if isinstance(error, InvalidThresholdError):
            raise
        raise InvalidThresholdError(f"{signal}: {text!r} is neither a quantity nor a percentage") from error
    if amount < 0:
        raise InvalidThresholdError(f"{signal}: {text} is negative")
    return Amount(amount)
