"""Forecasts as lower bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.autoscaler.forecast import Forecast
from flotilla.api.autoscaling_options import ForecastOptions


def _fed(options: ForecastOptions, counts: list[int]) -> tuple[Forecast, float]:
    """A forecast that has seen one count each second, and the present."""
    forecast = Forecast(options)
    for second, count in enumerate(counts):
        forecast.observe(count, now_s=float(second))
    return forecast, float(len(counts))


def test_a_climb_is_carried_on() -> None:
    """Load that grows by a replica every ten seconds needs about six more in a minute."""
    forecast, now_s = _fed(ForecastOptions(horizon_s=60.0), [1 + second // 10 for second in range(300)])
    assert 33 <= forecast.lower_bound(now_s=now_s) <= 38


def test_a_fall_is_no_forecast() -> None:
    """What falls is left to the stabilization window: a forecast never asks for fewer."""
    forecast, now_s = _fed(ForecastOptions(), [40 - second // 10 for second in range(300)])
    assert forecast.lower_bound(now_s=now_s) == 0


@given(count=st.integers(0, 50), seconds=st.integers(0, 400))
def test_steady_load_asks_for_no_more_than_it_needs(count: int, seconds: int) -> None:
    """Under constant load the forecast is what there is, or nothing."""
    forecast, now_s = _fed(ForecastOptions(), [count] * seconds)
    assert forecast.lower_bound(now_s=now_s) in (0, count)


def test_a_season_comes_again() -> None:
    """What the last season needed within the horizon is there in time, and gone after it."""
    season, peak = 600, range(300, 360)
    options = ForecastOptions(horizon_s=60.0, season_s=float(season))
    forecast = Forecast(options)
    bounds = {}
    for second in range(2 * season):
        forecast.observe(9 if second % season in peak else 2, now_s=float(second))
        bounds[second] = forecast.lower_bound(now_s=float(second))
    assert bounds[season + 200] == 2
    assert bounds[season + 260] == 9
    assert bounds[season + 350] == 9
    assert bounds[season + 380] == 2


def test_nothing_is_forecast_from_nothing() -> None:
    """The first minute, and the first season, ask for nothing."""
    forecast, now_s = _fed(ForecastOptions(), list(range(50)))
    assert forecast.lower_bound(now_s=now_s) == 0
    forecast, now_s = _fed(ForecastOptions(season_s=3600.0), [7] * 600)
    assert forecast.lower_bound(now_s=now_s) == 0


@given(st.lists(st.integers(0, 30), max_size=200), st.floats(0.0, 30.0))
def test_gaps_do_no_harm(counts: list[int], gap_s: float) -> None:
    """However seldom counts come, the bound is a count."""
    forecast, now_s = Forecast(ForecastOptions()), 0.0
    for count in counts:
        now_s += gap_s
        forecast.observe(count, now_s=now_s)
        assert forecast.lower_bound(now_s=now_s) >= 0
