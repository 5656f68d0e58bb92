"""Lengths of time for people.

Source: ``k8s.io/apimachinery/pkg/util/duration``: the larger the span, the fewer its digits.
"""

from __future__ import annotations

import re
from datetime import datetime

from flotilla.api.objects import parse_time

_HOUR_MINUTES = 60
_YEAR_DAYS = 365
UNKNOWN = "<unknown>"
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST_TEXT = 64


def _pair(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"


def human_duration(seconds: float) -> str:
    """A span as kubectl prints ages: ``90s``, ``5m3s``, ``47h``, ``3d4h``, ``2y11d``."""
    if int(seconds) < -1:
        return "<invalid>"
    whole = max(int(seconds), 0)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return _pair(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _pair(hours, "h", minutes % _HOUR_MINUTES, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 8 * 24:
        return _pair(days, "d", hours % 24, "h")
    if days < 2 * _YEAR_DAYS:
        return f"{days}d"
    if days < 8 * _YEAR_DAYS:
        return _pair(days // _YEAR_DAYS, "y", days % _YEAR_DAYS, "d")
    return f"{days // _YEAR_DAYS}y"


def time_since(moment: str | None, now: datetime) -> str:
    """How long ago an RFC 3339 time was, ``<unknown>`` if there is none."""
    return human_duration((now - parse_time(moment)).total_seconds()) if moment else UNKNOWN


def parse_duration(text: str) -> float:
    """The seconds of a span as Go writes it, such as ``1h30m`` or ``1.5s``. Raises ValueError."""
    sign, rest = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    if rest == "0":
        return 0.0
    parts = _PART.findall(rest) if len(rest) <= _LONGEST_TEXT else []
    if not parts or "".join(number + unit for number, unit in parts) != rest:
        raise ValueError(f'time: invalid duration "{text[:_LONGEST_TEXT]}"')
    return sign * sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)
