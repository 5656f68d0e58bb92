"""How much the cache keeps beside the present state, and what it counts of its own doings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """Bounds of what the cache keeps beside the present state, and how long a consistent read waits."""

    window_events: int = 20_000
    window_bytes: int = 8 << 20
    decoded_bytes: int = 4 << 20
    barrier_timeout_s: float = 2.0


@dataclass(slots=True)
class CacheCounters:
    """What has happened since the start, for metrics."""

    events: int = 0
    lists: int = 0
    resumes: int = 0
    resets: int = 0
    unreadable: int = 0
