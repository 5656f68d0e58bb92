"""Each rule of the replica calculator as a row of a table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from controlplane.autoscaler.calculator import (
    MetricError,
    PodFacts,
    Sample,
    Target,
    Tolerance,
    group_pods,
    not_yet_ready,
    replicas_for,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
HALF = Target(utilization=50)


def _sample(value: float, *, window_s: float = 5.0) -> Sample:
    return Sample(value, NOW - timedelta(seconds=window_s), NOW)


def _pod(name: str, used: float | None, **more: object) -> PodFacts:
    facts: dict[str, object] = {
        "phase": "Running",
        "deleting": False,
        "ready": True,
        "ready_changed": NOW - timedelta(minutes=30),
        "started": NOW - timedelta(minutes=31),
        "request": 100,
        "request_fault": "",
        "sample": None if used is None else _sample(used),
    }
    return PodFacts(name=name, **{**facts, **more})  # type: ignore[arg-type]


def _pods(*used: float | None) -> list[PodFacts]:
    return [_pod(f"pod-{index}", value) for index, value in enumerate(used)]


def _unready(count: int) -> list[PodFacts]:
    return [_pod(f"unready-{index}", 100.0, ready=False, ready_changed=NOW, started=NOW) for index in range(count)]


def _replicas(pods: list[PodFacts], *, current: int, target: Target = HALF, tolerance: Tolerance | None = None) -> int:
    return replicas_for(
        pods, target, current=current, is_cpu=True, tolerance=tolerance or Tolerance(), now=NOW
    ).replicas


@pytest.mark.parametrize(
    ("used", "current", "wanted", "rule"),
    [
        ((100, 100), 2, 4, "utilization over target scales up by the ratio"),
        ((10, 10, 10, 10), 4, 1, "utilization under target scales down by the ratio"),
        ((54, 54), 2, 2, "within a tenth above the target nothing happens"),
        ((46, 46), 2, 2, "within a tenth below the target nothing happens"),
        ((55, 55), 2, 2, "the edge of the tolerance belongs to it"),
        ((56, 56), 2, 3, "just past the tolerance it scales"),
        ((100, 0), 2, 2, "the mean over the pods counts, not the largest"),
        ((100, None), 2, 2, "a missing pod counts as idle on the way up: the mean is on target"),
        ((100, 100, None), 3, 4, "the missing pod is part of the new count"),
        ((10, None), 2, 2, "a missing pod counts as using its whole request on the way down"),
        ((10, 10, 10, None), 4, 3, "down, but with the missing pod's request counted"),
        ((50, None), 2, 2, "exactly on target nothing is assumed of a missing pod"),
        ((40, 40, None), 3, 3, "an assumption that turns the direction round changes nothing"),
    ],
)
def test_utilization(used: tuple[float | None, ...], current: int, wanted: int, rule: str) -> None:
    """Pods with a request of 100m and a target of 50 % scale as Kubernetes scales them."""
    assert _replicas(_pods(*used), current=current) == wanted, rule


@pytest.mark.parametrize(
    ("ready", "unready", "current", "wanted", "rule"),
    [
        ((200, 200), 2, 4, 8, "unready pods count as idle on the way up, and in the number of pods"),
        ((100,), 1, 2, 2, "with the unready pod counted as idle the mean is on target"),
        ((100, 100), 4, 6, 6, "what turns round with the unready pods counted changes nothing"),
        ((10, 10), 2, 4, 1, "on the way down unready pods are left out altogether"),
    ],
)
def test_unready_pods(ready: tuple[float, ...], unready: int, current: int, wanted: int, rule: str) -> None:
    """Pods that are still starting damp a scale-up and do not disturb a scale-down."""
    assert _replicas([*_pods(*ready), *_unready(unready)], current=current) == wanted, rule


def test_a_change_against_the_direction_is_dropped() -> None:
    """Fewer pods with metrics than replicas must not turn a scale-up into a scale-down."""
    assert _replicas(_pods(100, 100, None), current=10) == 10


@pytest.mark.parametrize(
    ("target", "used", "wanted"),
    [(Target(average_value=50), (100.0, 100.0), 4), (Target(average_value=50), (None, 10.0), 2)],
)
def test_average_value(target: Target, used: tuple[float | None, ...], wanted: int) -> None:
    """A raw target compares the mean, and assumes the target itself for missing pods on the way down."""
    assert _replicas(_pods(*used), current=2, target=target) == wanted


def test_average_value_needs_no_requests() -> None:
    """A pod without a request is no obstacle to a raw target."""
    pods = [_pod("pod", 100.0, request=None, request_fault="missing request")]
    assert _replicas(pods, current=1, target=Target(average_value=50)) == 2


def test_a_missing_request_makes_the_metric_undefined() -> None:
    """With a utilization target every container needs a request; the error names the culprit."""
    fault = "missing request for cpu in container app of Pod web"
    with pytest.raises(MetricError, match=fault):
        _replicas([*_pods(100.0), _pod("web", 100.0, request=None, request_fault=fault)], current=2)


@pytest.mark.parametrize(
    ("pods", "message"), [([], "no pods returned"), (_pods(None, None), "did not receive metrics for targeted pods")]
)
def test_nothing_to_go_by_is_an_error(pods: list[PodFacts], message: str) -> None:
    """Without pods, or without a single sample, no count is invented."""
    with pytest.raises(MetricError, match=message):
        _replicas(pods, current=2)


@pytest.mark.parametrize(
    ("tolerance", "used", "wanted"),
    [
        (Tolerance(up=0.0), 51.0, 11),
        (Tolerance(up=0.5), 74.0, 10),
        (Tolerance(down=0.0), 44.0, 9),
        (Tolerance(down=0.5), 26.0, 10),
    ],
)
def test_tolerance_can_be_set_for_each_direction(tolerance: Tolerance, used: float, wanted: int) -> None:
    """The autoscaler's own tolerance replaces the default, each direction by itself."""
    assert _replicas(_pods(*[used] * 10), current=10, tolerance=tolerance) == wanted


