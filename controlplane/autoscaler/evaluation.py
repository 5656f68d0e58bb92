"""One evaluation of one autoscaler, from its pods to a decision; nothing is written.

The controller carries decisions out, ``why`` explains them, a replay makes them of recorded load: all three by this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controlplane.autoscaler.decision import Beyond, Bounds, Decision, Measured, decide
from controlplane.autoscaler.measuring import Measurer
from controlplane.autoscaler.memory import Memory
from controlplane.autoscaler.stabilization import Behavior, History, behavior_of
from controlplane.autoscaler.usage import PodState
from flotilla.api.autoscaling_options import AutoscalingOptions, read_options
from flotilla.api.conditions import get_condition
from flotilla.api.objects import KubeObject

SCALED_TO_ZERO = "ScaledToZero"
AWAKE_S = 10.0  # how long a target that was woken keeps its replica at least

MeasurerFor = Callable[[KubeObject, AutoscalingOptions], Measurer]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What went in, what was measured and what was decided; ``history`` is what the decision was based on."""

    options: AutoscalingOptions
    behavior: Behavior
    bounds: Bounds
    beyond: Beyond
    history: History
    measured: Sequence[Measured]
    decision: Decision
    current: int
    now_s: float


def evaluate(
    autoscaler: KubeObject,
    pods: Sequence[PodState],
    memory: Memory,
    measurer_for: MeasurerFor,
    *,
    current: int,
    now_s: float,
) -> Evaluation:
    """Decide for a target with ``current`` replicas. ``memory`` learns which metrics fail and what was recommended."""
    options, _ = read_options(autoscaler)
    behavior, bounds, history = behavior_of(autoscaler["spec"]), bounds_of(autoscaler), memory.history
    measured = measurer_for(autoscaler, options).measure(autoscaler, pods, behavior, current=current)
    measured = memory.with_fallbacks(measured, options.fallback, now_s=now_s)
    beyond = Beyond(
        panic=options.panic,
        floor=memory.forecast_floor(measured, options.forecast, now_s=now_s),
        scaled_to_zero=was_scaled_to_zero(autoscaler),
        woken=now_s - memory.woken_s < AWAKE_S,
    )
    decision = decide(measured, history, behavior, bounds, current=current, now_s=now_s, beyond=beyond)
    return Evaluation(options, behavior, bounds, beyond, history, measured, decision, current, now_s)


def bounds_of(autoscaler: Mapping[str, Any]) -> Bounds:
    """The least and most replicas of an autoscaler's spec."""
    minimum = autoscaler["spec"].get("minReplicas")
    return Bounds(1 if minimum is None else minimum, autoscaler["spec"]["maxReplicas"])


def was_scaled_to_zero(autoscaler: Mapping[str, Any]) -> bool:
    """Whether it was this autoscaler that left its target no replicas."""
    return (get_condition(autoscaler, SCALED_TO_ZERO) or {}).get("status") == "True"
