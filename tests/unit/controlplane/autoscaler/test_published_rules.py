"""Every rule of the published algorithm with the numbers that Kubernetes itself publishes for it.

The sources are the page "Horizontal Pod Autoscaling" of Kubernetes' documentation and the figures of the tables in
``pkg/controller/podautoscaler/replica_calculator_test.go``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from controlplane.autoscaler.calculator import MetricError, PodFacts, Proposal, Sample, Target, Tolerance, replicas_for
from controlplane.autoscaler.decision import Bounds, Decision, Measured, decide
from controlplane.autoscaler.stabilization import History, behavior_of
from controlplane.autoscaler.totals import TotalTarget, replicas_for_total

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
READY, UNREADY, HOT, PENDING, FAILED, DELETED = "ready", "unready", "hot", "pending", "failed", "deleted"


@dataclass(frozen=True)
class Case:
    """Pods in their states with what each uses (None: no sample), and what has to come of it."""

    rule: str
    current: int
    used: tuple[int | None, ...]
    target: int
    replicas: int
    measured: int
    states: tuple[str, ...] = ()
    requests: tuple[int, ...] = field(default=())


def _pod(number: int, state: str, used: int | None, request: int) -> PodFacts:
    # A hot pod is ready but so young that the sample reaches back before it was.
    ago = {HOT: timedelta(seconds=2), UNREADY: timedelta()}.get(state, timedelta(hours=1))
    return PodFacts(
        name=f"pod-{number}",
        phase={PENDING: "Pending", FAILED: "Failed"}.get(state, "Running"),
        deleting=state == DELETED,
        ready=state in (READY, HOT),
        ready_changed=NOW - ago,
        started=NOW - ago - timedelta(seconds=1),
        request=request,
        request_fault="",
        sample=None if used is None else Sample(used, NOW - timedelta(seconds=5), NOW),
    )


def _proposal(case: Case, target: Target, *, is_cpu: bool) -> Proposal:
    states = case.states or (READY,) * len(case.used)
    requests = case.requests or (1000,) * len(case.used)
    pods = [
        _pod(number, state, used, request)
        for number, (state, used, request) in enumerate(zip(states, case.used, requests, strict=True))
    ]
    return replicas_for(pods, target, current=case.current, is_cpu=is_cpu, tolerance=Tolerance(), now=NOW)


CPU = (
    Case("twice the target doubles", 1, (200,), 10, 2, 20),
    Case("half the target halves", 2, (500, 500), 100, 1, 50),
    Case("the mean over all pods counts", 3, (300, 500, 700), 30, 5, 50),
    Case("an unready pod counts as idle on the way up", 3, (300, 500, 700), 30, 4, 60, (UNREADY, READY, READY)),
    Case("so does one whose sample is older than its readiness", 3, (300, 500, 700), 30, 4, 60, (HOT, READY, READY)),
    Case("unready pods make up for the rest: no change", 3, (400, 500, 700), 30, 3, 40, (READY, UNREADY, UNREADY)),
    Case("hot ones as well", 3, (400, 500, 700), 30, 3, 40, (READY, HOT, HOT)),
    Case("pods that wait for a node count as idle", 3, (500, 700, None), 30, 4, 60, (READY, READY, PENDING)),
    Case("failed pods are discarded", 2, (500, 700, None, None), 30, 4, 60, (READY, READY, FAILED, FAILED)),
    Case("pods that go are ignored", 2, (500, 700, None, None), 30, 4, 60, (READY, READY, DELETED, DELETED)),
    Case("under the target it shrinks", 5, (100, 300, 500, 250, 250), 50, 3, 28),
    Case("down, unready pods are left out", 5, (100, 300, 500, 250, 250), 50, 2, 30, (*[READY] * 3, *[UNREADY] * 2)),
    Case("down, hot pods are left out", 5, (100, 300, 500, 250, 250), 50, 2, 30, (*[READY] * 3, *[HOT] * 2)),
    Case("down, pods without a node are left out", 5, (100, *[None] * 4), 50, 1, 10, (READY, *[PENDING] * 4)),
    Case(
        "down, failed pods are discarded", 5, (100, 300, 500, 250, 250, 9, 9), 50, 3, 28, (*[READY] * 5, *[FAILED] * 2)
    ),
    Case(
        "down, pods that go are ignored", 5, (100, 300, 500, 250, 250, 9, 9), 50, 3, 28, (*[READY] * 5, *[DELETED] * 2)
    ),
    Case("within a tenth nothing happens", 3, (1010, 1030, 1020), 100, 3, 102, (), (900, 1000, 1100)),
    Case("down, missing pods count as at their request", 4, (400, 95, None, None), 100, 3, 24),
    Case("on target nothing is assumed", 2, (1000, None), 100, 2, 100),
    Case("up, a missing pod counts as idle: within the tolerance", 2, (1900, None), 100, 2, 190),
    Case("down, a missing pod makes up for it: within the tolerance", 2, (600, None), 100, 2, 60),
    Case("missing pods would turn the direction round", 3, (100, 450, None), 50, 3, 45, (UNREADY, READY, READY)),
    Case("with a hot pod as well", 3, (100, 450, None), 50, 3, 45, (HOT, READY, READY)),
    Case(
        "up, unready and missing pods are part of the count", 3, (100, 2000, None), 50, 4, 200, (UNREADY, READY, READY)
    ),
    Case(
        "down, missing pods count and unready ones don't", 4, (100, 100, 100, None), 50, 3, 10, (UNREADY, *[READY] * 3)
    ),
    Case("a pod more than replicas, without figures, scales nothing up", 2, (100, 100, None), 50, 2, 10),
    Case(
        "just past the tolerance one goes",
        10,
        (150,) * 10,
        56,
        9,
        50,
        (),
        (400, 200, 310, 290, 302, 298, 301, 299, 300, 300),
    ),
    Case(
        "just within it none goes",
        10,
        (150,) * 10,
        55,
        10,
        50,
        (),
        (400, 200, 310, 290, 302, 298, 301, 299, 300, 300),
    ),
)


@pytest.mark.parametrize("case", CPU, ids=lambda case: case.rule)
def test_utilization_of_cpu(case: Case) -> None:
    """Replicas for a percentage of the request; what is reported is measured, not assumed."""
    proposal = _proposal(case, Target(utilization=case.target), is_cpu=True)
    assert (proposal.replicas, proposal.utilization) == (case.replicas, case.measured)


PLAIN = (
    Case("the mean over all pods counts", 3, (20_000, 10_000, 30_000), 15_000, 4, 20_000),
    Case("readiness doesn't matter", 3, (50_000, 10_000, 30_000), 15_000, 6, 30_000, (READY, READY, UNREADY)),
    Case("nor does youth", 3, (50_000, 15_000, 30_000), 15_000, 7, 31_666, (HOT, READY, UNREADY)),
    Case("one pod of nearly twice the target", 1, (8_600,), 4_400, 2, 8_600),
    Case("under the target it shrinks", 5, (12_000,) * 5, 20_000, 3, 12_000),
    Case("within a tenth nothing happens", 3, (20_000, 21_000, 21_000), 20_000, 3, 20_666),
    Case("down, a missing pod counts as at the target", 4, (5_000, 5_000, 5_000, None), 20_000, 2, 5_000),
    Case("up, a missing pod counts as at nothing", 3, (30_000, 30_000, None), 15_000, 4, 30_000),
)


@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.rule)
@pytest.mark.parametrize("metric", ["memory", "requests a second"])
def test_average_values(case: Case, metric: str) -> None:
    """Replicas for a raw average a pod, of memory or of what pods say."""
    proposal = _proposal(case, Target(average_value=case.target), is_cpu=False)
    assert (proposal.replicas, proposal.average_value) == (case.replicas, case.measured), metric


@pytest.mark.parametrize(
    ("total", "target", "current", "ready", "replicas", "shown"),
    [
        (20_000, TotalTarget(value=15_000), 3, 3, 4, 20_000),
        (50_000, TotalTarget(value=10_000), 3, 1, 5, 50_000),
        (8_600, TotalTarget(value=4_400), 3, 1, 2, 8_600),
        (12_000, TotalTarget(value=20_000), 5, 5, 3, 12_000),
        (8_600, TotalTarget(value=14_334), 5, 5, 3, 8_600),
        (20_666, TotalTarget(value=20_000), 3, 3, 3, 20_666),
        (8_600, TotalTarget(value=8_888), 3, 3, 3, 8_600),
        (20_000, TotalTarget(average=5_000), 3, 3, 4, 6_667),
        (8_600, TotalTarget(average=2_150), 3, 3, 4, 2_867),
        (6_000, TotalTarget(average=2_000), 5, 5, 3, 1_200),
        (8_600, TotalTarget(average=2_867), 5, 5, 3, 1_720),
        (20_166, TotalTarget(average=5_000), 4, 4, 4, 5_042),
        (8_600, TotalTarget(average=2_900), 3, 3, 3, 2_867),
    ],
)
def test_object_and_external_metrics(
    total: int, target: TotalTarget, current: int, ready: int, replicas: int, shown: int
) -> None:
    """One number for all pods: a Value multiplies the pods that are ready, an AverageValue doesn't ask for them."""
    proposal = replicas_for_total(total, target, current=current, ready=ready, tolerance=Tolerance())
    assert (proposal.replicas, proposal.average_value or proposal.total) == (replicas, shown)


