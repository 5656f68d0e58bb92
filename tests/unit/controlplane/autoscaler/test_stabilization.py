"""Each rule of scaling behavior as a row of a table."""

from __future__ import annotations

import pytest

from controlplane.autoscaler.stabilization import (
    DEFAULT_DOWN,
    DEFAULT_UP,
    Behavior,
    Change,
    History,
    Policy,
    Recommendation,
    Rules,
    behavior_of,
    limit,
    stabilize,
)

NOW_S = 1000.0
DEFAULTS = Behavior(DEFAULT_UP, DEFAULT_DOWN)


def _history(*recommendations: tuple[float, int], changes: tuple[tuple[float, int], ...] = ()) -> History:
    """Recommendations and changes as (seconds ago, count)."""
    return History(
        tuple(Recommendation(NOW_S - ago_s, replicas) for ago_s, replicas in recommendations),
        tuple(Change(NOW_S - ago_s, delta) for ago_s, delta in changes),
    )


@pytest.mark.parametrize(
    ("recommended", "desired", "current", "wanted", "reason"),
    [
        (((10, 5),), 2, 5, 5, "ScaleDownStabilized"),
        (((299, 5),), 2, 5, 5, "ScaleDownStabilized"),
        (((300, 5),), 2, 5, 2, "ReadyForNewScale"),
        (((200, 4), (100, 3)), 2, 5, 4, "ScaleDownStabilized"),
        (((10, 1),), 8, 5, 8, "ReadyForNewScale"),
        ((), 5, 5, 5, "ReadyForNewScale"),
    ],
)
def test_defaults_wait_downwards_and_not_upwards(
    recommended: tuple[tuple[float, int], ...], desired: int, current: int, wanted: int, reason: str
) -> None:
    """By default the highest recommendation of five minutes holds a scale-down, and nothing holds a scale-up."""
    verdict = stabilize(desired, _history(*recommended), DEFAULTS, current=current, now_s=NOW_S)
    assert (verdict.replicas, verdict.reason) == (wanted, reason)


@pytest.mark.parametrize(
    ("recommended", "desired", "current", "wanted", "reason"),
    [
        (((10, 5),), 8, 5, 5, "ScaleUpStabilized"),
        (((10, 6), (5, 7)), 8, 5, 6, "ScaleUpStabilized"),
        (((61, 5),), 8, 5, 8, "ReadyForNewScale"),
    ],
)
def test_a_window_upwards_follows_the_lowest(
    recommended: tuple[tuple[float, int], ...], desired: int, current: int, wanted: int, reason: str
) -> None:
    """With a window upwards the lowest recommendation in it is followed."""
    behavior = Behavior(Rules(60, DEFAULT_UP.policies), DEFAULT_DOWN)
    verdict = stabilize(desired, _history(*recommended), behavior, current=current, now_s=NOW_S)
    assert (verdict.replicas, verdict.reason) == (wanted, reason)


def _up(*policies: Policy, select: str = "Max") -> Behavior:
    return Behavior(Rules(0, policies, select), DEFAULT_DOWN)  # type: ignore[arg-type]


def _down(*policies: Policy, select: str = "Max") -> Behavior:
    return Behavior(DEFAULT_UP, Rules(0, policies, select))  # type: ignore[arg-type]


FOUR, DOUBLE = Policy("Pods", 4, 15), Policy("Percent", 100, 15)
TENTH = Policy("Percent", 10, 60)


@pytest.mark.parametrize(
    ("behavior", "changes", "current", "desired", "wanted", "reason"),
    [
        (DEFAULTS, (), 2, 100, 6, "ScaleUpLimit"),
        (DEFAULTS, (), 10, 100, 20, "ScaleUpLimit"),
        (DEFAULTS, (), 80, 200, 100, "TooManyReplicas"),
        (DEFAULTS, (), 10, 1, 1, "DesiredWithinRange"),
        (DEFAULTS, (), 10, 0, 1, "TooFewReplicas"),
        (DEFAULTS, (), 3, 4, 4, "DesiredWithinRange"),
        (DEFAULTS, ((10, 4),), 6, 100, 6, "ScaleUpLimit"),
        (DEFAULTS, ((15, 4),), 6, 100, 12, "ScaleUpLimit"),
        (DEFAULTS, ((10, 4), (5, -2)), 4, 100, 6, "ScaleUpLimit"),
        (_up(FOUR, DOUBLE, select="Min"), (), 2, 100, 4, "ScaleUpLimit"),
        (_up(FOUR, DOUBLE, select="Min"), (), 20, 100, 24, "ScaleUpLimit"),
        (_up(FOUR, select="Disabled"), (), 2, 100, 2, "ScaleUpLimit"),
        (_down(TENTH), (), 72, 1, 64, "ScaleDownLimit"),
        (_down(TENTH), ((30, -8),), 64, 1, 64, "ScaleDownLimit"),
        (_down(TENTH), ((60, -8),), 64, 1, 57, "ScaleDownLimit"),
        (_down(TENTH, FOUR, select="Min"), (), 80, 1, 76, "ScaleDownLimit"),
        (_down(TENTH, FOUR), (), 80, 1, 72, "ScaleDownLimit"),
        (_down(TENTH, select="Disabled"), (), 72, 1, 72, "ScaleDownLimit"),
    ],
)
def test_policies(
    behavior: Behavior, changes: tuple[tuple[float, int], ...], current: int, desired: int, wanted: int, reason: str
) -> None:
    """Policies limit the change within their period, counted with what was done in it; bounds are 1 and 100."""
    history = _history(changes=changes)
    verdict = limit(desired, history, behavior, current=current, minimum=1, maximum=100, now_s=NOW_S)
    assert (verdict.replicas, verdict.reason) == (wanted, reason)


def test_absent_behavior_means_the_defaults() -> None:
    """An HPA without behavior, or with half of it, gets Kubernetes' defaults for the rest."""
    assert behavior_of({}) == DEFAULTS
    given = {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 15, "tolerance": "50m"}}}
    assert behavior_of(given) == Behavior(DEFAULT_UP, Rules(15, DEFAULT_DOWN.policies, "Max", 0.05))


def test_history_stays_small_and_keeps_what_counts() -> None:
    """Repeating a recommendation for an hour keeps one entry; what left every window is dropped."""
    history = History.seeded(2, now_s=0.0)
    for second in range(3600):
        history = history.recommended(5, DEFAULTS, now_s=float(second))
    assert len(history.recommendations) == 1
    verdict = stabilize(1, history, DEFAULTS, current=5, now_s=3600.0)
    assert verdict.replicas == 5


def test_a_seeded_history_holds_a_scale_down() -> None:
    """Right after a start nothing is removed: what is there counts as wanted."""
    history = History.seeded(6, now_s=NOW_S)
    assert stabilize(2, history, DEFAULTS, current=6, now_s=NOW_S + 299).replicas == 6
    assert stabilize(2, history, DEFAULTS, current=6, now_s=NOW_S + 301).replicas == 2
