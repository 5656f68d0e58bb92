"""Time that nobody can set."""

from __future__ import annotations

import time

import pytest

from controlplane.autoscaler.samples import SampleStore
from flotilla.clocks import shown_unix_s, steady_unix_s
from protos import dispatcher_pb2 as pb


@pytest.mark.parametrize("step_s", [3600.0, -3600.0])
def test_setting_the_clock_moves_what_is_shown_alone(monkeypatch: pytest.MonkeyPatch, step_s: float) -> None:
    """A wall clock that is set makes no sample older or newer; what is shown is told as the clock says now."""
    store = SampleStore()
    for second in range(3):
        store.ingest("one", pb.Samples(time_unix_s=1000.0 + second, node_cpu_usage_ns=second * 10**9))
    before_s, set_clock = steady_unix_s(), time.time
    monkeypatch.setattr(time, "time", lambda: set_clock() + step_s)
    assert 0.0 <= steady_unix_s() - before_s < 60.0
    assert store.node_usage("one") is not None
    assert shown_unix_s(before_s) - before_s == pytest.approx(step_s, abs=1.0)
