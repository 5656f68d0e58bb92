"""What must hold of every decision of the autoscaler, whatever the load, the history and the behavior."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from controlplane.autoscaler.calculator import PodFacts, Proposal, Sample, Target, Tolerance, replicas_for
from controlplane.autoscaler.decision import Bounds, Measured, decide
from controlplane.autoscaler.recent_changes import recalled, with_note
from controlplane.autoscaler.stabilization import Behavior, History, Policy, Rules, limit, stabilize
from flotilla.api.objects import KubeObject

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(hours=1)
TARGETS = st.one_of(
    st.integers(1, 200).map(lambda percent: Target(utilization=percent)),
    st.integers(1, 500).map(lambda millis: Target(average_value=millis)),
)
POLICIES = st.builds(Policy, st.sampled_from(["Pods", "Percent"]), st.integers(1, 200), st.integers(1, 60))
RULES = st.builds(
    Rules,
    st.integers(0, 120),
    st.lists(POLICIES, min_size=1, max_size=3).map(tuple),
    st.sampled_from(["Max", "Min", "Disabled"]),
)
BEHAVIORS = st.builds(Behavior, RULES, RULES)
LOADS = st.lists(st.integers(0, 1000), min_size=1, max_size=20)
RECOMMENDATIONS = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 60)), min_size=1, max_size=40)


def _pods(used: Sequence[float | None]) -> list[PodFacts]:
    return [
        PodFacts(
            name=f"pod-{index}",
            phase="Running",
            deleting=False,
            ready=True,
            ready_changed=LONG_AGO,
            started=LONG_AGO,
            request=100,
            request_fault="",
            sample=None if value is None else Sample(value, NOW - timedelta(seconds=5), NOW),
        )
        for index, value in enumerate(used)
    ]


def _propose(used: Sequence[float | None], target: Target, *, current: int) -> Proposal:
    return replicas_for(_pods(used), target, current=current, is_cpu=True, tolerance=Tolerance(), now=NOW)


def _replicas(used: Sequence[float | None], target: Target, *, current: int) -> int:
    return _propose(used, target, current=current).replicas


@given(used=LOADS, more=st.data(), target=TARGETS)
def test_more_load_never_asks_for_fewer(used: list[int], more: st.DataObject, target: Target) -> None:
    """With every pod measured, adding load to any of them never lowers the count asked for."""
    added = [value + more.draw(st.integers(0, 500)) for value in used]
    assert _replicas(used, target, current=len(used)) <= _replicas(added, target, current=len(used))


@given(used=LOADS, missing=st.integers(0, 5), target=TARGETS)
def test_missing_pods_never_turn_the_direction(used: list[int], missing: int, target: Target) -> None:
    """With figures of some pods lost, the count moves in the direction of what was measured, or not at all."""
    current = len(used) + missing
    proposal = _propose([*used, *[None] * missing], target, current=current)
    if proposal.ratio >= 1.0:
        assert current <= proposal.replicas
    else:
        assert proposal.replicas <= current


@given(demand=st.integers(0, 20_000), target=st.integers(10, 100), current=st.integers(1, 50))
def test_a_count_that_was_asked_for_is_not_revised(demand: int, target: int, current: int) -> None:
    """A demand that is shared evenly asks for one count, and asks for the same once it is there."""

    def asked(replicas: int) -> int:
        return max(1, _replicas([demand / replicas] * replicas, Target(average_value=target), current=replicas))

    settled = asked(current)
    assert asked(settled) == settled


@given(
    proposals=RECOMMENDATIONS,
    behavior=BEHAVIORS,
    start=st.integers(1, 60),
    minimum=st.integers(1, 10),
    width=st.integers(0, 50),
)
def test_decisions_stay_within_bounds(
    proposals: list[tuple[int, int]], behavior: Behavior, start: int, minimum: int, width: int
) -> None:
    """From any count, every decision lies between minimum and maximum, whatever was asked for before."""
    bounds = Bounds(minimum, minimum + width)
    replicas, now_s = start, 0.0
    history = History.seeded(start, now_s=now_s)
    for elapsed_s, proposed in proposals:
        now_s += elapsed_s
        measured = [Measured("cpu", Proposal(proposed, 0, 0, 1.0))]
        decision = decide(measured, history, behavior, bounds, current=replicas, now_s=now_s)
        assert decision.replicas is not None
        assert bounds.minimum <= decision.replicas <= bounds.maximum
        replicas, history = decision.replicas, decision.history


def _run(proposals: list[tuple[int, int]], behavior: Behavior, start: int) -> list[tuple[float, int]]:
    """Replica counts over time under these proposals."""
    replicas, now_s, history = start, 0.0, History.seeded(start, now_s=0.0)
    counts = [(now_s, replicas)]
    for elapsed_s, proposed in proposals:
        now_s += elapsed_s
        measured = [Measured("cpu", Proposal(proposed, 0, 0, 1.0))]
        decision = decide(measured, history, behavior, Bounds(1, 1000), current=replicas, now_s=now_s)
        assert decision.replicas is not None
        replicas, history = decision.replicas, decision.history
        counts.append((now_s, replicas))
    return counts


@given(proposals=RECOMMENDATIONS, policy=POLICIES, start=st.integers(1, 60))
def test_a_policy_is_exceeded_in_no_window(proposals: list[tuple[int, int]], policy: Policy, start: int) -> None:
    """Whichever window of the policy's period is looked at, the net growth in it is within the policy."""
    behavior = Behavior(Rules(0, (policy,)), Rules(0, (policy,), "Disabled"))
    counts = _run(proposals, behavior, start)
    for index, (began_s, base) in enumerate(counts):
        allowed = policy.value if policy.kind == "Pods" else -(-base * policy.value // 100)
        within = [count for at_s, count in counts[index:] if at_s < began_s + policy.period_s]
        assert max(within) <= base + allowed


@given(proposals=RECOMMENDATIONS, policy=POLICIES, start=st.integers(1, 60))
def test_a_policy_downwards_is_exceeded_in_no_window(
    proposals: list[tuple[int, int]], policy: Policy, start: int
) -> None:
    """The same holds for replicas removed."""
    behavior = Behavior(Rules(0, (policy,), "Disabled"), Rules(0, (policy,)))
    counts = _run(proposals, behavior, start)
    for index, (began_s, base) in enumerate(counts):
        allowed = policy.value if policy.kind == "Pods" else -(-base * policy.value // 100)
        within = [count for at_s, count in counts[index:] if at_s < began_s + policy.period_s]
        assert min(within) >= base - allowed


@given(
    proposals=RECOMMENDATIONS,
    policy=POLICIES,
    start=st.integers(1, 60),
    down=st.booleans(),
    ends=st.sets(st.integers(0, 39)),
    unnoted=st.booleans(),
)
def test_a_policy_is_exceeded_in_no_window_whoever_leads(
    proposals: list[tuple[int, int]], policy: Policy, start: int, down: bool, ends: set[int], unnoted: bool
) -> None:
    """A leader that takes over keeps to what the one before did, even if that one ended before it had noted it."""
    behavior = Behavior(Rules(0, (policy,), "Disabled" if down else "Max"), Rules(0, (policy,)))
    if not down:
        behavior = Behavior(behavior.up, Rules(0, (policy,), "Disabled"))
    scaler: KubeObject = {"metadata": {"name": "web"}, "status": {"desiredReplicas": start}}
    replicas, now_s, history, counts = start, 0.0, History.seeded(start, now_s=0.0), [(0.0, start)]
    for index, (elapsed_s, proposed) in enumerate(proposals):
        now_s += elapsed_s
        now = NOW + timedelta(seconds=now_s)
        measured = [Measured("cpu", Proposal(proposed, 0, 0, 1.0))]
        decision = decide(measured, history, behavior, Bounds(1, 1000), current=replicas, now_s=now_s)
        assert decision.replicas is not None
        replicas, history = decision.replicas, decision.history
        counts.append((now_s, replicas))
        if index not in ends or not unnoted:
            scaler = with_note(scaler, history, behavior, now=now, now_s=now_s)
            scaler["status"] = {"desiredReplicas": replicas}
        if index in ends:
            # What is carried over is the object alone; the clock of the next process counts from elsewhere.
            history = recalled(scaler, replicas, now=now, now_s=now_s)
    for index, (began_s, base) in enumerate(counts):
        allowed = policy.value if policy.kind == "Pods" else -(-base * policy.value // 100)
        within = [count for at_s, count in counts[index:] if at_s < began_s + policy.period_s]
        assert max(within) <= base + allowed
        assert min(within) >= base - allowed


@given(proposals=RECOMMENDATIONS, behavior=BEHAVIORS, start=st.integers(1, 60))
def test_a_decision_never_moves_against_what_is_asked(
    proposals: list[tuple[int, int]], behavior: Behavior, start: int
) -> None:
    """Brakes only shorten a step: they never lengthen it and never turn it round."""
    history = History.seeded(start, now_s=0.0)
    now_s = 0.0
    for elapsed_s, proposed in proposals:
        now_s += elapsed_s
        stabilized = stabilize(proposed, history, behavior, current=start, now_s=now_s)
        limited = limit(stabilized.replicas, history, behavior, current=start, minimum=1, maximum=1000, now_s=now_s)
        low, high = sorted((start, max(1, proposed)))
        assert low <= max(1, stabilized.replicas) <= high
        assert low <= limited.replicas <= high
        history = history.recommended(proposed, behavior, now_s=now_s)


@given(proposed=st.integers(0, 60), start=st.integers(1, 60), behavior=BEHAVIORS)
def test_constant_proposals_never_swing(proposed: int, start: int, behavior: Behavior) -> None:
    """Under one and the same proposal the count moves in one direction only."""
    counts = [count for _, count in _run([(1, proposed)] * 60, behavior, start)]
    steps = [later - earlier for earlier, later in pairwise(counts)]
    assert all(step >= 0 for step in steps) or all(step <= 0 for step in steps)
