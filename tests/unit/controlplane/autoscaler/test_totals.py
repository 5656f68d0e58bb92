"""Object and External metrics: each rule of the replica calculator as a row of a table."""

from __future__ import annotations

import math

import pytest

from controlplane.autoscaler.calculator import MetricError, Tolerance
from controlplane.autoscaler.totals import TotalTarget, replicas_for_total


@pytest.mark.parametrize(
    ("total", "current", "ready", "wanted", "rule"),
    [
        (20_000, 3, 3, 6, "twice the value asks for twice the ready pods"),
        (20_000, 3, 2, 4, "pods that are not ready do not multiply"),
        (10_900, 3, 3, 3, "within the tolerance nothing happens"),
        (11_100, 3, 3, 4, "just past the tolerance it scales"),
        (5_000, 4, 4, 2, "half the value asks for half the pods"),
        (0, 4, 4, 0, "nothing asks for none; the bounds decide"),
        (500, 0, 0, 1, "from none, anything starts one"),
        (25_000, 0, 0, 3, "from none, the ratio is the count"),
        (0, 0, 0, 0, "from none, nothing starts none"),
    ],
)
def test_values(total: int, current: int, ready: int, wanted: int, rule: str) -> None:
    """A target Value of 10 scales as Kubernetes scales it; status shows the whole number."""
    proposal = replicas_for_total(total, TotalTarget(value=10_000), current=current, ready=ready, tolerance=Tolerance())
    assert proposal.replicas == wanted, rule
    assert proposal.total == total


@pytest.mark.parametrize(
    ("total", "current", "wanted", "average", "rule"),
    [
        (40_000, 2, 4, 20_000, "the total over what one replica bears, whatever there is now"),
        (31_000, 3, 3, 10_334, "within the tolerance of what the replicas bear nothing happens"),
        (34_000, 3, 4, 11_334, "past it the count follows the total alone"),
        (1_000, 4, 1, 250, "a small total asks for one"),
        (0, 4, 0, 0, "nothing asks for none"),
        (25_000, 0, 3, 25_000, "from none, the total alone decides"),
        (0, 0, 0, 0, "from none, nothing starts none"),
    ],
)
def test_average_values(total: int, current: int, wanted: int, average: int, rule: str) -> None:
    """A target AverageValue of 10 scales as Kubernetes scales it; status shows the average."""
    target = TotalTarget(average=10_000)
    proposal = replicas_for_total(total, target, current=current, ready=current, tolerance=Tolerance())
    assert (proposal.replicas, proposal.average_value) == (wanted, average), rule


def test_the_tolerance_of_the_autoscaler_counts() -> None:
    """A tolerance of nothing acts on the smallest difference, in either direction."""
    exact = Tolerance(0.0, 0.0)
    assert replicas_for_total(10_001, TotalTarget(value=10_000), current=1, ready=1, tolerance=exact).replicas == 2
    assert replicas_for_total(9_999, TotalTarget(average=5_000), current=2, ready=2, tolerance=exact).replicas == 2
    assert math.isinf(replicas_for_total(1, TotalTarget(average=1), current=0, ready=0, tolerance=exact).ratio)


def test_a_target_without_a_number_is_an_error() -> None:
    """Nothing is guessed where a target says nothing."""
    with pytest.raises(MetricError, match="neither a value target nor an average value"):
        replicas_for_total(1, TotalTarget(), current=1, ready=1, tolerance=Tolerance())
