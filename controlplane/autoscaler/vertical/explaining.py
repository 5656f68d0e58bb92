"""What is recommended for a workload, of what history, and what becomes of each of its pods, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from controlplane.autoscaler.vertical.knowledge import Knowledge
from controlplane.autoscaler.vertical.planning import Verdict
from controlplane.autoscaler.vertical.sizing import Ranges
from flotilla.api.objects import KubeObject, name_of
from flotilla.api.vertical_options import VerticalOptions


def explain(
    workload: KubeObject,
    knowledge: Knowledge,
    options: VerticalOptions,
    ranges: Ranges,
    taken: Mapping[str, str],
    verdicts: Sequence[Verdict],
) -> KubeObject:
    """Amounts in thousandths of a core and in bytes; ``leftTo`` names the autoscaler that a resource is left to."""
    return {
        "workload": {"kind": workload["kind"], "name": name_of(workload)},
        "mode": options.mode,
        "containers": [
            {
                "name": name,
                "historySeconds": round(knowledge.histories[name].confidence_days * 86_400.0),
                "resources": [
                    {"resource": resource, **asdict(range_), "leftTo": taken.get(resource, "")}
                    for resource, range_ in of.items()
                ],
            }
            for name, of in ranges.items()
        ],
        "pods": [_pod(each) for each in sorted(verdicts, key=lambda each: each.pod.facts.name)],
        "problems": [{"reason": reason, "message": message} for reason, message in sorted(knowledge.problems)],
    }


def _pod(verdict: Verdict) -> KubeObject:
    size, facts = verdict.size, verdict.pod.facts
    why = f"is due: {size.text}" if size is not None else verdict.why or "is as it should be"
    return {"name": facts.name, "requests": {name: dict(of) for name, of in facts.requests.items()}, "verdict": why}
