"""What the API server measures of itself, under the names and labels of Kubernetes' API server where it has one.

Requests are counted in plain numbers behind one dictionary look-up, and become metrics only when somebody reads them:
at 14,000 requests a second the metrics library's own locks and labels would be a tenth of the work. Reading happens in
a thread, for a server that has seen every kind and verb has tens of thousands of lines to show; what is iterated there
is copied first, in one step.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from controlplane.api.deadlines import is_stream
from controlplane.api.fairness import EXEMPT, WAIT_BUCKETS_S, Budget, Fairness
from controlplane.api.request_info import RequestInfo

_DURATIONS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_LAGS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
LAG_PERIOD_S = 0.25
_VERBS = {
    "get": "GET",
    "list": "LIST",
    "watch": "WATCH",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "apply": "APPLY",
    "delete": "DELETE",
    "deletecollection": "DELETECOLLECTION",
}
_CONNECTS = frozenset({"attach", "exec", "portforward", "proxy"})
_LABELS = ("verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component")
_STREAM_LABELS = tuple(label for label in _LABELS if label != "dry_run")
_FLOW_LABELS = ("priority_level", "flow_schema")

Labels = tuple[str, ...]
Key = tuple[str, str, str, str, str, bool, bool, bool, int]


class _Histogram:
    """Counts by bucket, and the sum of what was observed."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(_DURATIONS_S) + 1)
        self.sum_s = 0.0

    def observe(self, value_s: float) -> None:
        self.counts[bisect_left(_DURATIONS_S, value_s)] += 1
        self.sum_s += value_s


class _Outcome:
    """Requests of one kind that ended with one code."""

    __slots__ = ("count", "durations")

    def __init__(self, durations: _Histogram | None) -> None:
        self.count = 0
        self.durations = durations