def test_reported_utilization_is_the_measured_one() -> None:
    """Status shows what was measured of the counted pods, not what was assumed for the others."""
    proposal = replicas_for(_pods(90, 30, None), HALF, current=3, is_cpu=True, tolerance=Tolerance(), now=NOW)
    assert (proposal.utilization, proposal.average_value) == (60, 60)


@pytest.mark.parametrize(
    ("pod", "group"),
    [
        (_pod("pod", 1.0), "counted"),
        (_pod("pod", 1.0, deleting=True), "ignored"),
        (_pod("pod", 1.0, phase="Failed"), "ignored"),
        (_pod("pod", None, phase="Pending"), "unready"),
        (_pod("pod", None), "missing"),
        (_pod("pod", 1.0, ready=False, ready_changed=NOW, started=NOW), "unready"),
    ],
)
def test_groups(pod: PodFacts, group: str) -> None:
    """A pod counts, is missing, is unready, or is ignored, by its state alone."""
    groups = group_pods([pod], is_cpu=True, now=NOW)
    assert getattr(groups, group) == (pod,)


def test_readiness_matters_for_cpu_only() -> None:
    """Memory of a pod that is still starting counts."""
    pod = _pod("pod", 1.0, ready=False, ready_changed=NOW, started=NOW)
    assert group_pods([pod], is_cpu=False, now=NOW).counted == (pod,)


@pytest.mark.parametrize(
    ("started_s", "changed_s", "ready", "window_s", "unready", "rule"),
    [
        (60, 20, True, 5, False, "young and ready for longer than the window: counts"),
        (60, 3, True, 5, True, "young and the window reaches back before it was ready: does not"),
        (60, 5.2, True, 5, False, "less than a second more than the window is enough"),
        (60, 4.8, True, 5, True, "less than a second too short is too short"),
        (60, 20, False, 5, True, "young and unready: does not count"),
        (600, 3, True, 5, False, "old: the window does not matter"),
        (600, 590, False, 5, True, "old and never ready since its first thirty seconds: does not count"),
        (600, 100, False, 5, False, "old, was ready, is not now: counts"),
        (None, 3, True, 5, True, "not started: does not count"),
        (600, None, False, 5, True, "no readiness known: does not count"),
    ],
)
def test_not_yet_ready(
    started_s: float | None, changed_s: float | None, ready: bool, window_s: float, unready: bool, rule: str
) -> None:
    """CPU of a starting pod is told from CPU of a working one, to fractions of a second."""

    def ago(seconds: float | None) -> datetime | None:
        return None if seconds is None else NOW - timedelta(seconds=seconds)

    pod = _pod("pod", 1.0, started=ago(started_s), ready_changed=ago(changed_s), ready=ready)
    assert not_yet_ready(pod, _sample(1.0, window_s=window_s), now=NOW) is unready, rule