def test_a_target_without_pods_is_not_scaled_by_a_value() -> None:
    """Where there is no pod yet, or none can be made, a Value says nothing and scales nothing down."""
    with pytest.raises(MetricError, match="no pods returned by selector"):
        replicas_for_total(5_000, TotalTarget(value=20_000), current=4, ready=None, tolerance=Tolerance())
    assert replicas_for_total(20_000, TotalTarget(value=20_000), current=4, ready=None, tolerance=Tolerance())
    assert replicas_for_total(5_000, TotalTarget(average=5_000), current=4, ready=None, tolerance=Tolerance())


def _asks(replicas: int) -> Measured:
    return Measured("cpu resource", Proposal(replicas, 0, None, 1.0), {})


class _Run:
    """One autoscaler's decisions, one after the other."""

    def __init__(self, replicas: int, behavior: dict[str, object], bounds: Bounds) -> None:
        self.replicas, self.now_s = replicas, 0.0
        self._behavior, self._bounds = behavior_of({"behavior": behavior}), bounds
        self._history = History()

    def decide(self, wanted: int, *, after_s: float) -> Decision:
        self.now_s += after_s
        decision = decide(
            [_asks(wanted)], self._history, self._behavior, self._bounds, current=self.replicas, now_s=self.now_s
        )
        self._history, self.replicas = decision.history, decision.replicas or 0
        return decision


