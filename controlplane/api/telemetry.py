"""What the API server measures of itself, under the names of Kubernetes' API server where it has one."""

from __future__ import annotations

import asyncio
import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from controlplane.api.request_info import RequestInfo

_DURATIONS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LAGS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
LAG_PERIOD_S = 0.25
_METHODS = frozenset({"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"})


class Telemetry:
    """The server's metrics, registered in ``registry``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._durations = Histogram(
            "apiserver_request_duration_seconds",
            "Seconds from the request's head to the end of the response, watches and log streams left out.",
            ("verb", "group", "resource", "subresource"),
            buckets=_DURATIONS_S,
            registry=registry,
        )
        self._requests = Counter(
            "apiserver_request_total",
            "Requests answered, by outcome.",
            ("verb", "group", "resource", "subresource", "code"),
            registry=registry,
        )
        self.in_flight = Gauge("apiserver_current_inflight_requests", "Requests being answered.", registry=registry)
        self.watches = Gauge("apiserver_longrunning_requests", "Watches that are open.", registry=registry)
        self._lag = Histogram(
            "flotilla_loop_lag_seconds",
            "Seconds by which the event loop was late: how long some step held it.",
            buckets=_LAGS_S,
            registry=registry,
        )
        self._worst_lag = Gauge(
            "flotilla_loop_lag_max_seconds", "The longest lag of the last minute.", registry=registry
        )

    def observe(self, info: RequestInfo, code: int, duration_s: float, *, served: bool) -> None:
        """Count a request that was answered. Names that clients make up (not ``served``) are not made into series."""
        verb = info.verb if info.verb in _METHODS else "other"
        group, plural, sub = (info.group, info.plural, info.subresource) if served else ("", "", "")
        self._requests.labels(verb, group, plural, sub, str(code)).inc()
        if verb != "watch" and sub != "log":
            self._durations.labels(verb, group, plural, sub).observe(duration_s)

    async def measure_lag(self) -> None:
        """Measure the loop's lag four times a second, until cancelled."""
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
