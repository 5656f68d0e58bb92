"""The metrics of an HPA's spec, and their values as its status shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.autoscaler.calculator import MetricError, Proposal, Target
from flotilla.api.objects import KubeObject
from flotilla.api.quantities import bytes_of, cpu_millis, format_cpu_millis

_FIELDS = {"Resource": "resource", "ContainerResource": "containerResource"}
_NAMES = {"Pods": "pods", "Object": "object", "External": "external"}


@dataclass(frozen=True, slots=True)
class ResourceMetric:
    """Use of ``cpu`` or ``memory``, of whole pods or (``container``) of one container of each."""

    resource: str
    container: str
    target: Target

    @property
    def kind(self) -> str:
        return "ContainerResource" if self.container else "Resource"

    @property
    def title(self) -> str:
        """What the metric is called in conditions and events."""
        title = f"{self.resource} container resource" if self.container else f"{self.resource} resource"
        return f"{title} utilization (percentage of request)" if self.target.utilization is not None else title

    @property
    def failure_reason(self) -> str:
        """The reason of ``ScalingActive=False`` when it can't be computed."""
        return f"FailedGet{self.kind}Metric"

    def failure(self, error: MetricError) -> str:
        """What is said of a metric that can't be computed."""
        what = "utilization" if self.target.utilization is not None else "usage"
        where = f"container {self.container} " if self.container else ""
        return f"failed to get {where}{self.resource} {what}: {error}"

    def status(self, proposal: Proposal) -> KubeObject:
        """An entry of ``status.currentMetrics``."""
        value = proposal.average_value
        current: KubeObject = {"averageValue": format_cpu_millis(value) if self.resource == "cpu" else str(value)}
        if proposal.utilization is not None:
            current["averageUtilization"] = proposal.utilization
        content: KubeObject = {"name": self.resource, "current": current}
        if self.container:
            content["container"] = self.container
        return {"type": self.kind, _FIELDS[self.kind]: content}


class UnsupportedMetricError(Exception):
    """A metric whose source does not exist; ``reason`` is that of the condition."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def read_metric(spec: Mapping[str, Any]) -> ResourceMetric:
    """A metric of ``spec.metrics``. UnsupportedMetricError."""
    kind = spec["type"]
    field = _FIELDS.get(kind)
    if field is None:
        what = _NAMES.get(kind, kind)
        name = ((spec.get(what) or {}).get("metric") or {}).get("name", "")
        message = f"unable to get {what} metric {name}: no source serves {what} metrics in this cluster"
        raise UnsupportedMetricError(f"FailedGet{kind}Metric", message)
    content = spec[field]
    target, resource = content["target"], content["name"]
    average = target.get("averageValue")
    read = cpu_millis if resource == "cpu" else bytes_of
    return ResourceMetric(
        resource,
        content.get("container") or "" if kind == "ContainerResource" else "",
        Target(target.get("averageUtilization"), read(average) if average is not None else None),
    )
