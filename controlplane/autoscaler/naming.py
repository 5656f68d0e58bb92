"""Which series of a pod's metrics page a metric's name means.

A gauge is asked for by its own name. A counter says nothing of the load by its value, which only grows; what is asked
for is how fast it grows, a second. ``http_requests_total`` may be called by its own name, ``http_requests`` (as the
Prometheus adapter calls it) or ``http_requests_per_second`` (as Kubernetes' documentation does).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

_TOTAL = "_total"
_PER_SECOND = "_per_second"


class Reading(NamedTuple):
    """A series that a metric's name may mean; ``counters_only`` leaves gauges of that name out."""

    series: str
    counters_only: bool


def readings(metric: str) -> tuple[Reading, ...]:
    """The series that ``metric`` may mean, the likeliest first; where one is found, the rest does not count."""
    found = [Reading(metric, False), Reading(metric + _TOTAL, True)]
    if metric.endswith(_PER_SECOND):
        base = metric.removesuffix(_PER_SECOND)
        found += [Reading(base + _TOTAL, True), Reading(base, True)]
    return tuple(found)


def series_named(metrics: Iterable[str]) -> frozenset[str]:
    """Every series that one of the metrics may mean."""
    return frozenset(reading.series for metric in metrics for reading in readings(metric))


def metrics_of(series: str, *, cumulative: bool) -> Iterator[str]:
    """What a series is offered as where metrics are listed."""
    yield series
    if cumulative and series.endswith(_TOTAL):
        yield series.removesuffix(_TOTAL)
