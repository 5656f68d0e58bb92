"""How long pods have to end before their machine goes down, as options give it: the kubelet's three settings."""

from __future__ import annotations

from flotilla.cli.durations import parse_duration_s
from flotilla.cli.failures import CommandError

TOTAL, CRITICAL = "--shutdown-grace-period", "--shutdown-grace-period-critical-pods"
BY_PRIORITY = "--shutdown-grace-period-by-pod-priority"


def parse_periods(*, total: str, critical: str, by_priority: str) -> tuple[tuple[int, float], ...]:
    """Priorities and seconds, lowest priority first; empty where all is ``0s``. Raises CommandError."""
    if by_priority:
        if _seconds(total) or _seconds(critical):
            raise CommandError(f"{BY_PRIORITY}: leave out {TOTAL} and {CRITICAL} with it")
        return _listed(by_priority)
    total_s, critical_s = _seconds(total), _seconds(critical)
    if critical_s > total_s:
        raise CommandError(f"{CRITICAL}: {critical} is more than {TOTAL} ({total}), which it is a part of")
    if not total_s:
        return ()
    from nodeagent.node_shutdown import periods_of

    return tuple(periods_of(total_s, critical_s))


def _seconds(text: str) -> float:
    return 0.0 if text in ("", "0") else parse_duration_s(text)


def _listed(text: str) -> tuple[tuple[int, float], ...]:
    found: dict[int, float] = {}
    for part in text.split(","):
        priority, _, duration = part.strip().partition("=")
        try:
            number = int(priority)
        except ValueError:
            raise CommandError(f"{BY_PRIORITY}: {part!r} is not PRIORITY=DURATION, such as 100=30s") from None
        if number in found:
            raise CommandError(f"{BY_PRIORITY}: priority {number} is given twice")
        found[number] = _seconds(duration)
    return tuple(sorted(found.items()))
