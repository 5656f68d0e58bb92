"""Everything that autoscalers take numbers from, made once for a server and shared with who fills and who serves it."""

from __future__ import annotations

from dataclasses import dataclass, field

from controlplane.autoscaler.applications import ApplicationMetrics
from controlplane.autoscaler.interest import MetricInterest
from controlplane.autoscaler.prometheus import PrometheusQueries
from controlplane.autoscaler.samples import SampleStore
from controlplane.autoscaler.waking import WakeCalls


@dataclass(frozen=True, slots=True)
class Figures:
    """The agents' samples, what pods say of themselves (and which of it is asked for), answers to queries, wakes."""

    samples: SampleStore = field(default_factory=SampleStore)
    applications: ApplicationMetrics = field(default_factory=ApplicationMetrics)
    interest: MetricInterest = field(default_factory=MetricInterest)
    queries: PrometheusQueries = field(default_factory=PrometheusQueries)
    wakes: WakeCalls = field(default_factory=WakeCalls)

    def forget(self, node: str) -> None:
        """The node no longer exists."""
        self.samples.forget(node)
        self.applications.forget(node)
