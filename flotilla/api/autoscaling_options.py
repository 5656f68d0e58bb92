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
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flotilla.api.durations import parse_duration
from flotilla.api.objects import annotations_of

QUERY_PREFIX = "prometheus.flotilla.dev/"
SERVER = "flotilla.dev/prometheus-server"
INTERVAL = "flotilla.dev/prometheus-interval"
EMPTY = "flotilla.dev/prometheus-empty"
RESOURCE_METRICS = "flotilla.dev/resource-metrics"
FALLBACK_REPLICAS = "flotilla.dev/fallback-replicas"
FALLBACK_AFTER = "flotilla.dev/fallback-after"

_SHORTEST_INTERVAL_S, _LONGEST_INTERVAL_S = 1.0, 300.0
_LONGEST_QUERY = 16_384
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Fallback:
    """A metric that has failed for ``after_s`` seconds asks for ``replicas``."""

    replicas: int
    after_s: float = 180.0


@dataclass(frozen=True, slots=True)
class AutoscalingOptions:
    """The annotations of one autoscaler; ``server`` is empty for the cluster's own Prometheus."""

    queries: Mapping[str, str] = field(default_factory=dict)
    server: str = ""
    interval_s: float = 5.0
    empty_is_zero: bool = False
    from_prometheus: bool = False
    fallback: Fallback | None = None


@dataclass(slots=True)
class _Reader:
    """Reads annotations one by one, keeping the faults: (annotation, value, what is expected)."""

    annotations: Mapping[str, str]
    faults: list[tuple[str, str, str]] = field(default_factory=list)

    def read(self, name: str, default: _T, parse: Callable[[str], _T]) -> _T:
        text = self.annotations.get(name)
        if text is None:
            return default
        try:
            return parse(text)
        except ValueError as error:
            self.faults.append((name, text, str(error)))
            return default


def read_options(autoscaler: Mapping[str, Any]) -> tuple[AutoscalingOptions, list[tuple[str, str, str]]]:
    """The options, and each faulty annotation with its value and what is expected; a faulty one has its default."""
    reader = _Reader(annotations_of(autoscaler))
    replicas = reader.read(FALLBACK_REPLICAS, 0, _count)
    after_s = reader.read(FALLBACK_AFTER, 180.0, _span)
    options = AutoscalingOptions(
        queries={
            name.removeprefix(QUERY_PREFIX): reader.read(name, "", _query)
            for name in reader.annotations
            if name.startswith(QUERY_PREFIX)
        },
        server=reader.read(SERVER, "", _server),
        interval_s=reader.read(INTERVAL, 5.0, _interval),
        empty_is_zero=reader.read(EMPTY, "error", _one_of("error", "zero")) == "zero",
        from_prometheus=reader.read(RESOURCE_METRICS, "agents", _one_of("agents", "prometheus")) == "prometheus",
        fallback=Fallback(replicas, after_s) if replicas else None,
    )
    return options, reader.faults


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


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be {' or '.join(choices)}")
        return text

    return parse
