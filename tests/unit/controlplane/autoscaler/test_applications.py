"""What the store of pods' own metrics answers from the rounds that it was given."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from controlplane.autoscaler.applications import ApplicationMetrics
from flotilla.api.selectors import EVERYTHING, LabelSelector, parse_label_selector
from protos import dispatcher_pb2 as pb

T0 = 1_700_000_000.0
Value = tuple[str, Mapping[str, str], bool, float]
"""Series name, its labels, whether it is a counter, its value."""


class Clock:
    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> ApplicationMetrics:
    return ApplicationMetrics(clock=clock)


def _round(at: float, *values: Value, generation: int = 1, scraped: float | None = None) -> pb.ApplicationSamples:
    keys = [
        pb.SeriesKey(namespace="default", pod="web", pod_uid="u1", name=name, cumulative=grows, labels=dict(labels))
        for name, labels, grows, _ in values
    ]
    times = np.full(len(values), at if scraped is None else scraped)
    return pb.ApplicationSamples(
        time_unix_s=at,
        series=keys,
        generation=generation,
        scraped_unix_s=times.astype("<f8").tobytes(),
        values=np.array([value for *_, value in values]).astype("<f8").tobytes(),
    )


def _value(store: ApplicationMetrics, metric: str, selector: LabelSelector = EVERYTHING) -> float | None:
    usage = store.of_pod("one", "u1", metric, selector)
    return None if usage is None else usage.value


def _count(store: ApplicationMetrics, clock: Clock, *counts: float, name: str = "http_requests_total") -> None:
    for second, count in enumerate(counts):
        clock.now = T0 + second
        store.ingest("one", _round(T0 + second, (name, {}, True, count)))


def test_a_gauge_is_its_newest_value(store: ApplicationMetrics) -> None:
    """A gauge counts as it was read last."""
    store.ingest("one", _round(T0, ("queue_depth", {}, False, 3.0)))
    store.ingest("one", _round(T0 + 1, ("queue_depth", {}, False, 7.0)))
    assert _value(store, "queue_depth") == 7.0


@pytest.mark.parametrize("metric", ["http_requests_total", "http_requests", "http_requests_per_second"])
def test_a_counter_is_its_growth_a_second(store: ApplicationMetrics, clock: Clock, metric: str) -> None:
    """Whatever a counter is called by, its rate over five seconds is what counts."""
    _count(store, clock, *(100 * second for second in range(9)))
    assert _value(store, metric) == pytest.approx(100.0)


def test_a_gauge_has_no_rate(store: ApplicationMetrics) -> None:
    """A gauge is not taken for a counter because of what it is asked for as."""
    store.ingest("one", _round(T0, ("requests", {}, False, 3.0)))
    assert _value(store, "requests_per_second") is None


def test_a_counter_that_begins_anew_is_no_fall(store: ApplicationMetrics, clock: Clock) -> None:
    """After a restart of the process the counter's value is what it has grown by."""
    _count(store, clock, 1000, 1010, 5, 15)
    assert _value(store, "http_requests") == pytest.approx((10 + 5 + 10) / 3)


def test_a_counter_needs_two_readings(store: ApplicationMetrics, clock: Clock) -> None:
    """One reading of a counter says nothing of its growth."""
    _count(store, clock, 1000)
    assert _value(store, "http_requests") is None


def test_a_page_that_was_not_read_again_is_not_read_twice(store: ApplicationMetrics, clock: Clock) -> None:
    """A round that repeats a value with its time does not lower the rate."""
    _count(store, clock, 0, 100, 200)
    clock.now = T0 + 3
    store.ingest("one", _round(T0 + 3, ("http_requests_total", {}, True, 200.0), scraped=T0 + 2))
    assert _value(store, "http_requests") == pytest.approx(100.0)


def test_series_are_summed_as_far_as_the_selector_admits(store: ApplicationMetrics) -> None:
    """A metric's selector is one of series' labels."""
    values = (("jobs", {"queue": "a"}, False, 1.0), ("jobs", {"queue": "b"}, False, 5.0))
    store.ingest("one", _round(T0, *values))
    assert _value(store, "jobs") == 6.0
    assert _value(store, "jobs", parse_label_selector("queue=b")) == 5.0
    assert _value(store, "jobs", parse_label_selector("queue=c")) is None


def test_a_new_series_does_not_hide_the_others(store: ApplicationMetrics, clock: Clock) -> None:
    """While a label's first value has no rate yet, the rates of the others count."""
    _count(store, clock, 0, 50, 100)
    clock.now = T0 + 3
    both: tuple[Value, ...] = (
        ("http_requests_total", {}, True, 150.0),
        ("http_requests_total", {"code": "500"}, True, 1.0),
    )
    store.ingest("one", _round(T0 + 3, *both, generation=2))
    assert _value(store, "http_requests") == pytest.approx(50.0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_number_is_missing(store: ApplicationMetrics, bad: float) -> None:
    """A value that can't be counted with is as good as none."""
    store.ingest("one", _round(T0, ("queue_depth", {}, False, bad)))
    assert _value(store, "queue_depth") is None


def test_old_values_are_missing(store: ApplicationMetrics, clock: Clock) -> None:
    """Neither a silent node nor a page that can't be read any more keeps its last value for longer than ten seconds."""
    store.ingest("one", _round(T0, ("queue_depth", {}, False, 3.0)))
    clock.now = T0 + 9
    assert _value(store, "queue_depth") == 3.0
    clock.now = T0 + 11
    assert _value(store, "queue_depth") is None
    store.ingest("one", _round(T0 + 11, ("queue_depth", {}, False, 3.0), scraped=T0))
    assert _value(store, "queue_depth") is None


def test_another_nodes_word_does_not_count(store: ApplicationMetrics) -> None:
    """Only the node that a pod is bound to speaks for it."""
    store.ingest("two", _round(T0, ("queue_depth", {}, False, 3.0)))
    assert _value(store, "queue_depth") is None


def test_damaged_columns_are_left_out(store: ApplicationMetrics) -> None:
    """A round whose columns do not fit its series changes nothing."""
    store.ingest("one", _round(T0, ("queue_depth", {}, False, 3.0)))
    damaged = _round(T0 + 1, ("queue_depth", {}, False, 9.0))
    damaged.values = damaged.values[:-1]
    store.ingest("one", damaged)
    assert _value(store, "queue_depth") == 3.0


def test_an_agent_that_begins_anew_is_understood(store: ApplicationMetrics) -> None:
    """A restarted agent numbers its sets from the beginning; what it names is what its values mean."""
    store.ingest("one", _round(T0, ("queue_depth", {}, False, 3.0)))
    store.ingest("one", _round(T0 + 1, ("workers", {}, False, 2.0), ("queue_depth", {}, False, 4.0)))
    assert (_value(store, "workers"), _value(store, "queue_depth")) == (2.0, 4.0)


def test_what_is_offered_is_listed(store: ApplicationMetrics) -> None:
    """Metrics are listed by namespace, counters under the adapter's name too, until their node is gone."""
    offers = [("default", "http_requests_total", True), ("shop", "queue_depth", False)]
    metrics = [pb.OfferedMetric(namespace=ns, name=name, cumulative=grows) for ns, name, grows in offers]
    store.offer("one", pb.OfferedMetrics(metrics=metrics))
    assert store.offered() == {"default": {"http_requests_total", "http_requests"}, "shop": {"queue_depth"}}
    store.forget("one")
    assert store.offered() == {}
