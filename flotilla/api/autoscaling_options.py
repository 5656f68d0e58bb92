"""What HorizontalPodAutoscalers may ask for beyond Kubernetes, as annotations: read once here, by server and validator.

``prometheus.flotilla.dev/METRIC``
    A PromQL query whose only value is that of the External or Object metric METRIC.
``flotilla.dev/prometheus-server``
    The server that is asked, as ``http[s]://HOST[:PORT][/PREFIX]``; the cluster's own otherwise.
``flotilla.dev/prometheus-interval``
    How often, such as ``5s`` (the default; 1s to 5m).
``flotilla.dev/prometheus-empty``
    What an empty answer means: ``error`` (the default) or ``zero``.
``flotilla.dev/resource-metrics``
    Where CPU and memory come from: ``agents`` (the default) or ``prometheus``.
``flotilla.dev/fallback-replicas``, ``flotilla.dev/fallback-after``
    The replicas that a metric stands for once it has failed for a time (``3m`` by default).
``flotilla.dev/saturation-aware``
    ``true`` counts the time that containers were kept from running by their CPU limit as demand, beside what they used.
``flotilla.dev/panic-threshold``, ``flotilla.dev/panic-hold``
    From this multiple of the present replicas on (such as ``2``) policies don't hold a scale-up back, and nothing is
    scaled down until the load has been below it for a time (``1m`` by default).
``flotilla.dev/forecast``, ``flotilla.dev/forecast-horizon``, ``flotilla.dev/forecast-season``
    ``trend`` or ``season``: never fewer replicas than will be needed within the horizon (``1m`` by default), by the
    trend of the last minutes, or by what the same time one season ago (``24h`` by default) needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from flotilla.api.annotation_reader import AnnotationReader, one_of
from flotilla.api.durations import parse_duration
from flotilla.api.objects import annotations_of

QUERY_PREFIX = "prometheus.flotilla.dev/"
SERVER = "flotilla.dev/prometheus-server"
INTERVAL = "flotilla.dev/prometheus-interval"
EMPTY = "flotilla.dev/prometheus-empty"
RESOURCE_METRICS = "flotilla.dev/resource-metrics"
FALLBACK_REPLICAS = "flotilla.dev/fallback-replicas"
FALLBACK_AFTER = "flotilla.dev/fallback-after"
SATURATION_AWARE = "flotilla.dev/saturation-aware"
PANIC_THRESHOLD = "flotilla.dev/panic-threshold"
PANIC_HOLD = "flotilla.dev/panic-hold"
FORECAST = "flotilla.dev/forecast"
FORECAST_HORIZON = "flotilla.dev/forecast-horizon"
FORECAST_SEASON = "flotilla.dev/forecast-season"

_SHORTEST_INTERVAL_S, _LONGEST_INTERVAL_S = 1.0, 300.0
_LONGEST_QUERY = 16_384
_LONGEST_SEASON_S = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Fallback:
    """A metric that has failed for ``after_s`` seconds asks for ``replicas``."""

    replicas: int
    after_s: float = 180.0


@dataclass(frozen=True, slots=True)
class Panic:
    """Scale-ups to ``threshold`` times what there is happen at once; for ``hold_s`` after one nothing is removed."""

    threshold: float
    hold_s: float = 60.0


@dataclass(frozen=True, slots=True)
class ForecastOptions:
    """How far ahead to look; without a season the trend is followed."""

    horizon_s: float = 60.0
    season_s: float = 0.0


@dataclass(frozen=True, slots=True)
class AutoscalingOptions:
    """The annotations of one autoscaler; ``server`` is empty for the cluster's own Prometheus."""

    queries: Mapping[str, str] = field(default_factory=dict)
    server: str = ""
    interval_s: float = 5.0
    empty_is_zero: bool = False
    from_prometheus: bool = False
    fallback: Fallback | None = None
    saturation_aware: bool = False
    panic: Panic | None = None
    forecast: ForecastOptions | None = None


def read_options(autoscaler: Mapping[str, Any]) -> tuple[AutoscalingOptions, list[tuple[str, str, str]]]:
    """The options, and each faulty annotation with its value and what is expected; a faulty one has its default."""
    reader = AnnotationReader(annotations_of(autoscaler))
    replicas = reader.read(FALLBACK_REPLICAS, 0, _count)
    after_s = reader.read(FALLBACK_AFTER, 180.0, _span)
    threshold, hold_s = reader.read(PANIC_THRESHOLD, 0.0, _multiple), reader.read(PANIC_HOLD, 60.0, _span)
    options = AutoscalingOptions(
        queries={
            name.removeprefix(QUERY_PREFIX): reader.read(name, "", _query)
            for name in reader.annotations
            if name.startswith(QUERY_PREFIX)
        },
        server=reader.read(SERVER, "", _server),
        interval_s=reader.read(INTERVAL, 5.0, _interval),
        empty_is_zero=reader.read(EMPTY, "error", one_of("error", "zero")) == "zero",
        from_prometheus=reader.read(RESOURCE_METRICS, "agents", one_of("agents", "prometheus")) == "prometheus",
        fallback=Fallback(replicas, after_s) if replicas else None,
        saturation_aware=reader.read(SATURATION_AWARE, "false", one_of("true", "false")) == "true",
        panic=Panic(threshold, hold_s) if threshold else None,
        forecast=_forecast(reader),
    )
    return options, reader.faults


def _forecast(reader: AnnotationReader) -> ForecastOptions | None:
    kind = reader.read(FORECAST, "", one_of("trend", "season"))
    horizon_s = reader.read(FORECAST_HORIZON, 60.0, _horizon)
    season_s = reader.read(FORECAST_SEASON, 86_400.0, _season)
    return ForecastOptions(horizon_s, season_s if kind == "season" else 0.0) if kind else None


def _multiple(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1.1 <= value <= 100.0:
        raise ValueError("must be a number between 1.1 and 100, such as 2")
    return value


def _horizon(text: str) -> float:
    seconds = _span(text)
    if not 10.0 <= seconds <= 3600.0:
        raise ValueError("must be between 10s and 1h")
    return seconds


def _season(text: str) -> float:
    seconds = _span(text)
    if not 60.0 <= seconds <= _LONGEST_SEASON_S:
        raise ValueError("must be between 1m and 168h")
    return seconds


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) < 2**31:
        raise ValueError("must be a whole number greater than 0")
    return int(text)


def _span(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError:
        raise ValueError("must be a span such as 90s or 3m") from None
    if seconds < 0:
        raise ValueError("must not be negative")
    return seconds


def _interval(text: str) -> float:
    seconds = _span(text)
    if not _SHORTEST_INTERVAL_S <= seconds <= _LONGEST_INTERVAL_S:
        raise ValueError("must be between 1s and 5m")
    return seconds


def _query(text: str) -> str:
    if not text.strip() or len(text) > _LONGEST_QUERY:
        raise ValueError(f"must be a PromQL query of 1 to {_LONGEST_QUERY} characters")
    return text.strip()


def _server(text: str) -> str:
    expected = ValueError("must be the URL of a Prometheus server, such as http://prometheus.monitoring:9090")
    try:
        parts = urlsplit(text)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        raise expected from None
    bare = not (parts.query or parts.fragment or parts.username or parts.password)
    if parts.scheme not in ("http", "https") or not parts.hostname or not bare or not port_is_valid:
        raise expected
    return text.rstrip("/")
