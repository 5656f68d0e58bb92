"""Where a pod's use of CPU and memory comes from: the agents' samples, or the answers of a Prometheus server.

Prometheus scrapes the agents' pages, so both tell the same story; by way of Prometheus it is told later and averaged
over longer. It is for those who want one source for what people see and what autoscalers do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from controlplane.autoscaler.calculator import MetricError
from controlplane.autoscaler.columns import Span, Usage
from controlplane.autoscaler.samples import SampleStore
from flotilla.api.objects import KubeObject, name_of

RATE_WINDOW_S = 30.0


class PodState(Protocol):
    """What is read of a pod's cache entry; another ``revision`` is another state of the object."""

    @property
    def uid(self) -> str: ...
    @property
    def node(self) -> str: ...
    @property
    def revision(self) -> int: ...
    @property
    def obj(self) -> KubeObject: ...


class UsageSource(Protocol):
    """Cores and bytes of a pod, or of one container of it; None where they are not known."""

    def cpu(self, pod: PodState, container: str, span: Span) -> Usage | None: ...
    def memory(self, pod: PodState, container: str) -> Usage | None: ...


@dataclass(frozen=True, slots=True)
class SampledUsage:
    """What the agents measure; with ``demand`` also the CPU time that limits kept containers from using.

    Use below a limit shows the load; at the limit it shows the limit, and a load of ten times as much looks the same.
    The time that tasks were ready to run and might not is what is missing, as far as the node has cores for them.
    """

    samples: SampleStore
    demand: bool = False

    def cpu(self, pod: PodState, container: str, span: Span) -> Usage | None:
        return self.samples.pod_cpu(pod.node, pod.uid, container=container, span=span, demand=self.demand)

    def memory(self, pod: PodState, container: str) -> Usage | None:
        return self.samples.pod_memory(pod.node, pod.uid, container=container)


@dataclass(frozen=True, slots=True)
class QueriedUsage:
    """Answers to :func:`resource_queries`, of pods and containers by name; ``at_unix_s`` is when they came."""

    cores: Mapping[tuple[str, str], float]
    bytes: Mapping[tuple[str, str], float]
    at_unix_s: float

    def cpu(self, pod: PodState, container: str, span: Span) -> Usage | None:
        value = _of(self.cores, name_of(pod.obj), container)
        return None if value is None else Usage(value, self.at_unix_s - RATE_WINDOW_S, self.at_unix_s)

    def memory(self, pod: PodState, container: str) -> Usage | None:
        value = _of(self.bytes, name_of(pod.obj), container)
        return None if value is None else Usage(value, self.at_unix_s, self.at_unix_s)


@dataclass(frozen=True, slots=True)
class UnknownUsage:
    """A source that can't be had; whoever asks is told why."""

    error: MetricError

    def cpu(self, pod: PodState, container: str, span: Span) -> Usage | None:
        raise self.error

    def memory(self, pod: PodState, container: str) -> Usage | None:
        raise self.error


def resource_queries(namespace: str) -> tuple[str, str]:
    """PromQL for the cores and bytes of each container of a namespace, under cAdvisor's names."""
    chosen = f'{{namespace="{namespace}",container!="",container!="POD"}}'
    return (
        f"sum by (pod, container) (rate(container_cpu_usage_seconds_total{chosen}[{RATE_WINDOW_S:.0f}s]))",
        f"sum by (pod, container) (container_memory_working_set_bytes{chosen})",
    )


def _of(values: Mapping[tuple[str, str], float], pod: str, container: str) -> float | None:
    if container:
        return values.get((pod, container))
    found = [value for (name, _), value in values.items() if name == pod]
    return sum(found) if found else None
