"""The metrics of an HPA's spec, and their values as its status shows them.

Resource and ContainerResource are measured by the nodes, Pods metrics told by the pods themselves; both are a figure
for each pod. Object and External metrics are one number for the whole target. Figures that are not bytes are kept in
thousandths, which is what Kubernetes' quantities resolve.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.autoscaler.calculator import MetricError, Proposal, Target
from controlplane.autoscaler.totals import TotalTarget
from flotilla.api.objects import KubeObject
from flotilla.api.quantities import bytes_of, cpu_millis, format_cpu_millis
from flotilla.api.selectors import LabelSelector, label_selector_of

_FIELDS = {"Resource": "resource", "ContainerResource": "containerResource"}


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


@dataclass(frozen=True, slots=True)
class PodsMetric:
    """What each pod says of itself under a name, such as requests a second; averaged over the pods."""

    name: str
    selector: LabelSelector
    target: Target
    written_selector: Mapping[str, Any] | None = None

    @property
    def title(self) -> str:
        """What the metric is called in conditions and events."""
        return f"pods metric {self.name}"

    @property
    def failure_reason(self) -> str:
        """The reason of ``ScalingActive=False`` when it can't be computed."""
        return "FailedGetPodsMetric"

    def failure(self, error: MetricError) -> str:
        """What is said of a metric that can't be computed."""
        return f"failed to get pods metric value: unable to get metric {self.name}: {error}"

    def status(self, proposal: Proposal) -> KubeObject:
        """An entry of ``status.currentMetrics``."""
        current = {"averageValue": format_cpu_millis(proposal.average_value)}
        return {"type": "Pods", "pods": {"metric": _named(self.name, self.written_selector), "current": current}}


@dataclass(frozen=True, slots=True)
class Reference:
    """An object of the autoscaler's namespace, or the namespace itself."""

    api_version: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class TotalMetric:
    """One number for the whole target; ``described`` is the object that it is about, None of an External metric."""

    name: str
    selector: LabelSelector
    target: TotalTarget
    described: Reference | None = None
    written_selector: Mapping[str, Any] | None = None

    @property
    def kind(self) -> str:
        return "External" if self.described is None else "Object"

    @property
    def title(self) -> str:
        """What the metric is called in conditions and events."""
        if self.described is None:
            return f"external metric {self.name}" + (f"({self.selector})" if str(self.selector) else "")
        return f"{self.described.kind} metric {self.name}"

    @property
    def failure_reason(self) -> str:
        """The reason of ``ScalingActive=False`` when it can't be computed."""
        return f"FailedGet{self.kind}Metric"

    def failure(self, error: MetricError) -> str:
        """What is said of a metric that can't be computed."""
        if self.described is None:
            return f"failed to get {self.name} external metric value: {error}"
        where = f"{self.described.kind} {self.described.name}"
        return f"failed to get object metric value: unable to get metric {self.name} of {where}: {error}"

    def status(self, proposal: Proposal) -> KubeObject:
        """An entry of ``status.currentMetrics``."""
        if proposal.total is not None:
            current = {"value": format_cpu_millis(proposal.total)}
        else:
            current = {"averageValue": format_cpu_millis(proposal.average_value)}
        content: KubeObject = {"metric": _named(self.name, self.written_selector), "current": current}
        if self.described is None:
            return {"type": "External", "external": content}
        about = {"apiVersion": self.described.api_version, "kind": self.described.kind, "name": self.described.name}
        content["describedObject"] = {key: value for key, value in about.items() if value}
        return {"type": "Object", "object": content}


PodMetric = ResourceMetric | PodsMetric
Metric = PodMetric | TotalMetric


def read_metric(spec: Mapping[str, Any]) -> Metric:
    """A metric of ``spec.metrics``, which the API has validated."""
    kind = spec["type"]
    if kind in _FIELDS:
        return _resource_metric(kind, spec[_FIELDS[kind]])
    content = spec[kind.lower()]
    name, written = content["metric"]["name"], content["metric"].get("selector")
    selector, target = label_selector_of(written or {}), content["target"]
    if kind == "Pods":
        return PodsMetric(name, selector, Target(average_value=cpu_millis(target["averageValue"])), written)
    aim = TotalTarget(_thousandths(target.get("value")), _thousandths(target.get("averageValue")))
    if kind == "External":
        return TotalMetric(name, selector, aim, written_selector=written)
    about = content["describedObject"]
    described = Reference(about.get("apiVersion") or "", about["kind"], about["name"])
    return TotalMetric(name, selector, aim, described, written)


def _resource_metric(kind: str, content: Mapping[str, Any]) -> ResourceMetric:
    target, resource = content["target"], content["name"]
    average = target.get("averageValue")
    read = cpu_millis if resource == "cpu" else bytes_of
    return ResourceMetric(
        resource,
        content.get("container") or "" if kind == "ContainerResource" else "",
        Target(target.get("averageUtilization"), read(average) if average is not None else None),
    )


def _thousandths(quantity: str | None) -> int | None:
    return cpu_millis(quantity) if quantity is not None else None


def _named(name: str, selector: Mapping[str, Any] | None) -> KubeObject:
    return {"name": name} if selector is None else {"name": name, "selector": dict(selector)}
