"""Rollouts keep their bounds whatever happens in between: sizes planned on statuses that lag, pods that come and go."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.controllers.deployment.rolling import (
    Limits,
    Share,
    Size,
    grow_new,
    proportional,
    shrink_old,
)


@dataclass
class _Set:
    """A ReplicaSet with its true pods and what its status last said of them."""

    name: str
    replicas: int
    ready: int = 0
    starting: int = 0
    status_replicas: int = 0
    status_available: int = 0
    observed: bool = True

    @property
    def pods(self) -> int:
        return self.ready + self.starting

    def reconcile(self) -> None:
        """The ReplicaSet controller acts: it makes pods, or removes those that are not ready first."""
        self.report()
        self.starting += max(0, self.replicas - self.pods)
        surplus = max(0, self.pods - self.replicas)
        removed = min(surplus, self.starting)
        self.starting -= removed
        self.ready -= surplus - removed

    def report(self) -> None:
        self.status_replicas, self.status_available, self.observed = self.pods, self.ready, True

    def become_ready(self, count: int) -> None:
        moved = min(count, self.starting)
        self.starting -= moved
        self.ready += moved

    def resize(self, replicas: int) -> None:
        self.observed = self.observed and self.replicas == replicas
        self.replicas = replicas

    @property
    def size(self) -> Size:
        return Size(self.name, self.replicas, self.status_available)

    @property
    def present(self) -> int:
        return max(self.replicas, self.status_replicas)


@dataclass
class _Rollout:
    limits: Limits
    old: list[_Set]
    new: _Set = field(default_factory=lambda: _Set("new", 0))

    @property
    def all(self) -> list[_Set]:
        return [*self.old, self.new]

    def step(self) -> None:
        """One plan, as :func:`controlplane.controllers.deployment.plan.plan` makes it."""
        grown = self.new.replicas
        if all(old.observed for old in self.old):
            grown = grow_new(self.limits, new=grown, total=sum(each.present for each in self.all))
        after = Size("new", grown, self.new.status_available)
        sizes = shrink_old(self.limits, new=after, olds=[old.size for old in self.old])
        self.new.resize(grown)
        for old in self.old:
            old.resize(sizes.get(old.name, old.replicas))

    @property
    def done(self) -> bool:
        return self.new.ready == self.limits.desired and not sum(old.pods for old in self.old)


@st.composite
def _limits(draw: st.DrawFn) -> Limits:
    desired = draw(st.integers(1, 12))
    surge, unavailable = draw(st.integers(0, 6)), draw(st.integers(0, desired))
    return Limits(desired, surge, unavailable if surge or unavailable else 1)


_ACTIONS = st.lists(
    st.tuples(st.sampled_from(["plan", "old", "new", "ready", "report"]), st.integers(0, 5)), max_size=80
)


@settings(max_examples=300, deadline=None)
@given(limits=_limits(), actions=_ACTIONS, split=st.integers(0, 12))
def test_no_interleaving_leaves_the_bounds(limits: Limits, actions: list[tuple[str, int]], split: int) -> None:
    """Pods never exceed desired + surge, ready ones never fall below desired - unavailable; and it always finishes."""
    first = min(split, limits.desired)
    sizes = [first, limits.desired - first]
    old = [_Set(f"old-{number}", size, ready=size) for number, size in enumerate(sizes)]
    for each in old:
        each.report()
    rollout = _Rollout(limits, old)

    def check() -> None:
        assert sum(each.pods for each in rollout.all) <= limits.most
        assert sum(each.ready for each in rollout.all) >= limits.fewest_available

    for action, number in actions:
        match action:
            case "plan":
                rollout.step()
            case "old":
                old[number % 2].reconcile()
            case "new":
                rollout.new.reconcile()
            case "ready":
                rollout.new.become_ready(number)
            case "report":
                rollout.all[number % 3].report()
        check()
    for _ in range(10 * limits.desired + 10):
        rollout.step()
        for each in rollout.all:
            each.reconcile()
            each.become_ready(1)
            each.report()
            check()
    assert rollout.done


_SIZES = st.lists(st.integers(1, 40), min_size=2, max_size=5)


@given(desired=st.integers(0, 100), surge=st.integers(0, 20), sizes=_SIZES, before=st.integers(0, 120))
def test_proportional_sizes_add_up(desired: int, surge: int, sizes: list[int], before: int) -> None:
    """The sum is exactly what is allowed, no size is negative, and growing never shrinks a set."""
    limits = Limits(desired, surge, 0)
    shares = [Share(f"set-{number}", size, before, str(number)) for number, size in enumerate(sizes)]
    planned = proportional(limits, shares, status_replicas=sum(sizes))
    allowed = limits.most if desired else 0
    assert all(size >= 0 for size in planned.values())
    assert sum(planned.values()) == allowed or (sum(planned.values()) > allowed and min(planned.values()) == 0)
    largest = max(shares, key=lambda share: share.replicas)
    if allowed >= sum(sizes) and before == sum(sizes):
        assert planned[largest.name] >= largest.replicas