class Telemetry(Collector):
    """The server's metrics, registered in ``registry``. ``serves`` tells names that exist from those made up."""

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        serves: Callable[[RequestInfo], bool],
        fairness: Fairness,
        connections: Callable[[], int],
        failed_handshakes: Callable[[], int],
    ) -> None:
        self._serves = serves
        self._fairness = fairness
        self._connections = connections
        self._failed_handshakes = failed_handshakes
        self._loop: asyncio.AbstractEventLoop | None = None
        self._by_key: dict[Key, _Outcome] = {}
        self._outcomes: dict[tuple[Labels, int], _Outcome] = {}
        self._durations: dict[Labels, _Histogram] = {}
        self._streams: dict[Labels, int] = {}
        self._lag = Histogram(
            "flotilla_loop_lag_seconds",
            "Seconds by which the event loop was late: how long some step held it.",
            buckets=_LAGS_S,
            registry=registry,
        )
        self._worst_lag = Gauge(
            "flotilla_loop_lag_max_seconds", "The longest lag of the last minute.", registry=registry
        )
        registry.register(self)

    def observe(self, info: RequestInfo, code: int, duration_s: float, *, dry_run: bool, applied: bool) -> None:
        """Count a request that was answered. Names that clients make up are not made into series."""
        verb = "apply" if applied else info.verb
        place = (info.group, info.version, info.plural, info.subresource)
        key = (verb, *place, info.name != "", info.namespace != "", dry_run, code)
        outcome = self._by_key.get(key)
        if outcome is None:
            outcome = self._new_outcome(info, key)
        outcome.count += 1
        if outcome.durations is not None:
            outcome.durations.observe(duration_s)

    def stream_started(self, info: RequestInfo) -> None:
        labels = self._labels(info, info.verb, dry_run=False)
        self._streams[labels] = self._streams.get(labels, 0) + 1

    def stream_ended(self, info: RequestInfo) -> None:
        self._streams[self._labels(info, info.verb, dry_run=False)] -= 1

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now."""
        yield self._requests()
        yield self._request_durations()
        running = {budget.name: budget.running for budget in self._budgets()}
        yield _gauge("apiserver_current_inflight_requests", "Requests being answered.", ("request_kind",), running)
        streams = GaugeMetricFamily(
            "apiserver_longrunning_requests", "Watches and other streams that are open.", labels=_STREAM_LABELS
        )
        for labels, count in list(self._streams.items()):
            streams.add_metric((labels[0], *labels[2:]), count)
        yield streams
        yield from self._flow_control()
        yield GaugeMetricFamily("flotilla_api_connections", "Connections that are open.", value=self._connections())
        tasks = len(asyncio.all_tasks(self._loop)) if self._loop is not None else 0
        yield GaugeMetricFamily("flotilla_tasks", "Tasks of the event loop.", value=tasks)
        yield CounterMetricFamily(
            "apiserver_tls_handshake_errors",
            "Connections that did not get through the TLS handshake.",
            value=self._failed_handshakes(),
        )

    async def measure_lag(self) -> None:
        """Measure the loop's lag four times a second, until cancelled."""
        self._loop = asyncio.get_running_loop()
        recent: list[tuple[float, float]] = []
        while True:
            wanted = time.monotonic() + LAG_PERIOD_S
            await asyncio.sleep(LAG_PERIOD_S)
            now = time.monotonic()
            lag_s = max(0.0, now - wanted)
            self._lag.observe(lag_s)
            recent = [(moment, value) for moment, value in recent if moment > now - 60 and value > lag_s]
            recent.append((now, lag_s))
            self._worst_lag.set(recent[0][1])

    def _new_outcome(self, info: RequestInfo, key: Key) -> _Outcome:
        verb, dry_run, code = key[0], key[7], key[8]
        labels = self._labels(info, verb, dry_run=dry_run)
        durations = None if is_stream(info) else self._durations.setdefault(labels, _Histogram())
        outcome = self._outcomes.setdefault((labels, code), _Outcome(durations))
        if self._serves(info):
            self._by_key[key] = outcome
        return outcome

    def _labels(self, info: RequestInfo, verb: str, *, dry_run: bool) -> Labels:
        shown_verb = "CONNECT" if info.subresource in _CONNECTS else _VERBS.get(verb, "other")
        shown_dry_run = "All" if dry_run else ""
        if not self._serves(info):
            return (shown_verb, shown_dry_run, "", "", "", "", "", "apiserver")
        scope = ""
        if info.is_resource:
            one = info.name or verb == "create"
            scope = "resource" if one else "namespace" if info.namespace else "cluster"
        place = (info.group, info.version, info.plural, info.subresource)
        return (shown_verb, shown_dry_run, *place, scope, "apiserver")

    def _budgets(self) -> tuple[Budget, Budget]:
        return self._fairness.read_only, self._fairness.mutating

    def _requests(self) -> Metric:
        family = CounterMetricFamily("apiserver_request", "Requests answered, by outcome.", labels=(*_LABELS, "code"))
        for (labels, code), outcome in list(self._outcomes.items()):
            family.add_metric((*labels, str(code)), outcome.count)
        return family

    def _request_durations(self) -> Metric:
        family = HistogramMetricFamily(
            "apiserver_request_duration_seconds",
            "Seconds from the request's head to its answer, watches and other streams left out.",
            labels=_LABELS,
        )
        for labels, durations in list(self._durations.items()):
            family.add_metric(labels, _cumulative(_DURATIONS_S, durations.counts), durations.sum_s)
        return family

    def _flow_control(self) -> Iterator[Metric]:
        """Kubernetes' names; the one flow schema of a budget has its name."""
        prefix = "apiserver_flowcontrol_"
        budgets = {(budget.name, budget.name): budget for budget in self._budgets()}
        gauges = (
            ("current_inqueue_requests", "Requests that wait for a seat.", "waiting"),
            ("current_executing_requests", "Requests that have a seat.", "running"),
            ("current_executing_seats", "Seats in use.", "taken"),
        )
        for name, text, attribute in gauges:
            values: dict[tuple[str, str], int] = {key: getattr(budget, attribute) for key, budget in budgets.items()}
            yield _gauge(prefix + name, text, _FLOW_LABELS, values)
        limits = {budget.name: budget.seats for budget in budgets.values()}
        yield _gauge(prefix + "nominal_limit_seats", "Seats there are.", ("priority_level",), limits)
        dispatched = CounterMetricFamily(
            prefix + "dispatched_requests", "Requests that were given a seat.", labels=_FLOW_LABELS
        )
        rejected = CounterMetricFamily(
            prefix + "rejected_requests", "Requests that got no seat, and why.", labels=(*_FLOW_LABELS, "reason")
        )
        waits = HistogramMetricFamily(
            prefix + "request_wait_duration_seconds",
            "Seconds that requests waited for the seat that they were given.",
            labels=(*_FLOW_LABELS, "execute"),
        )
        for key, budget in budgets.items():
            counters = budget.counters
            dispatched.add_metric(key, counters.dispatched)
            for reason, count in counters.rejected.items():
                rejected.add_metric((*key, reason), count)
            counts = [counters.waited[0] + counters.at_once, *counters.waited[1:]]
            waits.add_metric((*key, "true"), _cumulative(WAIT_BUCKETS_S, counts), counters.waited_s)
        dispatched.add_metric((EXEMPT, EXEMPT), self._fairness.exempted)
        yield from (dispatched, rejected, waits)


def _gauge(name: str, text: str, labels: Sequence[str], values: dict[str, int] | dict[tuple[str, str], int]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric((key,) if isinstance(key, str) else key, value)
    return family


def _cumulative(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """Buckets in Prometheus' form: how many are not longer than each bound."""
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip((*map(str, bounds), "+Inf"), counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets
