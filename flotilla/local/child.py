"""A process that the supervisor keeps running, as a value. Apart, so that the supervisor loads nothing else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """One process. ``stop_grace_s`` is how long it may take to end after SIGTERM before it is killed."""

    name: str
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    stop_grace_s: float = 10.0
