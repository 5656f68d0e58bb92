"""Recorded load through the autoscaler's own code."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.autoscaler.replay import FLOTILLA, KUBERNETES, Loop, PodModel, replay
from flotilla.api.objects import KubeObject

POD = PodModel(request_millis=100, limit_millis=200, start_s=1.0)
STEP = [0.05] * 60 + [1.0] * 120
QUICK_UP = {"scaleUp": {"policies": [{"type": "Percent", "value": 1000, "periodSeconds": 1}]}}


def _autoscaler(metric: KubeObject | None = None, behavior: KubeObject | None = None, **annotations: str) -> KubeObject:
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
    spec: KubeObject = {"minReplicas": 2, "maxReplicas": 40, "metrics": [metric or cpu], "behavior": behavior or {}}
    written = {f"flotilla.dev/{name.replace('_', '-')}": value for name, value in annotations.items()}
    return {"metadata": {"annotations": written}, "spec": spec}


def test_a_step_is_answered_at_once_and_served() -> None:
    """Ten times the target: a new pod within three seconds, enough within eight where the behavior allows it."""
    done = replay(_autoscaler(behavior=QUICK_UP), STEP, pod=POD)
    more = [step.at_s for step in done.steps if step.ready > 2]
    enough = [step.at_s for step in done.steps if step.ready >= 20]
    assert more[0] <= 63
    assert enough[0] <= 68
    assert done.longest_shortage_s <= 4
    assert {step.replicas for step in done.steps[100:]} == {20}


def test_kubernetes_loop_reacts_a_loop_later() -> None:
    """The documented defaults of Kubernetes react at the next sample and evaluation, not in between."""
    ours, theirs = (replay(_autoscaler(), STEP, pod=POD, loop=loop) for loop in (FLOTILLA, KUBERNETES))
    assert next(step.at_s for step in theirs.steps if step.why) == 75
    assert theirs.unserved > 4 * ours.unserved


def test_options_are_replayed() -> None:
    """What annotations ask for changes the replay as it changes the cluster: a spike is answered in one step."""
    plain = replay(_autoscaler(), STEP, pod=POD)
    panicking = replay(_autoscaler(panic_threshold="2", saturation_aware="true"), STEP, pod=POD)
    assert plain.changes > 2 * panicking.changes
    assert panicking.unserved < plain.unserved


@pytest.mark.parametrize("loop", [FLOTILLA, KUBERNETES])
def test_scale_down_waits_for_exactly_the_window(loop: Loop) -> None:
    """With a window of 60 s nothing is removed before the last high recommendation, of second 119, is that old."""
    behavior = QUICK_UP | {"scaleDown": {"stabilizationWindowSeconds": 60}}
    done = replay(_autoscaler(behavior=behavior), [1.0] * 120 + [0.05] * 200, pod=POD, loop=loop, replicas=20)
    first = next(step.at_s for step in done.steps if step.replicas < 20)
    assert 119 + 60 <= first <= 119 + 60 + 2 * loop.evaluate_every_s


@pytest.mark.parametrize(
    ("metric", "wanted"),
    [
        ({"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": {"averageValue": "10"}}}, 12),
        ({"type": "External", "external": {"metric": {"name": "q"}, "target": {"averageValue": "10"}}}, 12),
        ({"type": "External", "external": {"metric": {"name": "q"}, "target": {"value": "60"}}}, 4),
    ],
)
def test_other_metrics_are_replayed(metric: dict[str, Any], wanted: int) -> None:
    """A load of 120 in the metric's own unit, one replica bearing ten, or two replicas of what may be sixty."""
    done = replay(_autoscaler(metric, QUICK_UP), [120.0] * 3, pod=POD, replicas=2)
    assert done.steps[0].replicas == wanted


@given(load=st.floats(0.0, 5.0), seconds=st.integers(30, 80))
@settings(max_examples=10, deadline=None)
def test_constant_load_settles(load: float, seconds: int) -> None:
    """Under constant load the count rises to what is needed and stays there."""
    done = replay(_autoscaler(behavior=QUICK_UP), [load] * seconds, pod=POD)
    counts = [step.replicas for step in done.steps]
    assert counts == sorted(counts)
    assert len(set(counts[20:])) == 1


@given(st.lists(st.floats(0.0, 3.0), min_size=20, max_size=60))
@settings(max_examples=10, deadline=None)
def test_bounds_hold_whatever_the_load(load: list[float]) -> None:
    """No load moves the count out of its bounds."""
    done = replay(_autoscaler(behavior=QUICK_UP), load, pod=POD)
    assert all(2 <= step.replicas <= 40 for step in done.steps)


@pytest.mark.parametrize("options", [{}, {"panic_threshold": "2", "saturation_aware": "true"}])
def test_bursts_under_the_target_change_nothing(options: dict[str, Any]) -> None:
    """Ten minutes of bursts, three times the load between them, with a mean under the target: no scale event."""
    burst = [0.22, 0.07, 0.07, 0.07, 0.07]
    done = replay(_autoscaler(**options), burst * 120, pod=POD, replicas=2)
    assert done.changes == 0
    assert done.unserved == 0.0
