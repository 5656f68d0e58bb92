"""Durations as people and Kubernetes write them: ``90s``, ``5m``, ``1h30m``."""

from __future__ import annotations

import re

from flotilla.cli.failures import CommandError

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse_duration_s(text: str) -> float:
    """Seconds of a duration. Raises CommandError."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise CommandError(f"{text!r} is not a duration: write it like 90s, 5m, 1h30m")
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)
