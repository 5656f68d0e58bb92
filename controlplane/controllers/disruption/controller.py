"""The loop around :mod:`.plan`: which pods a budget covers, what their controllers want, and writing the status.

The status is written at the version that it was computed from: an eviction that uses a disruption up meanwhile makes
the write fail, and the count is done again with that pod left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from controlplane.controllers.disruption.plan import Demand, demand, needs_scale, plan_budget, plan_failure
from controlplane.reconcile.clock import Clock
from controlplane.reconcile.controller import ObjectKey
from controlplane.reconcile.events import EventRecorder
from controlplane.reconcile.objects import Objects
from controlplane.reconcile.own_writes import OwnWrites
from controlplane.reconcile.result import DONE, Result, after
from controlplane.store.cache import Cache, CacheEvent, Entry
from flotilla.api.disruptions import covers
from flotilla.api.errors import ApiError
from flotilla.api.objects import KubeObject, controller_of, is_deleting
from flotilla.api.resources import (
    DEPLOYMENTS,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
)
from flotilla.api.scales import wanted_replicas
from flotilla.api.workloads import pod_is_ready

MANAGER = "disruption-controller"
RESOURCES = (POD_DISRUPTION_BUDGETS, PODS, DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS, REPLICATION_CONTROLLERS)


class ScaleUnknownError(Exception):
    """How many pods their controllers want can't be told; the message says why."""


class DisruptionReconciler:
    """Keys are budgets."""

    def __init__(self, cache: Cache, objects: Objects, recorder: EventRecorder, *, clock: Clock) -> None:
        self._cache = cache
        self._objects = objects
        self._recorder = recorder
        self._clock = clock
        self._own: OwnWrites[ObjectKey] = OwnWrites(cache)

    def reset(self) -> None:
        """Nothing is remembered of events."""

    def keys(self, event: CacheEvent) -> Iterable[ObjectKey]:
        entry = event.entry
        if entry.resource is POD_DISRUPTION_BUDGETS:
            return [(entry.namespace, entry.name)] if event.type != "DELETED" else ()
        if not self._cache.count(POD_DISRUPTION_BUDGETS) or not _matters(event):
            return ()
        budgets = self._cache.list(POD_DISRUPTION_BUDGETS, entry.namespace)
        if entry.resource is not PODS:
            return [(budget.namespace, budget.name) for budget in budgets if needs_scale(budget.obj.get("spec") or {})]
        seen = [entry.labels] if event.previous is None else [entry.labels, event.previous.labels]
        return [
            (budget.namespace, budget.name) for budget in budgets if any(covers(budget.obj, labels) for labels in seen)
        ]

    async def reconcile(self, key: ObjectKey) -> Result:
        await self._own.catch_up(key)
        entry = self._cache.get(POD_DISRUPTION_BUDGETS, *key)
        if entry is None or is_deleting(entry.obj):
            return DONE
        budget = entry.copy()
        pods = [pod.obj for pod in self._cache.list(PODS, entry.namespace) if covers(budget, pod.labels)]
        now = self._clock()
        try:
            wanted = self._demand(budget, pods)
        except ScaleUnknownError as error:
            self._warn(
                budget, "CalculateExpectedPodCountFailed", f"Failed to calculate the number of expected pods: {error}"
            )
            await self._write(key, budget, plan_failure(budget, str(error), now=now))
            return DONE
        if not pods:
            self._recorder.record(budget, "Normal", "NoPods", "No matching pods found", component=MANAGER)
        plan = plan_budget(budget, pods, wanted, now=now)
        for name in plan.overdue:
            message = f"Pod was expected by PDB {entry.namespace}/{entry.name} to be deleted but it wasn't"
            pod = next(pod for pod in pods if pod["metadata"]["name"] == name)
            self._recorder.record(pod, "Warning", "NotDeleted", message, component=MANAGER)
        await self._write(key, budget, plan.budget)
        return DONE if plan.recheck is None else after((plan.recheck - now).total_seconds())

    async def _write(self, key: ObjectKey, budget: KubeObject, planned: KubeObject) -> None:
        if planned["status"] == budget.get("status"):
            return
        try:
            stored = await self._objects.update(POD_DISRUPTION_BUDGETS, planned, manager=MANAGER, subresource="status")
        except ApiError as error:
            if error.reason != "NotFound":
                raise
            return
        self._own.wrote(key, stored)

    def _demand(self, budget: KubeObject, pods: list[KubeObject]) -> Demand:
        spec: dict[str, Any] = budget.get("spec") or {}
        if not needs_scale(spec):
            return demand(spec, pods=len(pods), scale=0)
        scales: dict[str, int] = {}
        unmanaged = False
        for pod in pods:
            owner = controller_of(pod)
            if owner is None:
                unmanaged = True
            elif owner["uid"] not in scales:
                self._add_scale(scales, pod, owner)
        if unmanaged:
            message = "Some pods of this budget have no controller and are not counted: set minAvailable to a number"
            self._warn(budget, "UnmanagedPods", message)
        return demand(spec, pods=len(pods), scale=sum(scales.values()))

    def _add_scale(self, scales: dict[str, int], pod: KubeObject, owner: KubeObject) -> None:
        """Enter what the pod's controller wants, by uid; of a Deployment's ReplicaSets the Deployment counts, once."""
        namespace = pod["metadata"]["namespace"]
        entry = self._controller(namespace, owner)
        above = controller_of(entry.obj) if entry is not None and entry.resource is REPLICA_SETS else None
        deployment = self._controller(namespace, above) if above is not None else None
        if deployment is not None and above is not None and above["kind"] == "Deployment":
            scales[owner["uid"]] = 0
            scales[deployment.uid] = _replicas(deployment)
        elif entry is not None:
            scales[owner["uid"]] = _replicas(entry)
        else:
            raise ScaleUnknownError(f'found no controllers for pod "{pod["metadata"]["name"]}"')

    def _controller(self, namespace: str, reference: KubeObject) -> Entry | None:
        """The controller that a reference names, None if there is no such one. ScaleUnknownError if it can't scale."""
        resource = self._cache.registry.by_kind(reference.get("apiVersion", ""), reference.get("kind", ""))
        if resource is None or not resource.namespaced:
            return None
        if "scale" not in resource.subresources:
            qualified = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
            raise ScaleUnknownError(f"{qualified} does not implement the scale subresource")
        entry = self._cache.get(resource, namespace, reference["name"])
        return entry if entry is not None and entry.uid == reference["uid"] else None

    def _warn(self, budget: KubeObject, reason: str, message: str) -> None:
        self._recorder.record(budget, "Warning", reason, message, component=MANAGER)


def _replicas(entry: Entry) -> int:
    return wanted_replicas(entry.resource, entry.obj, unset=1)


def _matters(event: CacheEvent) -> bool:
    """Whether a change of a pod or of a controller can change a count."""
    before = event.previous
    if before is None or event.type != "MODIFIED":
        return True
    if event.entry.resource is PODS:
        return _counted(event.entry) != _counted(before)
    return _replicas(event.entry) != _replicas(before)


def _counted(pod: Entry) -> tuple[Any, ...]:
    return pod.labels, pod_is_ready(pod.obj), is_deleting(pod.obj), pod.owners
