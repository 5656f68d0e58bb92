"""Tables for the sizes of a Deployment's ReplicaSets."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.controllers.deployment.rolling import (
    Limits,
    Share,
    Size,
    grow_new,
    limits_of,
    proportional,
    shrink_old,
)


@pytest.mark.parametrize(
    ("replicas", "strategy", "limits"),
    [
        (10, {}, Limits(10, 3, 2)),
        (1, {}, Limits(1, 1, 0)),
        (3, {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "10%"}}, Limits(3, 0, 1)),
        (4, {"rollingUpdate": {"maxSurge": 2, "maxUnavailable": 9}}, Limits(4, 2, 4)),
        (0, {}, Limits(0, 0, 0)),
        (4, {"type": "Recreate"}, Limits(4, 0, 0)),
    ],
)
def test_limits(replicas: int, strategy: dict[str, Any], limits: Limits) -> None:
    """Surge rounds up, unavailable down, both 0 means one unavailable, never more than there are."""
    assert limits_of({"spec": {"replicas": replicas, "strategy": strategy}}) == limits


@pytest.mark.parametrize(
    ("limits", "new", "total", "grown"),
    [
        (Limits(10, 3, 2), 0, 10, 3),
        (Limits(10, 3, 2), 3, 13, 3),
        (Limits(10, 3, 2), 3, 11, 5),
        (Limits(10, 3, 2), 9, 9, 10),
        (Limits(10, 3, 2), 12, 12, 10),
        (Limits(10, 0, 2), 0, 10, 0),
        (Limits(10, 3, 2), 4, 20, 4),
    ],
)
def test_the_new_set_grows_into_the_room_there_is(limits: Limits, new: int, total: int, grown: int) -> None:
    """Never beyond the desired number, never above the most allowed in all, and never back below what it is."""
    assert grow_new(limits, new=new, total=total) == grown


@pytest.mark.parametrize(
    ("limits", "new", "olds", "sizes"),
    [
        (Limits(10, 3, 2), Size("new", 3, 0), [Size("old", 10, 10)], {"old": 8}),
        (Limits(10, 3, 2), Size("new", 5, 3), [Size("old", 8, 8)], {"old": 5}),
        (Limits(10, 3, 2), Size("new", 3, 0), [Size("old", 8, 8)], {}),
        (Limits(10, 3, 0), Size("new", 3, 0), [Size("old", 10, 10)], {}),
        (Limits(10, 3, 2), Size("new", 3, 0), [Size("bad", 4, 0), Size("old", 6, 6)], {"bad": 2}),
        (Limits(10, 0, 1), Size("new", 1, 1), [Size("old", 9, 9)], {"old": 8}),
        (Limits(10, 3, 2), Size("new", 10, 10), [Size("old", 3, 3)], {"old": 0}),
        (Limits(10, 2, 2), Size("new", 4, 1), [Size("old", 8, 10)], {"old": 7}),
        (Limits(0, 0, 0), Size("new", 0, 0), [Size("old", 4, 4)], {"old": 0}),
        (Limits(3, 1, 0), Size("new", 0, 0), [], {}),
    ],
)
def test_old_sets_shrink_as_far_as_availability_allows(
    limits: Limits, new: Size, olds: list[Size], sizes: dict[str, int]
) -> None:
    """What is unavailable goes first, oldest sets first; a status that lags behind doesn't count twice."""
    assert shrink_old(limits, new=new, olds=olds) == sizes


@pytest.mark.parametrize(
    ("limits", "shares", "sizes"),
    [
        (Limits(15, 3, 2), [Share("new", 5, 13, "2"), Share("old", 8, 13, "1")], {"old": 11, "new": 7}),
        (Limits(5, 1, 1), [Share("new", 5, 13, "2"), Share("old", 8, 13, "1")], {"old": 4, "new": 2}),
        (Limits(0, 0, 0), [Share("new", 5, 13, "2"), Share("old", 8, 13, "1")], {"old": 0, "new": 0}),
        (Limits(11, 0, 1), [Share("new", 5, 10, "2"), Share("old", 5, 10, "1")], {"new": 6, "old": 5}),
        (Limits(9, 0, 1), [Share("new", 5, 10, "2"), Share("old", 5, 10, "1")], {"old": 4, "new": 5}),
        (Limits(12, 0, 1), [Share("new", 5, 0, "2"), Share("old", 5, 0, "1")], {"new": 6, "old": 6}),
    ],
)
def test_scaling_amid_a_rollout_goes_by_shares(limits: Limits, shares: list[Share], sizes: dict[str, int]) -> None:
    """Each set keeps its proportion; what rounding leaves over goes to the first."""
    assert proportional(limits, shares, status_replicas=10) == sizes
