"""Whatever containers use and whatever bounds there are, recommendations keep their promises."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.autoscaler.vertical.histogram import CPU_BUCKETS, DecayingHistogram
from controlplane.autoscaler.vertical.history import History, MemoryWindow
from controlplane.autoscaler.vertical.recommendation import Range, recommend
from controlplane.autoscaler.vertical.sizing import SizeRefusedError, size
from flotilla.api.quantities import cpu_millis
from flotilla.api.vertical_options import VerticalOptions
from flotilla.api.workloads import pod_requests, qos_class

NOW = 1_700_000_000.0
_cores = st.floats(0.0, 64.0)
_bytes = st.floats(0.0, 1e11)


@given(st.lists(st.tuples(_cores, _bytes, st.floats(1.0, 4000.0)), min_size=2, max_size=40))
@settings(max_examples=60, deadline=None)
def test_bounds_enclose_the_target(samples: list[tuple[float, float, float]]) -> None:
    """The lower bound is at most, the upper at least the target, which covers what was used most of the time."""
    history, window, at = History(), MemoryWindow(), NOW
    for cores, used, pause in samples:
        at += pause
        history.add_cpu(cores, request_cores=1.0, at_s=at, period_s=pause)
        window.observe(history, used, at_s=at)
    for resource in ("cpu", "memory"):
        range_ = recommend(history, resource)
        if range_ is not None:
            assert 0 < range_.lower <= range_.target <= range_.upper
    loaded = History.loaded(history.save())
    again, before = recommend(loaded, "cpu"), recommend(history, "cpu")
    assert again is not None
    assert before is not None
    assert abs(again.target - before.target) <= 0.06 * before.target


@given(st.lists(_cores, min_size=1, max_size=30), _cores)
@settings(max_examples=60, deadline=None)
def test_what_is_taken_back_was_never_there(values: list[float], extra: float) -> None:
    """Adding and subtracting a sample changes no percentile."""
    one, other = DecayingHistogram(CPU_BUCKETS), DecayingHistogram(CPU_BUCKETS)
    for value in values:
        one.add(value, 1.0, at_s=NOW)
        other.add(value, 1.0, at_s=NOW)
    other.add(extra, 1.0, at_s=NOW)
    other.subtract(extra, 1.0, at_s=NOW)
    assert [one.percentile(each) for each in (0.45, 0.93)] == [other.percentile(each) for each in (0.45, 0.93)]


_amount = st.integers(1, 4000)


@st.composite
def _pods(draw: Any) -> dict[str, Any]:
    containers = []
    for name in ("a", "b"):
        request = draw(_amount)
        limit = draw(st.one_of(st.none(), st.just(request), st.integers(request, 8000)))
        resources: dict[str, Any] = {"requests": {"cpu": f"{request}m", "memory": "64Mi"}}
        if limit is not None:
            resources["limits"] = {"cpu": f"{limit}m", "memory": "64Mi"}
        containers.append({"name": name, "resources": resources})
    return {"metadata": {"name": "p"}, "spec": {"containers": containers}}


@given(_pods(), st.lists(_amount, min_size=6, max_size=6), st.booleans(), st.integers(-100, 8000))
@settings(max_examples=150, deadline=None)
def test_a_pod_stays_valid(pod: dict[str, Any], amounts: list[int], limits_too: bool, room: int) -> None:
    """Requests stay at or below limits, the class stays, the node is not overfilled, and a second look is content."""
    ranges = {}
    for name, three in (("a", sorted(amounts[:3])), ("b", sorted(amounts[3:]))):
        ranges[name] = {"cpu": Range(three[0], three[1], three[2], three[1])}
    options = VerticalOptions(mode="InPlace", limits_too=limits_too)
    try:
        change = size(pod, ranges, options, age_s=0.0, room={"cpu": room, "memory": 0})
    except SizeRefusedError:
        return
    if change is None:
        return
    assert qos_class(change.spec) == qos_class(pod["spec"])
    grown = pod_requests(change.spec)["cpu"] - pod_requests(pod["spec"])["cpu"]
    assert grown <= max(0, room)
    for container in change.spec["containers"]:
        resources = container["resources"]
        if "limits" in resources:
            assert cpu_millis(resources["requests"]["cpu"]) <= cpu_millis(resources["limits"]["cpu"])
    roomy = size(pod, ranges, options, age_s=0.0)
    assert roomy is not None
    assert size({**pod, "spec": roomy.spec}, ranges, options, age_s=0.0) is None
