"""What a reconcile reports when it did not fail."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Result:
    """Done until something changes, or again ``after_s`` seconds from now even if nothing does."""

    after_s: float | None = None


DONE = Result()


def after(seconds: float) -> Result:
    """Done for now; reconcile the key again after that time (at once if it is not positive)."""
    return Result(max(0.0, seconds))


def earliest(*moments_s: float | None) -> Result:
    """Again at the earliest of these delays in seconds; None stands for never."""
    known = [moment for moment in moments_s if moment is not None]
    return after(min(known)) if known else DONE
