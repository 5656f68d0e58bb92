"""What is remembered of an autoscaler between evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from controlplane.autoscaler.calculator import Proposal
from controlplane.autoscaler.decision import Measured
from controlplane.autoscaler.forecast import Forecast
from controlplane.autoscaler.stabilization import History
from flotilla.api.autoscaling_options import Fallback, ForecastOptions

LONGEST_WAIT_S = 3.0


@dataclass(slots=True)
class Memory:
    """Times are seconds of the loop's clock. ``everywhere`` is set if pods of others decide too."""

    uid: str
    target_uid: str
    history: History
    nodes: set[str] = field(default_factory=set)
    everywhere: bool = False
    evaluated_s: float = float("-inf")
    waiting_since_s: float | None = None
    written_s: float = float("-inf")
    woken_s: float = float("-inf")
    failing_since_s: dict[int, float] = field(default_factory=dict)  # position of the metric → when
    forecast: Forecast | None = None

    def waits(self, *, settling: bool, now_s: float) -> bool:
        """Whether to wait for better figures: they are inconsistent for the moment, and have not been for long."""
        if not settling:
            self.waiting_since_s = None
            return False
        if self.waiting_since_s is None:
            self.waiting_since_s = now_s
        return now_s - self.waiting_since_s < LONGEST_WAIT_S

    def forecast_floor(self, measured: Sequence[Measured], options: ForecastOptions | None, *, now_s: float) -> int:
        """The replicas that are forecast to be needed, what is measured now included; 0 without a forecast."""
        if options is None:
            self.forecast = None
            return 0
        if self.forecast is None or self.forecast.options != options:
            self.forecast = Forecast(options)
        proposed = [each.proposal.replicas for each in measured if each.proposal is not None]
        if proposed:
            self.forecast.observe(max(proposed), now_s=now_s)
        return self.forecast.lower_bound(now_s=now_s)

    def with_fallbacks(
        self, measured: Sequence[Measured], fallback: Fallback | None, *, now_s: float
    ) -> list[Measured]:
        """What was measured; a metric that has failed for long stands for the fallback's replicas, if there is one.

        Source: KEP-5679, there for external metrics.
        """
        outcomes = []
        for position, each in enumerate(measured):
            if each.proposal is not None:
                self.failing_since_s.pop(position, None)
                outcomes.append(each)
                continue
            since_s = self.failing_since_s.setdefault(position, now_s)
            if fallback is not None and now_s - since_s >= fallback.after_s:
                proposal = Proposal(fallback.replicas, 0, None, 1.0)
                outcomes.append(replace(each, title=f"the fallback of {each.title}", proposal=proposal))
            else:
                outcomes.append(each)
        return outcomes
