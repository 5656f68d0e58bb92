"""Time, as a replay lets it pass: load, samples, evaluations, pods.

A loop says how often nodes are sampled and autoscalers evaluated. Flotilla's is this program's own. Kubernetes' is that
of its documented defaults: samples every 15 s, an evaluation every 15 s, by the same rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from controlplane.autoscaler.evaluation import bounds_of, evaluate
from controlplane.autoscaler.measuring import Measurer
from controlplane.autoscaler.memory import Memory
from controlplane.autoscaler.metrics import TotalMetric
from controlplane.autoscaler.pods import PodReader
from controlplane.autoscaler.replay.workload import PodModel, Workload
from controlplane.autoscaler.samples import SampleStore
from controlplane.autoscaler.stabilization import History
from controlplane.autoscaler.usage import SampledUsage, UsageSource
from flotilla.api.autoscaling_options import AutoscalingOptions
from flotilla.api.objects import KubeObject

EPOCH_S = 1_700_000_000.0
_THOUSAND = 1000.0


@dataclass(frozen=True, slots=True)
class Loop:
    """Seconds between samples and between evaluations; ``scraped``: what is known is the average between samples."""

    name: str
    sample_every_s: int
    evaluate_every_s: int
    scraped: bool = False

    def usage(self, workload: Workload, *, demand: bool = False) -> UsageSource:
        """Where evaluations take the use of CPU from."""
        return workload.scraped if self.scraped else SampledUsage(workload.samples, demand=demand)


FLOTILLA = Loop("flotilla", 1, 1)
KUBERNETES = Loop("kubernetes", 15, 15, scraped=True)


@dataclass(frozen=True, slots=True)
class Step:
    """One second: the load, what was wanted and what was there; ``why`` where the count was changed."""

    at_s: float
    load: float
    replicas: int
    ready: int
    served: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class Replay:
    """All steps of one loop, and what they come to."""

    loop: Loop
    steps: tuple[Step, ...]

    @property
    def changes(self) -> int:
        """How often the count was changed."""
        return sum(bool(step.why) for step in self.steps)

    @property
    def unserved(self) -> float:
        """Load times seconds that no ready pod could bear."""
        return sum(max(0.0, step.load - step.served) for step in self.steps)

    @property
    def pod_seconds(self) -> float:
        return float(sum(step.replicas for step in self.steps))

    @property
    def longest_shortage_s(self) -> int:
        """The longest run of seconds in which load went unserved."""
        longest = run = 0
        for step in self.steps:
            run = run + 1 if step.load - step.served > 1e-9 else 0
            longest = max(longest, run)
        return longest


@dataclass(frozen=True, slots=True)
class _Total:
    """Implements ``TotalSource``: the load itself is the number."""

    workload: Workload

    def read(self, metric: TotalMetric, autoscaler: KubeObject) -> float:
        return self.workload.load * _THOUSAND


def replay(
    autoscaler: Mapping[str, Any], load: Sequence[float], *, pod: PodModel, loop: Loop = FLOTILLA, replicas: int = 0
) -> Replay:
    """What the autoscaler, complete with defaults, does about a load given for each second.

    ``replicas`` are there and ready at the beginning; the minimum if 0.
    """
    return Replay(loop, tuple(_steps(dict(autoscaler), load, pod=pod, loop=loop, replicas=replicas)))


def _steps(
    autoscaler: KubeObject, load: Sequence[float], *, pod: PodModel, loop: Loop, replicas: int
) -> Iterator[Step]:
    workload = _begun(pod, max(replicas, bounds_of(autoscaler).minimum))
    memory = Memory("", "", History.seeded(len(workload.pods), now_s=workload.now_s))
    for second, value in enumerate(load):
        workload.advance(1.0, value)
        if second % loop.sample_every_s == 0:
            workload.scraped.scrape(workload) if loop.scraped else workload.sample()
        why = ""
        if second % loop.evaluate_every_s == 0:
            why = _evaluate(autoscaler, workload, memory, loop)
        yield Step(float(second), value, len(workload.pods), workload.ready, workload.served, why)


def _begun(pod: PodModel, replicas: int) -> Workload:
    samples = SampleStore(clock=lambda: workload.now_s)
    workload = Workload(pod, samples, EPOCH_S - 600.0)
    workload.scale(replicas)
    workload.advance(600.0, 0.0)
    return workload


def _evaluate(autoscaler: KubeObject, workload: Workload, memory: Memory, loop: Loop) -> str:
    """Carry out one decision; why, if it changed something."""

    def measurer_for(_: KubeObject, options: AutoscalingOptions) -> Measurer:
        reader = PodReader(loop.usage(workload, demand=options.saturation_aware), workload, workload)
        return Measurer(reader, _Total(workload), lambda: datetime.fromtimestamp(workload.now_s, UTC))

    pods, now_s = list(workload.pods), workload.now_s
    reader, now = PodReader(loop.usage(workload), workload, workload), datetime.fromtimestamp(now_s, UTC)
    if not loop.scraped and memory.waits(settling=reader.settling(pods, now=now), now_s=now_s):
        return ""
    evaluation = evaluate(autoscaler, pods, memory, measurer_for, current=len(pods), now_s=now_s)
    memory.history = evaluation.decision.history
    wanted = evaluation.decision.replicas
    if wanted is None or wanted == len(pods):
        return ""
    workload.scale(wanted)
    return evaluation.decision.why
