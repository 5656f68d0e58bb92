"""How many replicas each ReplicaSet of a Deployment may have next: integers in, integers out.

Source: Kubernetes' ``deployment/rolling.go`` and ``util/deployment_util.go``. A size counts as available only up to
what it is already asked to shrink to, because its status may lag behind: the bounds hold in any order of events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flotilla.api.objects import KubeObject
from flotilla.api.workloads import int_or_percent

_DEFAULT_STEP = "25%"


@dataclass(frozen=True, slots=True)
class Limits:
    """At most ``desired + surge`` replicas in all, at least ``desired - unavailable`` of them available."""

    desired: int
    surge: int
    unavailable: int

    @property
    def most(self) -> int:
        return self.desired + self.surge

    @property
    def fewest_available(self) -> int:
        return self.desired - self.unavailable


@dataclass(frozen=True, slots=True)
class Size:
    """A ReplicaSet's desired replicas and those available according to its status."""

    name: str
    replicas: int
    available: int

    @property
    def staying_available(self) -> int:
        return min(self.available, self.replicas)


def limits_of(deployment: KubeObject) -> Limits:
    """The bounds of a Deployment; ``surge`` rounds up, ``unavailable`` down, and they are not both 0."""
    spec = deployment["spec"]
    desired = spec.get("replicas", 1)
    strategy = spec.get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return Limits(desired, 0, 0)
    rolling = strategy.get("rollingUpdate") or {}
    surge = int_or_percent(rolling.get("maxSurge", _DEFAULT_STEP), desired, round_up=True)
    unavailable = int_or_percent(rolling.get("maxUnavailable", _DEFAULT_STEP), desired, round_up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Limits(desired, surge, min(unavailable, desired))


def grow_new(limits: Limits, *, new: int, total: int) -> int:
    """The next size of the newest set, which has ``new`` of the ``total`` replicas of all sets.

    Kubernetes counts desired replicas alone here, and so may have more pods for a moment than the Deployment allows;
    ``total`` also counts those that old sets have not got rid of yet.
    """
    if new >= limits.desired:
        return limits.desired
    room = limits.most - total
    return new + max(0, min(room, limits.desired - new))


def shrink_old(limits: Limits, *, new: Size, olds: Sequence[Size]) -> dict[str, int]:
    """The next sizes of those old sets (oldest first) that may shrink now: first what is not available anyway."""
    sizes = {old.name: old.replicas for old in olds}
    if not sum(sizes.values()):
        return {}
    total = sum(sizes.values()) + new.replicas
    spare = total - limits.fewest_available - (new.replicas - new.staying_available)
    if spare <= 0:
        return {}
    _remove_unavailable(sizes, olds, spare)
    _remove_available(sizes, olds, limits, new)
    return {old.name: sizes[old.name] for old in olds if sizes[old.name] != old.replicas}


def _remove_unavailable(sizes: dict[str, int], olds: Sequence[Size], spare: int) -> None:
    for old in olds:
        removed = min(spare, old.replicas - old.staying_available)
        sizes[old.name] -= removed
        spare -= removed


def _remove_available(sizes: dict[str, int], olds: Sequence[Size], limits: Limits, new: Size) -> None:
    available = new.staying_available + sum(old.staying_available for old in olds)
    spare = available - limits.fewest_available
    for old in olds:
        removed = max(0, min(spare, sizes[old.name], old.staying_available))
        sizes[old.name] -= removed
        spare -= removed


@dataclass(frozen=True, slots=True)
class Share:
    """An active set that takes its part in scaling a Deployment amid a rollout.

    ``most_before`` is the Deployment's most replicas when the set was last sized, 0 if that isn't known.
    """

    name: str
    replicas: int
    most_before: int
    created: str


def proportional(limits: Limits, shares: Sequence[Share], *, status_replicas: int) -> dict[str, int]:
    """Sizes of all sets when a Deployment is scaled while several are active, each by its share; the rest goes first.

    The sum is the most that the limits allow, 0 when nothing is desired. The largest sets are served first, among
    equals the newest when growing and the oldest when shrinking.
    """
    allowed = limits.most if limits.desired > 0 else 0
    to_add = allowed - sum(share.replicas for share in shares)
    by_age = sorted(shares, key=lambda share: (share.created, share.name), reverse=to_add > 0)
    ordered = sorted(by_age, key=lambda share: share.replicas, reverse=True)
    sizes: dict[str, int] = {}
    added = 0
    for share in ordered:
        part = _part(share, limits, status_replicas=status_replicas, left=to_add - added)
        added += part
        sizes[share.name] = share.replicas + part
    if ordered and to_add != added:
        first = ordered[0].name
        sizes[first] = max(0, sizes[first] + to_add - added)
    return sizes


def _part(share: Share, limits: Limits, *, status_replicas: int, left: int) -> int:
    if share.replicas == 0 or left == 0:
        return 0
    fraction = _fraction(share, limits, status_replicas=status_replicas)
    return min(fraction, left) if left > 0 else max(fraction, left)


def _fraction(share: Share, limits: Limits, *, status_replicas: int) -> int:
    if limits.desired == 0:
        return -share.replicas
    before = share.most_before or status_replicas
    if before == 0:
        return 0
    scaled = share.replicas * limits.most
    return (2 * scaled + before) // (2 * before) - share.replicas
