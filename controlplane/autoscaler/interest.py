"""Which series agents are to look for on pods' metrics pages: those that autoscalers name, and those asked for.

Pages have thousands of lines and are read each second; only what somebody asks for is parsed, sent and kept. A reader
of the metrics API that asks for another metric has it from then on for five minutes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from controlplane.autoscaler.naming import series_named

KEPT_S = 300.0

Wanted = tuple[str, str]
"""A namespace and the name of a metric."""


class MetricInterest:
    """The metrics in use, each with its namespace; ``series`` has the names of series by namespace. For one loop."""

    def __init__(self, *, kept_s: float = KEPT_S) -> None:
        self._kept_s = kept_s
        self._wanted: frozenset[Wanted] = frozenset()
        self._forgetting: dict[Wanted, asyncio.TimerHandle] = {}
        self._changed = asyncio.Event()
        self.series: dict[str, frozenset[str]] = {}

    def want(self, metrics: Iterable[Wanted]) -> None:
        """The metrics that autoscalers use, replacing those named before."""
        self._wanted = frozenset(metrics)
        self._update()

    def ask(self, namespace: str, metric: str) -> None:
        """Somebody has asked for the metric of the namespace's pods."""
        wanted = (namespace, metric)
        if known := self._forgetting.get(wanted):
            known.cancel()
        self._forgetting[wanted] = asyncio.get_running_loop().call_later(self._kept_s, self._forget, wanted)
        if known is None:
            self._update()

    async def wait_changed(self) -> None:
        """Return once ``series`` has changed since the last call; for one reader."""
        await self._changed.wait()
        self._changed.clear()

    def _forget(self, wanted: Wanted) -> None:
        del self._forgetting[wanted]
        self._update()

    def _update(self) -> None:
        metrics: dict[str, set[str]] = {}
        for namespace, metric in {*self._wanted, *self._forgetting}:
            metrics.setdefault(namespace, set()).add(metric)
        series = {namespace: series_named(names) for namespace, names in metrics.items()}
        if series != self.series:
            self.series = series
            self._changed.set()
