"""Recommendations follow the published rules of the Vertical Pod Autoscaler."""

from __future__ import annotations

import json

import pytest

from controlplane.autoscaler.vertical.histogram import CPU_BUCKETS, HALF_LIFE_S, DecayingHistogram
from controlplane.autoscaler.vertical.history import DAY_S, History, MemoryWindow
from controlplane.autoscaler.vertical.recommendation import MEBIBYTE, recommend

NOW = 1_700_000_000.0


def _steady(cores: float, *, seconds: float, request: float = 0.1, period: float = 10.0) -> History:
    history, window = History(), MemoryWindow()
    for index in range(int(seconds / period) + 1):
        at = NOW + index * period
        history.add_cpu(cores, request_cores=request, at_s=at, period_s=period)
        window.observe(history, 100e6, at_s=at)
    return history


@pytest.mark.parametrize("cores", [0.0004, 0.003, 0.05, 0.25, 1.0, 7.5, 400.0])
def test_a_bucket_is_within_a_twentieth_of_what_it_holds(cores: float) -> None:
    """A percentile is never less than what was used, and little more."""
    histogram = DecayingHistogram(CPU_BUCKETS)
    histogram.add(cores, 1.0, at_s=NOW)
    assert cores <= histogram.percentile(0.9) <= cores * 1.05 + 0.0011


def test_old_samples_lose_half_their_weight_in_a_day() -> None:
    """Two samples of a day ago weigh as much as one of now."""
    histogram = DecayingHistogram(CPU_BUCKETS)
    for _ in range(2):
        histogram.add(1.0, 1.0, at_s=NOW)
    histogram.add(0.1, 1.0, at_s=NOW + HALF_LIFE_S)
    assert histogram.percentile(0.49) < 0.11
    assert histogram.percentile(0.51) > 1.0


def test_weights_stay_finite_for_years() -> None:
    """A histogram that is fed for years forgets what was long ago and keeps numbers that can be added."""
    histogram = DecayingHistogram(CPU_BUCKETS)
    for day in range(0, 3650, 5):
        histogram.add(2.0 if day < 3600 else 0.1, 1.0, at_s=NOW + day * DAY_S)
    assert histogram.percentile(0.95) < 0.2


def test_a_request_weighs_a_sample() -> None:
    """Samples since a container has more count for more, so that starvation is answered quickly."""
    history = History()
    for index in range(10):
        history.add_cpu(0.1, request_cores=0.1, at_s=NOW + index, period_s=1.0)
    history.add_cpu(1.0, request_cores=1.0, at_s=NOW + 10, period_s=1.0)
    assert history.cpu.percentile(0.6) > 1.0


@pytest.mark.parametrize(
    ("minutes", "lower", "upper"), [(5, 0.6, 289), (30, 0.91, 49), (60, 0.95, 25), (720, 0.996, 3), (1440, 0.998, 2)]
)
def test_bounds_close_in_as_the_history_grows(minutes: int, lower: float, upper: float) -> None:
    """The multipliers of the documentation: 0.6 after five minutes from below, 3 after twelve hours from above."""
    range_ = recommend(_steady(0.5, seconds=minutes * 60), "cpu")
    assert range_ is not None
    assert range_.lower == pytest.approx(range_.target * lower, rel=0.01)
    assert range_.upper == pytest.approx(range_.target * upper, rel=0.01)
    assert 500 * 1.15 <= range_.target <= 500 * 1.15 * 1.06


def test_nothing_is_said_without_a_history() -> None:
    """One sample is no history; there must be time between the first and the last."""
    assert recommend(History(), "cpu") is None
    assert recommend(_steady(0.5, seconds=0), "cpu") is None
    assert recommend(_steady(0.5, seconds=10), "memory") is not None


def test_memory_counts_one_peak_a_day() -> None:
    """A peak stands for its day, however long it lasted; the next day has its own."""
    history, window = History(), MemoryWindow()
    for used in (50e6, 300e6, *[60e6] * 500):
        window.observe(history, used, at_s=NOW)
    history.add_cpu(0.1, request_cores=0.1, at_s=NOW, period_s=1.0)
    assert history.memory.percentile(0.5) >= 300e6
    for day in range(1, 6):
        window.observe(history, 60e6, at_s=NOW + day * DAY_S)
    assert history.memory.percentile(0.5) < 70e6


def test_an_out_of_memory_kill_asks_for_more() -> None:
    """A fifth more than what was used or requested, and 100Mi at least."""
    history, window = History(), MemoryWindow()
    window.observe(history, 30e6, at_s=NOW)
    window.out_of_memory(history, 64 * MEBIBYTE, at_s=NOW + 1)
    assert 164 * MEBIBYTE <= history.memory.percentile(0.9) <= 164 * MEBIBYTE * 1.06
    large, its = History(), MemoryWindow()
    its.observe(large, 2e9, at_s=NOW)
    its.out_of_memory(large, 1e9, at_s=NOW + 1)
    assert 2.4e9 <= large.memory.percentile(0.9) <= 2.4e9 * 1.06


def test_kills_one_after_another_do_not_pile_up() -> None:
    """A second kill within the day starts from what was used and requested, not from the guess of the first."""
    history, window = History(), MemoryWindow()
    window.observe(history, 30e6, at_s=NOW)
    for second in range(1, 5):
        window.out_of_memory(history, 64 * MEBIBYTE, at_s=NOW + second)
    assert history.memory.percentile(0.9) <= 164 * MEBIBYTE * 1.06


def test_a_checkpoint_brings_a_history_back() -> None:
    """Saved and loaded, a history recommends the same, and goes on growing."""
    history = _steady(0.5, seconds=3600)
    saved = json.loads(json.dumps(history.save()))
    again = History.loaded(saved)
    assert [recommend(again, name) for name in ("cpu", "memory")] == [
        recommend(history, name) for name in ("cpu", "memory")
    ]
    assert len(json.dumps(saved)) < 500
    again.add_cpu(0.5, request_cores=0.1, at_s=NOW + 3610, period_s=10.0)
    assert again.confidence_days > history.confidence_days


@pytest.mark.parametrize(
    "edit",
    [
        {"cpu": None},
        {"first": "soon"},
        {"last": float("nan")},
        {"memory": {"reference": 1, "weight": 1, "buckets": {"9999": 1}}},
        {"memory": {"reference": 1, "weight": -1, "buckets": {}}},
        {"memory": {"reference": 1, "weight": 1, "buckets": []}},
        {"cpu": {"reference": "x", "weight": 1, "buckets": {}}},
    ],
)
def test_what_is_no_checkpoint_is_refused(edit: dict[str, object]) -> None:
    """A checkpoint that somebody has edited is no reason to act on nonsense."""
    with pytest.raises(ValueError, match="not a hist"):
        History.loaded({**_steady(0.5, seconds=60).save(), **edit})
