"""Why an autoscaler wants the replicas that it wants: every input, every number between, every rule that decided.

What is told is computed when somebody asks, by the functions that decide; nothing is recorded for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from controlplane.autoscaler.calculator import MetricError, PodFacts, group_pods
from controlplane.autoscaler.decision import Measured
from controlplane.autoscaler.evaluation import Evaluation
from controlplane.autoscaler.measuring import Measurer
from controlplane.autoscaler.metrics import Metric, ResourceMetric, TotalMetric, read_metric
from controlplane.autoscaler.stabilization import Rules
from controlplane.autoscaler.usage import PodState
from flotilla.api.objects import KubeObject

_GROUPS = ("counted", "unready", "missing", "ignored")


def explain(
    autoscaler: KubeObject, evaluation: Evaluation, pods: Sequence[PodState], measurer: Measurer, *, now: datetime
) -> KubeObject:
    """The whole way of one evaluation as plain data; values of CPU and of metrics in thousandths, memory in bytes."""
    specs = autoscaler["spec"]["metrics"]
    decision = evaluation.decision
    return {
        "target": {**autoscaler["spec"]["scaleTargetRef"], "replicas": evaluation.current},
        "bounds": asdict(evaluation.bounds),
        "options": _plain(asdict(evaluation.options)),
        "metrics": [
            _metric(read_metric(spec), measured, pods, measurer, now=now)
            for spec, measured in zip(specs, evaluation.measured, strict=True)
        ],
        "behavior": {name: _rules(getattr(evaluation.behavior, name)) for name in ("up", "down")},
        "recommendations": [
            {"secondsAgo": round(evaluation.now_s - each.at_s, 1), "replicas": each.replicas}
            for each in evaluation.history.recommendations
        ],
        "changes": [
            {"secondsAgo": round(evaluation.now_s - each.at_s, 1), "delta": each.delta}
            for each in evaluation.history.changes
        ],
        "forecast": evaluation.beyond.floor,
        "conditions": [asdict(each) for each in decision.explanations],
        "decision": {"replicas": decision.replicas, "why": decision.why},
    }


def _metric(
    metric: Metric, measured: Measured, pods: Sequence[PodState], measurer: Measurer, *, now: datetime
) -> KubeObject:
    told: KubeObject = {"title": metric.title, "target": _plain(asdict(metric.target)), "error": measured.message}
    if measured.proposal is not None:
        told |= _plain(asdict(measured.proposal))
    if isinstance(metric, TotalMetric):
        return told | {"readyPods": measurer.reader.ready_count(pods), "pods": []}
    try:
        facts = measurer.reader.facts(pods, metric)
    except MetricError:
        return told | {"pods": []}
    is_cpu = isinstance(metric, ResourceMetric) and metric.resource == "cpu"
    groups = group_pods(facts, is_cpu=is_cpu, now=now)
    return told | {"pods": [_pod(pod, group) for group in _GROUPS for pod in getattr(groups, group)]}


def _pod(pod: PodFacts, group: str) -> KubeObject:
    told: KubeObject = {"name": pod.name, "counts": group, "phase": pod.phase, "ready": pod.ready}
    if pod.request is not None:
        told["request"] = pod.request
    if pod.sample is not None:
        window_s = (pod.sample.window_end - pod.sample.window_start).total_seconds()
        told |= {"value": round(pod.sample.value, 3), "windowSeconds": round(window_s, 2)}
    return told


def _rules(rules: Rules) -> KubeObject:
    policies = [
        f"{each.value}{'%' if each.kind == 'Percent' else ' pods'} in {each.period_s} s" for each in rules.policies
    ]
    told: KubeObject = {"windowSeconds": rules.window_s, "policies": policies, "select": rules.select}
    return told | ({"tolerance": rules.tolerance} if rules.tolerance is not None else {})


def _plain(values: KubeObject) -> KubeObject:
    """Without what is not set; a ratio over nothing is told as text."""
    return {name: "infinite" if value == float("inf") else value for name, value in values.items() if value is not None}
