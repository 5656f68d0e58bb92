"""What one evaluation decides, and how it explains itself."""

from __future__ import annotations

import pytest

from controlplane.autoscaler.calculator import Proposal
from controlplane.autoscaler.decision import PLAIN, Beyond, Bounds, Decision, Measured, decide
from controlplane.autoscaler.stabilization import History, behavior_of
from flotilla.api.autoscaling_options import Panic

CPU = "cpu resource utilization (percentage of request)"
NOW_S = 1000.0
BOUNDS = Bounds(2, 8)


def _asks(replicas: int, title: str = CPU) -> Measured:
    return Measured(title, Proposal(replicas, 0, 0, 1.0), {})


FAILS = Measured(CPU, reason="FailedGetResourceMetric", message="failed to get cpu utilization: none")


def _decide(
    *measured: Measured,
    current: int,
    history: History | None = None,
    beyond: Beyond = PLAIN,
    bounds: Bounds = BOUNDS,
    now_s: float = NOW_S,
) -> Decision:
    history = history or History.seeded(current, now_s=NOW_S - 400)
    return decide(measured, history, behavior_of({}), bounds, current=current, now_s=now_s, beyond=beyond)


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


def test_panic_goes_up_at_once() -> None:
    """From a multiple of what there is on, policies don't hold a scale-up back; the bounds do."""
    wide = Bounds(1, 100)
    assert _decide(_asks(40), current=4, bounds=wide).replicas == 8
    decision = _decide(_asks(40), current=4, bounds=wide, beyond=Beyond(Panic(2.0)))
    assert decision.replicas == 40
    assert _conditions(decision)["AbleToScale"] == (True, "PanicScaling")
    assert _decide(_asks(40), current=4, beyond=Beyond(Panic(2.0))).replicas == 8
    assert _decide(_asks(7), current=4, bounds=wide, beyond=Beyond(Panic(2.0))).replicas == 7


def test_panic_holds_what_there_is() -> None:
    """Nothing is removed until the demand has been below the threshold for the whole hold."""
    beyond, wide = Beyond(Panic(2.0, hold_s=60.0)), Bounds(1, 100)
    panicked = _decide(_asks(40), current=4, bounds=wide, beyond=beyond).history
    quiet = History.seeded(1, now_s=NOW_S - 400)
    during = History(quiet.recommendations, (), panicked.panic_s)
    assert _decide(_asks(1), current=40, history=during, bounds=wide, beyond=beyond, now_s=NOW_S + 59).replicas == 40
    after = _decide(_asks(1), current=40, history=during, bounds=wide, beyond=beyond, now_s=NOW_S + 400)
    assert after.replicas == 1


def test_a_forecast_is_a_lower_bound() -> None:
    """A forecast raises the count, says so, and never lowers it."""
    decision = _decide(_asks(2), current=2, beyond=Beyond(floor=4))
    assert (decision.replicas, decision.why) == (4, "the forecast above target")
    assert _decide(_asks(5), current=4, beyond=Beyond(floor=3)).replicas == 5


def test_a_failed_metric_is_not_made_up_for_by_a_forecast() -> None:
    """Where nothing is measured, a forecast decides nothing."""
    assert _decide(FAILS, current=4, beyond=Beyond(floor=6)).replicas is None


def test_zero_that_it_made_itself_is_no_pause() -> None:
    """A target that this autoscaler has scaled to zero comes back when the minimum is raised; another's does not."""
    assert _decide(_asks(1), current=0).replicas == 0
    assert _decide(_asks(1), current=0, beyond=Beyond(scaled_to_zero=True)).replicas == 2
