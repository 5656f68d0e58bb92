"""What one evaluation decides, and how it explains itself."""

from __future__ import annotations

import pytest

from controlplane.autoscaler.calculator import Proposal
from controlplane.autoscaler.decision import Bounds, Decision, Measured, decide
from controlplane.autoscaler.stabilization import History, behavior_of

CPU = "cpu resource utilization (percentage of request)"
NOW_S = 1000.0


def _asks(replicas: int, title: str = CPU) -> Measured:
    return Measured(title, Proposal(replicas, 0, 0, 1.0), {})


FAILS = Measured(CPU, reason="FailedGetResourceMetric", message="failed to get cpu utilization: none")


def _decide(*measured: Measured, current: int, history: History | None = None) -> Decision:
    history = history or History.seeded(current, now_s=NOW_S - 400)
    return decide(measured, history, behavior_of({}), Bounds(2, 8), current=current, now_s=NOW_S)


def _conditions(decision: Decision) -> dict[str, tuple[bool, str]]:
    return {each.type: (each.holds, each.reason) for each in decision.explanations}


@pytest.mark.parametrize(
    ("measured", "current", "wanted", "why"),
    [
        ((_asks(4),), 2, 4, f"{CPU} above target"),
        ((_asks(2),), 4, 2, "All metrics below target"),
        ((_asks(3), _asks(5, "memory resource")), 3, 5, "memory resource above target"),
        ((FAILS, _asks(5)), 3, 5, f"{CPU} above target"),
        ((), 9, 8, "Current number of replicas above Spec.MaxReplicas"),
        ((), 1, 2, "Current number of replicas below Spec.MinReplicas"),
    ],
)
def test_rescales(measured: tuple[Measured, ...], current: int, wanted: int, why: str) -> None:
    """The largest proposal wins; bounds come before metrics; a failed metric doesn't hold a scale-up."""
    decision = _decide(*measured, current=current)
    assert (decision.replicas, decision.why) == (wanted, why)
    assert decision.history.net_change(15, now_s=NOW_S) == wanted - current


@pytest.mark.parametrize("measured", [(FAILS,), (FAILS, _asks(2))])
def test_a_failed_metric_never_scales_down(measured: tuple[Measured, ...]) -> None:
    """When a metric fails and the others would scale down, or all fail, nothing happens and the first says why."""
    decision = _decide(*measured, current=4)
    assert decision.replicas is None
    assert _conditions(decision) == {"ScalingActive": (False, "FailedGetResourceMetric")}
    assert decision.explanations[0].message == (
        "the HPA was unable to compute the replica count: failed to get cpu utilization: none"
    )


def test_zero_replicas_disable_the_autoscaler() -> None:
    """A target that was scaled to zero by its owner stays there."""
    decision = _decide(_asks(5), current=0)
    assert decision.replicas == 0
    assert _conditions(decision) == {"ScalingActive": (False, "ScalingDisabled")}


def test_a_quiet_evaluation_says_so() -> None:
    """On target, every condition tells that there is nothing to do."""
    assert _conditions(_decide(_asks(3), current=3)) == {
        "AbleToScale": (True, "ReadyForNewScale"),
        "ScalingActive": (True, "ValidMetricFound"),
        "ScalingLimited": (False, "DesiredWithinRange"),
    }


def test_a_limited_evaluation_says_what_limits_it() -> None:
    """Past the maximum the condition names the maximum; held by the window, the window."""
    assert _conditions(_decide(_asks(20), current=7))["ScalingLimited"] == (True, "TooManyReplicas")
    held = _decide(_asks(2), current=5, history=History.seeded(5, now_s=NOW_S - 10))
    assert held.replicas == 5
    assert _conditions(held)["AbleToScale"] == (True, "ScaleDownStabilized")
