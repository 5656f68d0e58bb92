"""How fast a replica count may move. Pure: the ``behavior`` of ``autoscaling/v2``, as Kubernetes' HPA carries it out.

Two brakes, in this order. The stabilization window: of the counts recommended lately, the lowest is followed upwards
and the highest downwards, so that a short dip does not remove pods that are needed again. The policies: how many
replicas may be added or removed within a period, counting what this autoscaler did in it. Times are seconds of one
clock; the history is a value that the caller keeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from flotilla.api.quantities import parse_quantity

DEFAULT_DOWN_WINDOW_S = 300
LONGEST_PERIOD_S = 1800

Select = Literal["Max", "Min", "Disabled"]


@dataclass(frozen=True, slots=True)
class Policy:
    """``value`` pods (or percent of the replicas at the period's start) within ``period_s`` seconds."""

    kind: Literal["Pods", "Percent"]
    value: int
    period_s: int


@dataclass(frozen=True, slots=True)
class Rules:
    """One direction. With ``Max`` the policy that allows most decides, with ``Min`` the one that allows least."""

    window_s: int
    policies: tuple[Policy, ...]
    select: Select = "Max"
    tolerance: float | None = None


@dataclass(frozen=True, slots=True)
class Behavior:
    up: Rules
    down: Rules


DEFAULT_UP = Rules(0, (Policy("Pods", 4, 15), Policy("Percent", 100, 15)))
DEFAULT_DOWN = Rules(DEFAULT_DOWN_WINDOW_S, (Policy("Percent", 100, 15),))


def behavior_of(spec: Mapping[str, Any]) -> Behavior:
    """The rules in an HPA's spec, defaults filled in."""
    given = spec.get("behavior") or {}
    return Behavior(
        _rules(given.get("scaleUp") or {}, DEFAULT_UP),
        _rules(given.get("scaleDown") or {}, DEFAULT_DOWN),
    )


def _rules(given: Mapping[str, Any], default: Rules) -> Rules:
    policies = tuple(Policy(each["type"], each["value"], each["periodSeconds"]) for each in given.get("policies") or ())
    window_s, tolerance = given.get("stabilizationWindowSeconds"), given.get("tolerance")
    return Rules(
        default.window_s if window_s is None else window_s,
        policies or default.policies,
        given.get("selectPolicy") or "Max",
        None if tolerance is None else float(parse_quantity(tolerance)),
    )


@dataclass(frozen=True, slots=True)
class Recommendation:
    at_s: float
    replicas: int


@dataclass(frozen=True, slots=True)
class Change:
    """Replicas added (positive) or removed (negative) by this autoscaler."""

    at_s: float
    delta: int


@dataclass(frozen=True, slots=True)
class History:
    """What was recommended and done lately, and when a demand was last seen that was cause for panic."""

    recommendations: tuple[Recommendation, ...] = ()
    changes: tuple[Change, ...] = ()
    panic_s: float = float("-inf")

    @classmethod
    def seeded(cls, replicas: int, *, now_s: float) -> History:
        """The history of an autoscaler that has just begun to look: what is there was wanted."""
        return cls((Recommendation(now_s, replicas),))

    def recommended(self, replicas: int, behavior: Behavior, *, now_s: float) -> History:
        """With one more recommendation. Of a run of equal ones the last says all that the others do."""
        horizon_s = now_s - max(behavior.up.window_s, behavior.down.window_s)
        kept = [each for each in self.recommendations if each.at_s > horizon_s]
        if kept and kept[-1].replicas == replicas:
            kept.pop()
        return replace(self, recommendations=(*kept, Recommendation(now_s, replicas)))

    def changed(self, delta: int, *, now_s: float) -> History:
        """With one more change that was carried out."""
        kept = [each for each in self.changes if each.at_s > now_s - LONGEST_PERIOD_S]
        return replace(self, changes=(*kept, Change(now_s, delta)))

    def net_change(self, period_s: int, *, now_s: float) -> int:
        """Replicas added less those removed within the period."""
        return sum(change.delta for change in self.changes if change.at_s > now_s - period_s)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A count after a brake; ``reason`` and ``message`` are those of the condition that explains it."""

    replicas: int
    limited: bool
    reason: str
    message: str


def bounded(desired: int, *, minimum: int, maximum: int) -> Verdict:
    """Keep ``desired`` within the bounds, without any brake."""
    if desired > maximum:
        return _too_many(maximum)
    if desired < minimum:
        return _too_few(minimum)
    return _within(desired)


def stabilize(desired: int, history: History, behavior: Behavior, *, current: int, now_s: float) -> Verdict:
    """Follow the lowest recent recommendation upwards and the highest downwards, ``desired`` included."""
    lowest = min([desired, *_recent(history, behavior.up.window_s, now_s=now_s)])
    highest = max([desired, *_recent(history, behavior.down.window_s, now_s=now_s)])
    stabilized = min(max(current, lowest), highest)
    if stabilized == desired:
        return Verdict(desired, False, "ReadyForNewScale", "recommended size matches current size")
    if desired >= current:
        message = "recent recommendations were lower than current one, applying the lowest recent recommendation"
        return Verdict(stabilized, True, "ScaleUpStabilized", message)
    message = "recent recommendations were higher than current one, applying the highest recent recommendation"
    return Verdict(stabilized, True, "ScaleDownStabilized", message)


def _recent(history: History, window_s: int, *, now_s: float) -> Iterable[int]:
    return [each.replicas for each in history.recommendations if each.at_s > now_s - window_s]


def limit(
    desired: int, history: History, behavior: Behavior, *, current: int, minimum: int, maximum: int, now_s: float
) -> Verdict:
    """Keep ``desired`` within the bounds and within what the policies allow now."""
    if desired > current:
        allowed = max(current, _furthest_up(history, behavior.up, current=current, now_s=now_s))
        if maximum <= allowed:
            verdict = _too_many(maximum)
        else:
            message = "the desired replica count is increasing faster than the maximum scale rate"
            verdict = Verdict(allowed, True, "ScaleUpLimit", message)
        if desired > verdict.replicas:
            return verdict
    elif desired < current:
        allowed = min(current, _furthest_down(history, behavior.down, current=current, now_s=now_s))
        if minimum >= allowed:
            verdict = _too_few(minimum)
        else:
            message = "the desired replica count is decreasing faster than the maximum scale rate"
            verdict = Verdict(allowed, True, "ScaleDownLimit", message)
        if desired < verdict.replicas:
            return verdict
    return _within(desired)


def _within(desired: int) -> Verdict:
    return Verdict(desired, False, "DesiredWithinRange", "the desired count is within the acceptable range")


def _too_many(maximum: int) -> Verdict:
    message = "the desired replica count is more than the maximum replica count"
    return Verdict(maximum, True, "TooManyReplicas", message)


def _too_few(minimum: int) -> Verdict:
    message = "the desired replica count is less than the minimum replica count"
    return Verdict(minimum, True, "TooFewReplicas", message)


def _furthest_up(history: History, rules: Rules, *, current: int, now_s: float) -> int:
    if rules.select == "Disabled":
        return current
    limits = [start + _step(policy, start) for policy, start in _periods(history, rules, current, now_s)]
    return max(limits) if rules.select == "Max" else min(limits)


def _furthest_down(history: History, rules: Rules, *, current: int, now_s: float) -> int:
    if rules.select == "Disabled":
        return current
    limits = [start - _step(policy, start) for policy, start in _periods(history, rules, current, now_s)]
    return min(limits) if rules.select == "Max" else max(limits)


def _periods(history: History, rules: Rules, current: int, now_s: float) -> list[tuple[Policy, int]]:
    """Each policy with the replicas that there were when its period began."""
    return [(policy, current - history.net_change(policy.period_s, now_s=now_s)) for policy in rules.policies]


def _step(policy: Policy, start: int) -> int:
    """The replicas that the policy lets come or go, a part of one counted as one."""
    return policy.value if policy.kind == "Pods" else -(-start * policy.value // 100)
