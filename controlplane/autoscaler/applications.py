"""What pods say of themselves: the series of their metrics pages that somebody asks for, as agents read them.

One row a round, one column a series, as with the containers' samples. A page is read at a moment of its own, so each
value carries its time; a round that brings nothing new of a page repeats it. Rates are taken between moments of the
node's clock and placed on the server's, a steady one, by when the round arrived. What is older than ten seconds is
missing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from controlplane.autoscaler.columns import WINDOW_SLACK_S, Numbers, Usage
from controlplane.autoscaler.naming import metrics_of, readings
from controlplane.autoscaler.samples import STALE_AFTER_S, WINDOW_S, total
from flotilla.api.selectors import LabelSelector
from flotilla.clocks import steady_unix_s
from protos import dispatcher_pb2 as pb

logger = logging.getLogger(__name__)

ROUNDS = 12


class Series(NamedTuple):
    """One series of one pod."""

    namespace: str
    pod: str
    uid: str
    name: str
    cumulative: bool
    labels: Mapping[str, str]


@dataclass(slots=True)
class _Node:
    generation: int
    series: tuple[Series, ...]
    positions: dict[tuple[str, str], list[int]]  # (uid, name) → columns
    scraped: Numbers
    values: Numbers
    taken_unix_s: float = 0.0
    received_unix_s: float = float("-inf")
    offered: dict[str, dict[str, bool]] = field(default_factory=dict)  # namespace → series → cumulative


class ApplicationMetrics:
    """Takes rounds in and answers for the last few seconds."""

    def __init__(self, *, clock: Callable[[], float] = steady_unix_s) -> None:
        self._clock = clock
        self._nodes: dict[str, _Node] = {}
        self._arrival = asyncio.Event()

    async def arrival(self) -> None:
        """Return with the next round of any node."""
        await self._arrival.wait()

    def ingest(self, node: str, message: pb.ApplicationSamples) -> None:
        """Add a round of ``node``. One that can't be read, or is older than the last, is left out."""
        known = self._adopt(node, message)
        if known is None or message.time_unix_s == known.taken_unix_s:
            return
        width = len(known.series)
        if len(message.values) != 8 * width or len(message.scraped_unix_s) != 8 * width:
            logger.warning("application_samples_unreadable", extra={"node": node})
            return
        if message.time_unix_s < known.taken_unix_s:
            # The node's clock was set back: rates across the step would be wrong.
            known.scraped[:] = 0.0
        for row, data in ((known.scraped, message.scraped_unix_s), (known.values, message.values)):
            row[:-1] = row[1:]
            row[-1] = np.frombuffer(data, "<f8")
        known.taken_unix_s, known.received_unix_s = message.time_unix_s, self._clock()
        self._arrival.set()
        self._arrival = asyncio.Event()

    def offer(self, node: str, message: pb.OfferedMetrics) -> None:
        """The series that the node's pods have, replacing what was said before."""
        offered: dict[str, dict[str, bool]] = {}
        for metric in message.metrics:
            offered.setdefault(metric.namespace, {})[metric.name] = metric.cumulative
        self._known(node).offered = offered

    def forget(self, node: str) -> None:
        """The node no longer exists."""
        self._nodes.pop(node, None)

    def offered(self) -> dict[str, set[str]]:
        """The metrics that can be asked for, by namespace."""
        found: dict[str, set[str]] = {}
        for node in self._nodes.values():
            for namespace, names in node.offered.items():
                metrics = (metric for name, grows in names.items() for metric in metrics_of(name, cumulative=grows))
                found.setdefault(namespace, set()).update(metrics)
        return found

    def of_pod(self, node: str, uid: str, metric: str, selector: LabelSelector) -> Usage | None:
        """The pod's value, the sum over its series that the selector admits; None if that is not known.

        A counter counts by its growth a second over the last five seconds.
        """
        known = self._fresh(node)
        if known is None:
            return None
        for reading in readings(metric):
            columns = [
                column
                for column in known.positions.get((uid, reading.series), ())
                if selector.matches(known.series[column].labels)
                and (known.series[column].cumulative or not reading.counters_only)
            ]
            if columns:
                # A series that has just begun has no rate yet; it would hide those of the others.
                return total([value for column in columns if (value := self._value(known, column)) is not None])
        return None

    def _value(self, known: _Node, column: int) -> Usage | None:
        scraped, value = float(known.scraped[-1, column]), float(known.values[-1, column])
        if known.taken_unix_s - scraped > STALE_AFTER_S or not np.isfinite(value):
            return None
        end = known.received_unix_s - (known.taken_unix_s - scraped)
        if not known.series[column].cumulative:
            return Usage(value, end, end)
        begin = ROUNDS - 1
        while begin > 0 and scraped - WINDOW_S - WINDOW_SLACK_S <= known.scraped[begin - 1, column] != 0.0:
            begin -= 1
        seconds = scraped - float(known.scraped[begin, column])
        if seconds <= 0.0:
            return None
        growth = np.diff(known.values[begin:, column])
        # A counter that has shrunk began anew, at zero.
        resets = known.values[begin + 1 :, column]
        grown = float(np.where(growth < 0.0, resets, growth).sum())
        return Usage(grown / seconds, end - seconds, end) if np.isfinite(grown) else None

    def _adopt(self, node: str, message: pb.ApplicationSamples) -> _Node | None:
        """The node's columns, made to fit the round's series; None if those have not been sent."""
        known = self._known(node)
        same = known.generation == message.generation
        if not message.series and (same or message.values):
            return known if same else None
        series = tuple(
            Series(key.namespace, key.pod, key.pod_uid, key.name, key.cumulative, dict(key.labels))
            for key in message.series
        )
        scraped, values = np.zeros((ROUNDS, len(series))), np.zeros((ROUNDS, len(series)))
        before = {_identity(one): column for column, one in enumerate(known.series)}
        kept = [(new, before[_identity(one)]) for new, one in enumerate(series) if _identity(one) in before]
        if kept:
            new, old = (list(columns) for columns in zip(*kept, strict=True))
            scraped[:, new], values[:, new] = known.scraped[:, old], known.values[:, old]
        known.generation, known.series, known.positions = message.generation, series, _positions(series)
        known.scraped, known.values = scraped, values
        return known

    def _known(self, node: str) -> _Node:
        if node not in self._nodes:
            self._nodes[node] = _Node(0, (), {}, np.zeros((ROUNDS, 0)), np.zeros((ROUNDS, 0)))
        return self._nodes[node]

    def _fresh(self, node: str) -> _Node | None:
        known = self._nodes.get(node)
        if known is None or self._clock() - known.received_unix_s > STALE_AFTER_S:
            return None
        return known


def _identity(series: Series) -> tuple[str, str, bool, frozenset[tuple[str, str]]]:
    return series.uid, series.name, series.cumulative, frozenset(series.labels.items())


def _positions(series: Iterable[Series]) -> dict[tuple[str, str], list[int]]:
    positions: dict[tuple[str, str], list[int]] = {}
    for column, one in enumerate(series):
        positions.setdefault((one.uid, one.name), []).append(column)
    return positions
