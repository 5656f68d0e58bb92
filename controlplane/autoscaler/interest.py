"""Which series agents are to look for on pods' metrics pages: those that autoscalers name, and those asked for.

Pages have thousands of lines and are read each second; only what somebody asks for is parsed, sent and kept. A reader
of the metrics API that asks for another metric has it from then on for five minutes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from controlplane.autoscaler.naming import series_named

KEPT_S = 300.0

Wanted = tuple[str, str]
"""A namespace and the name of a metric."""


class MetricInterest:
    """The metrics in use, each with its namespace; ``series`` has the names of series by namespace. For one loop."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wanted: frozenset[Wanted] = frozenset()
        self._asked: dict[Wanted, float] = {}
        self._changed = asyncio.Event()
        self.series: dict[str, frozenset[str]] = {}

    def want(self, metrics: Iterable[Wanted]) -> None:
        """The metrics that autoscalers use, replacing those named before."""
        self._wanted = frozenset(metrics)
        self._update()

    def ask(self, namespace: str, metric: str) -> None:
        """Somebody has asked for the metric of the namespace's pods."""
        self._asked[namespace, metric] = self._clock()
        self._update()

    async def wait_changed(self) -> None:
        """Return once ``series`` has changed since the last call; for one reader."""
        await self._changed.wait()
        self._changed.clear()

    def _update(self) -> None:
        horizon = self._clock() - KEPT_S
        self._asked = {metric: asked for metric, asked in self._asked.items() if asked > horizon}
        metrics: dict[str, set[str]] = {}
        for namespace, metric in {*self._wanted, *self._asked}:
            metrics.setdefault(namespace, set()).add(metric)
        series = {namespace: series_named(names) for namespace, names in metrics.items()}
        if series != self.series:
            self.series = series
            self._changed.set()
