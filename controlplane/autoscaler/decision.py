"""One decision of one autoscaler, with every step explained. Pure.

The order is Kubernetes': bounds first, then the largest of the metrics' proposals, then the stabilization window, then
bounds and policies. Conditions and reasons are worded as Kubernetes words them, because people search for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from controlplane.autoscaler.calculator import Proposal
from controlplane.autoscaler.stabilization import Behavior, History, Verdict, bounded, limit, stabilize
from flotilla.api.autoscaling_options import Panic
from flotilla.api.objects import KubeObject


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of one metric: a proposal with its status entry, or a failure with reason and message."""

    title: str
    proposal: Proposal | None = None
    status: KubeObject | None = None
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A condition of the autoscaler."""

    type: str
    holds: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Decision:
    """``replicas`` is what the target is to have, None if nothing can be said; ``why`` explains a change."""

    replicas: int | None
    why: str
    explanations: tuple[Explanation, ...]
    history: History


@dataclass(frozen=True, slots=True)
class Bounds:
    minimum: int
    maximum: int


@dataclass(frozen=True, slots=True)
class Beyond:
    """What an autoscaler asks for beyond Kubernetes' algorithm; nothing by default.

    ``floor`` is a count that is forecast to be needed; ``scaled_to_zero`` says that it was this autoscaler that left no
    replicas, and not somebody who wants it to pause; ``woken`` that requests wait for a replica, or did lately.
    """

    panic: Panic | None = None
    floor: int = 0
    scaled_to_zero: bool = False
    woken: bool = False


PLAIN = Beyond()


def decide(
    measured: Sequence[Measured],
    history: History,
    behavior: Behavior,
    bounds: Bounds,
    *,
    current: int,
    now_s: float,
    beyond: Beyond = PLAIN,
) -> Decision:
    """What to do about a target that has ``current`` replicas. The history returned includes this decision."""
    if current == 0 and bounds.minimum != 0 and not beyond.scaled_to_zero:
        message = "scaling is disabled since the replica count of the target is zero"
        return Decision(0, "", (Explanation("ScalingActive", False, "ScalingDisabled", message),), history)
    if current == 0 and beyond.woken:
        history = history.recommended(1, behavior, now_s=now_s)
        return Decision(1, "requests wait for it", (), _carried_out(history, 1, now_s=now_s))
    if current > bounds.maximum:
        why = "Current number of replicas above Spec.MaxReplicas"
        return Decision(bounds.maximum, why, (), _carried_out(history, bounds.maximum - current, now_s=now_s))
    if current < bounds.minimum:
        why = "Current number of replicas below Spec.MinReplicas"
        return Decision(bounds.minimum, why, (), _carried_out(history, bounds.minimum - current, now_s=now_s))
    return _by_metrics(measured, history, behavior, bounds, current=current, now_s=now_s, beyond=beyond)


def _by_metrics(
    measured: Sequence[Measured],
    history: History,
    behavior: Behavior,
    bounds: Bounds,
    *,
    current: int,
    now_s: float,
    beyond: Beyond,
) -> Decision:
    valid = [(each.proposal.replicas, each.title) for each in measured if each.proposal is not None]
    failed = [each for each in measured if each.proposal is None]
    desired, title = max(valid, key=lambda each: each[0], default=(0, ""))
    if failed and (not valid or desired < current):
        first = failed[0]
        message = f"the HPA was unable to compute the replica count: {first.message}"
        return Decision(None, "", (Explanation("ScalingActive", False, first.reason, message),), history)
    if beyond.woken and not desired:
        desired, title = 1, "requests that waited"
    if beyond.floor > desired:
        desired, title = beyond.floor, "the forecast"
    if beyond.panic is not None and current and desired >= beyond.panic.threshold * current:
        history = replace(history, panic_s=now_s)
    if beyond.panic is not None and now_s - history.panic_s < beyond.panic.hold_s:
        stabilized = _in_panic(desired, current=current)
        limited = bounded(stabilized.replicas, minimum=bounds.minimum, maximum=bounds.maximum)
    else:
        stabilized = stabilize(desired, history, behavior, current=current, now_s=now_s)
        limited = limit(
            stabilized.replicas,
            history,
            behavior,
            current=current,
            minimum=bounds.minimum,
            maximum=bounds.maximum,
            now_s=now_s,
        )
    history = history.recommended(desired, behavior, now_s=now_s)
    return Decision(
        limited.replicas,
        f"{title} above target" if desired > current else "All metrics below target",
        _explain(title, stabilized, limited),
        _carried_out(history, limited.replicas - current, now_s=now_s),
    )


def _in_panic(desired: int, *, current: int) -> Verdict:
    """As Knative's autoscaler in its panic mode: up at once, not down."""
    message = "the demand is or was lately a multiple of what the replicas can bear: policies wait, nothing is removed"
    return Verdict(max(desired, current), False, "PanicScaling", message)


def _explain(title: str, stabilized: Verdict, limited: Verdict) -> tuple[Explanation, ...]:
    found = f"the HPA was able to successfully calculate a replica count from {title}"
    return (
        Explanation("AbleToScale", True, stabilized.reason, stabilized.message),
        Explanation("ScalingActive", True, "ValidMetricFound", found),
        Explanation("ScalingLimited", limited.limited, limited.reason, limited.message),
    )


def _carried_out(history: History, delta: int, *, now_s: float) -> History:
    return history.changed(delta, now_s=now_s) if delta else history