def _policies(*policies: tuple[str, int, int], window_s: int = 0, select: str = "Max") -> dict[str, object]:
    written = [{"type": kind, "value": value, "periodSeconds": period_s} for kind, value, period_s in policies]
    return {"policies": written, "stabilizationWindowSeconds": window_s, "selectPolicy": select}


@pytest.mark.parametrize(
    ("down", "counts", "rule"),
    [
        (
            _policies(("Pods", 4, 60), ("Percent", 10, 60)),
            [72, 64, 57, 51, 45, 40, 36, 32, 28],
            "a tenth a minute, rounded up, down to 40 replicas, from there on four",
        ),
        (_policies(("Percent", 10, 60)), [72, 64, 57, 51, 45, 40, 36, 32, 28, 25], "a tenth a minute"),
        (_policies(("Percent", 10, 60), ("Pods", 5, 60), select="Min"), [75, 70, 65, 60], "no more than five a minute"),
        (_policies(("Percent", 10, 60), select="Disabled"), [80, 80], "never"),
        (_policies(("Percent", 100, 15)), [10], "all that is not needed at once: the default"),
    ],
)
def test_policies_of_the_documentation(down: dict[str, object], counts: list[int], rule: str) -> None:
    """80 replicas of which ten are needed, minute by minute, and not a second before the minute is over."""
    run = _Run(80, {"scaleDown": down}, Bounds(10, 100))
    for count in counts:
        assert run.decide(10, after_s=60.0).replicas == count, rule
        if count > 10:
            assert run.decide(10, after_s=59.9).replicas == count, rule
            run.now_s -= 59.9


def test_default_policies_of_the_documentation() -> None:
    """Up, the larger of four pods and as many again in fifteen seconds, without waiting."""
    run = _Run(1, {}, Bounds(1, 1000))
    assert [run.decide(1000, after_s=15.0).replicas for _ in range(6)] == [5, 10, 20, 40, 80, 160]
    held = _Run(1, {}, Bounds(1, 1000))
    assert [held.decide(1000, after_s=1.0).replicas for _ in range(15)] == [5] * 15
    assert held.decide(1000, after_s=1.0).replicas == 10


def test_default_window_of_the_documentation() -> None:
    """Down, the highest recommendation of five minutes is followed."""
    run = _Run(10, {}, Bounds(1, 20))
    assert run.decide(10, after_s=1.0).replicas == 10
    assert run.decide(6, after_s=100.0).replicas == 10
    assert run.decide(2, after_s=199.9).replicas == 10
    assert run.decide(2, after_s=0.2).replicas == 6
    assert run.decide(2, after_s=100.0).replicas == 2


def test_zero_is_reached_and_left_by_totals_only() -> None:
    """From zero the ratio is the count, without tolerance (KEP-2021)."""
    for target in (TotalTarget(value=10_000), TotalTarget(average=10_000)):
        for total, replicas in ((0, 0), (1, 1), (10_000, 1), (10_001, 2)):
            found = replicas_for_total(total, target, current=0, ready=None, tolerance=Tolerance())
            assert found.replicas == replicas
