"""Evaluates HorizontalPodAutoscalers as samples arrive, and carries decisions out.

There is no period: a round of samples from a node brings up the autoscalers that have pods on it, once a second at most
each, and a change of an autoscaler or its target brings it up at once. What the stabilization window needs is kept in
memory; after a restart it begins with the replicas that are there, so that nothing is removed for a whole window. What
the policies need is noted on the autoscaler, so that they hold whoever leads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

from controlplane.autoscaler.calculator import MetricError
from controlplane.autoscaler.decision import Decision, Explanation, Measured
from controlplane.autoscaler.evaluation import SCALED_TO_ZERO, bounds_of, evaluate, was_scaled_to_zero
from controlplane.autoscaler.explaining import explain
from controlplane.autoscaler.figures import Figures
from controlplane.autoscaler.measuring import Measurer
from controlplane.autoscaler.memory import Memory
from controlplane.autoscaler.metrics import ResourceMetric, TotalMetric, read_metric
from controlplane.autoscaler.pod_traits import PodTraitsCache
from controlplane.autoscaler.pods import PodReader, pods_of
from controlplane.autoscaler.readiness import ReadinessTracker
from controlplane.autoscaler.recent_changes import recalled, with_note
from controlplane.autoscaler.stabilization import behavior_of
from controlplane.autoscaler.status import next_status, worth_writing
from controlplane.autoscaler.target import Target, TargetError, TargetIndex, find_target
from controlplane.autoscaler.total_reader import TotalReader
from controlplane.autoscaler.usage import SampledUsage, UnknownUsage
from controlplane.autoscaler.waking import sleepers
from controlplane.reconcile.clock import Clock
from controlplane.reconcile.controller import Controller, ObjectKey
from controlplane.reconcile.events import EventRecorder
from controlplane.reconcile.failures import Failure, classify
from controlplane.reconcile.objects import Objects
from controlplane.reconcile.own_writes import OwnWrites
from controlplane.reconcile.result import DONE, Result, after
from controlplane.store.cache import Cache, CacheEvent, Entry
from flotilla.api.autoscaling_options import AutoscalingOptions, read_options
from flotilla.api.errors import ApiError, bad_request, not_found
from flotilla.api.objects import KubeObject, format_time, uid_of
from flotilla.api.registry import Registry, Resource
from flotilla.api.resources import HORIZONTAL_POD_AUTOSCALERS, PODS
from flotilla.api.scales import with_replicas

MANAGER = "horizontal-pod-autoscaler"
EVALUATE_EVERY_S = 0.95  # a little less than the agents' second, so that jitter never costs a whole round
WORKERS = 4
EVALUATE_ANYWAY_S = 15.0  # where no samples arrive, which has to be told


def followed(registry: Registry) -> tuple[Resource, ...]:
    """Autoscalers, pods, and whatever can be scaled, kinds that users have defined included."""
    scalable = {resource.hub: None for resource in registry.all() if "scale" in resource.subresources}
    return (HORIZONTAL_POD_AUTOSCALERS, PODS, *scalable)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """An evaluation, carried out as far as it goes; ``scaled_at`` is set if the target was scaled."""

    explanations: tuple[Explanation, ...]
    current: int | None = None
    desired: int | None = None
    values: tuple[KubeObject, ...] = ()
    scaled_at: str = ""
    error: ApiError | None = None


class AutoscalerReconciler:
    """Keys are namespace and name of the HPA. ``clock`` is for what is written; ages are told by the samples' clock."""

    def __init__(
        self, cache: Cache, objects: Objects, recorder: EventRecorder, figures: Figures, *, clock: Clock
    ) -> None:
        self._cache = cache
        self._objects = objects
        self._recorder = recorder
        self._clock, self._steady = clock, figures.samples.now
        self._readiness, self._traits = ReadinessTracker(self._steady), PodTraitsCache()
        self._scalers = TargetIndex()
        self._figures = figures
        self._measurer = Measurer(
            PodReader(SampledUsage(figures.samples), figures.applications, self._readiness, self._traits),
            TotalReader(cache, figures.applications, figures.queries),
            self._steady,
        )
        self._memories: dict[ObjectKey, Memory] = {}
        self._asked_for: dict[ObjectKey, frozenset[str]] = {}
        self._own_writes: OwnWrites[ObjectKey] = OwnWrites(cache)
        self._pods_moved = False

    def reset(self) -> None:
        """What is kept of pods and autoscalers stays right when they come again; that of other pods goes."""
        uids = {pod.uid for pod in self._cache.list(PODS)}
        self._readiness.keep(uids)
        self._traits.keep(uids)
        self._scalers = TargetIndex()

    def keys(self, event: CacheEvent) -> Iterable[ObjectKey]:
        """Pods only tell when they became ready: their samples bring up the autoscaler, they do not."""
        entry = event.entry
        if entry.resource is PODS:
            self._readiness.observe(event)
            if event.type == "DELETED":
                self._traits.forget(entry.uid)
            self._pods_moved |= event.previous is None or event.previous.node != entry.node
            return ()
        if entry.resource is HORIZONTAL_POD_AUTOSCALERS:
            self._scalers.observe(event)
            return [(entry.namespace, entry.name)] if _spec_changed(event) else ()
        if not _spec_changed(event):
            return ()
        return self._scalers.of(entry)

    def due(self, nodes: set[str], *, now_s: float) -> Iterator[tuple[ObjectKey, float]]:
        """The autoscalers with pods on these nodes, and in how many seconds each may be evaluated again."""
        if self._pods_moved:
            self._pods_moved = False
            for memory in self._memories.values():
                memory.nodes = {pod.node for pod in pods_of(self._cache, memory.target_uid)}
        for key, memory in self._memories.items():
            if memory.everywhere or not memory.nodes.isdisjoint(nodes):
                yield key, memory.evaluated_s + EVALUATE_EVERY_S - now_s

    def wake(self, namespace: str, service: str) -> list[ObjectKey]:
        """The autoscalers whose targets are behind the service and may be at zero: requests wait for them."""
        now_s, woken = asyncio.get_running_loop().time(), []
        for key in sleepers(self._cache, namespace, service):
            memory = self._memories.get(key)
            if memory is not None:
                memory.woken_s = now_s
                woken.append(key)
        return woken

    async def reconcile(self, key: ObjectKey) -> Result:
        """Evaluate one autoscaler."""
        await self._own_writes.catch_up(key)
        entry = self._cache.get(HORIZONTAL_POD_AUTOSCALERS, *key)
        self._follow(key, entry.obj if entry is not None else None)
        if entry is None:
            self._memories.pop(key, None)
            return DONE
        outcome = await self._evaluate(key, entry.obj)
        if outcome is not None:
            await self._report(key, entry, outcome)
            if outcome.error is not None:
                raise outcome.error
        return after(EVALUATE_ANYWAY_S)

    def _follow(self, key: ObjectKey, autoscaler: KubeObject | None) -> None:
        """Have what this autoscaler takes its numbers from brought here; nothing if it is gone."""
        specs = autoscaler["spec"]["metrics"] if autoscaler is not None else ()
        metrics = [read_metric(spec) for spec in specs]
        names = frozenset(metric.name for metric in metrics if not isinstance(metric, ResourceMetric))
        self._figures.queries.follow(key, autoscaler)
        if names != self._asked_for.get(key, frozenset()):
            self._asked_for[key] = names
            wanted = [(namespace, name) for (namespace, _), each in self._asked_for.items() for name in each]
            self._figures.interest.want(wanted)
        if not names:
            self._asked_for.pop(key, None)

    async def _evaluate(self, key: ObjectKey, autoscaler: KubeObject) -> _Outcome | None:
        """None if the next samples are to be waited for."""
        try:
            target = find_target(self._cache, autoscaler)
        except TargetError as error:
            message = f"the HPA controller was unable to get the target's current scale: {error}"
            return _Outcome((Explanation("AbleToScale", False, "FailedGetScale", message),))
        memory = self._remember(key, autoscaler, target)
        pods = pods_of(self._cache, target.entry.uid)
        now_s, bounds = asyncio.get_running_loop().time(), bounds_of(autoscaler)
        sampled = not read_options(autoscaler)[0].from_prometheus
        if sampled and bounds.minimum <= target.replicas <= bounds.maximum:
            settling = self._measurer.reader.settling(pods, now=self._steady())
            if memory.waits(settling=settling, now_s=now_s):
                return None
        memory.evaluated_s = now_s
        evaluation = evaluate(autoscaler, pods, memory, self._measurer_for, current=target.replicas, now_s=now_s)
        decision = self._ambiguous(target, memory) or evaluation.decision
        return await self._carry_out(key, autoscaler, target, evaluation.measured, decision)

    def explain(self, key: ObjectKey) -> KubeObject:
        """How this autoscaler would decide now. ApiError if there is none, or its target can't be scaled."""
        entry = self._cache.get(HORIZONTAL_POD_AUTOSCALERS, *key)
        if entry is None:
            raise not_found(HORIZONTAL_POD_AUTOSCALERS.plural, key[1], group=HORIZONTAL_POD_AUTOSCALERS.group)
        try:
            target = find_target(self._cache, entry.obj)
        except TargetError as error:
            raise bad_request(f"the target of {key[1]} can't be scaled: {error}") from error
        memory, now_s = deepcopy(self._remember(key, entry.obj, target)), asyncio.get_running_loop().time()
        pods = pods_of(self._cache, target.entry.uid)
        evaluation = evaluate(entry.obj, pods, memory, self._measurer_for, current=target.replicas, now_s=now_s)
        if (ambiguous := self._ambiguous(target, memory)) is not None:
            evaluation = replace(evaluation, decision=ambiguous)
        measurer = self._measurer_for(entry.obj, evaluation.options)
        return explain(entry.obj, evaluation, pods, measurer, now=self._steady())

    def _measurer_for(self, autoscaler: KubeObject, options: AutoscalingOptions) -> Measurer:
        """With the source of CPU and memory that the autoscaler has chosen."""
        if options.from_prometheus:
            try:
                return self._measurer.by(self._figures.queries.usage(autoscaler))
            except MetricError as error:
                return self._measurer.by(UnknownUsage(error))
        if options.saturation_aware:
            return self._measurer.by(SampledUsage(self._figures.samples, demand=True))
        return self._measurer

    def _remember(self, key: ObjectKey, autoscaler: KubeObject, target: Target) -> Memory:
        now_s = asyncio.get_running_loop().time()
        memory = self._memories.get(key)
        if memory is None or memory.uid != uid_of(autoscaler):
            history = recalled(autoscaler, target.replicas, now=self._clock(), now_s=now_s)
            memory = Memory(uid_of(autoscaler), "", history)
            self._memories[key] = memory
        memory.everywhere = any(isinstance(read_metric(spec), TotalMetric) for spec in autoscaler["spec"]["metrics"])
        if memory.target_uid != target.entry.uid:
            memory.target_uid = target.entry.uid
            self._pods_moved = True
        return memory

    def _ambiguous(self, target: Target, memory: Memory) -> Decision | None:
        """Two autoscalers on one target would undo each other's decisions: neither acts."""
        scalers = self._scalers.of(target.entry)
        if len(scalers) < 2:
            return None
        message = f"the target is controlled by multiple HPAs: {', '.join(name for _, name in scalers)}"
        return Decision(None, "", (Explanation("ScalingActive", False, "AmbiguousSelector", message),), memory.history)

    async def _carry_out(
        self,
        key: ObjectKey,
        autoscaler: KubeObject,
        target: Target,
        measured: Sequence[Measured],
        decision: Decision,
    ) -> _Outcome:
        seen = "the HPA controller was able to get the target's current scale"
        explanations = (Explanation("AbleToScale", True, "SucceededGetScale", seen), *decision.explanations)
        values = tuple(each.status for each in measured if each.status is not None)
        desired = decision.replicas
        if desired is None or desired == target.replicas:
            self._memories[key].history = decision.history
            explanations = (*explanations, *_zero(autoscaler, target.replicas, scaled=False))
            return _Outcome(explanations, target.replicas, desired, values)
        try:
            await self._scale(key, target, desired)
        except ApiError as error:
            if classify(error) is Failure.DEPOSED:
                raise
            self._event(autoscaler, "Warning", "FailedRescale", _news(desired, decision.why) + f"; error: {error}")
            message = f"the HPA controller was unable to update the target scale: {error}"
            failed = Explanation("AbleToScale", False, "FailedUpdateScale", message)
            return _Outcome((*explanations, failed), target.replicas, None, values, error=error)
        self._memories[key].history = decision.history
        self._event(autoscaler, "Normal", "SuccessfulRescale", _news(desired, decision.why))
        message = f"the HPA controller was able to update the target scale to {desired}"
        done = Explanation("AbleToScale", True, "SucceededRescale", message)
        explanations = (*explanations, done, *_zero(autoscaler, desired, scaled=True))
        return _Outcome(explanations, target.replicas, desired, values, scaled_at=format_time(self._clock()))

    async def _scale(self, key: ObjectKey, target: Target, replicas: int) -> None:
        entry = target.entry

        def change(obj: KubeObject) -> KubeObject | None:
            if uid_of(obj) != entry.uid:
                return None
            return with_replicas(target.resource, obj, replicas)

        stored = await self._objects.mutate(
            target.resource, entry.namespace, entry.name, change, manager=MANAGER, subresource="scale"
        )
        self._own_writes.wrote(key, stored)

    async def _report(self, key: ObjectKey, entry: Entry, outcome: _Outcome) -> None:
        self._warn(entry.obj, outcome.explanations)
        memory = self._memories.get(key)
        now_s = asyncio.get_running_loop().time()
        since_s = now_s - memory.written_s if memory is not None else float("inf")

        def change(autoscaler: KubeObject) -> KubeObject | None:
            status = self._status(autoscaler, outcome)
            if not worth_writing(autoscaler.get("status") or {}, status, since_last_s=since_s):
                return None
            written = {**autoscaler, "status": status}
            if memory is None:
                return written
            behavior = behavior_of(autoscaler["spec"])
            return with_note(written, memory.history, behavior, now=self._clock(), now_s=now_s)

        if change(entry.copy()) is None:
            return
        stored = await self._objects.mutate(
            HORIZONTAL_POD_AUTOSCALERS, *key, change, manager=MANAGER, subresource="status"
        )
        self._own_writes.wrote(key, stored)
        if memory is not None:
            memory.written_s = now_s

    def _status(self, autoscaler: KubeObject, outcome: _Outcome) -> KubeObject:
        old = autoscaler.get("status") or {}
        status = next_status(
            autoscaler,
            outcome.explanations,
            outcome.values,
            current=old.get("currentReplicas", 0) if outcome.current is None else outcome.current,
            desired=old.get("desiredReplicas", 0) if outcome.desired is None else outcome.desired,
            now=self._clock(),
        )
        return status | {"lastScaleTime": outcome.scaled_at} if outcome.scaled_at else status

    def _warn(self, autoscaler: KubeObject, explanations: Sequence[Explanation]) -> None:
        """An event for what keeps the autoscaler from working, when it begins or changes."""
        known = {
            (each.get("type"), each.get("reason"), each.get("message"))
            for each in (autoscaler.get("status") or {}).get("conditions") or ()
        }
        for each in explanations:
            new = (each.type, each.reason, each.message) not in known
            if new and not each.holds and each.reason.startswith("Failed"):
                self._event(autoscaler, "Warning", each.reason, each.message)

    def _event(self, autoscaler: KubeObject, type_: str, reason: str, message: str) -> None:
        self._recorder.record(autoscaler, type_, reason, message, component=MANAGER)


class Autoscaler:
    """All HPAs; run it on the server that leads."""

    name = MANAGER

    def __init__(
        self, cache: Cache, objects: Objects, recorder: EventRecorder, figures: Figures, *, clock: Clock
    ) -> None:
        self._figures = figures
        self._reconciler = AutoscalerReconciler(cache, objects, recorder, figures, clock=clock)
        self._controller: Controller[ObjectKey] = Controller(
            self.name, self._reconciler, cache=cache, resources=lambda: followed(cache.registry), workers=WORKERS
        )

    def explain(self, namespace: str, name: str) -> KubeObject:
        """How one autoscaler would decide now, step by step. ApiError."""
        return self._reconciler.explain((namespace, name))

    async def run(self) -> None:
        """Evaluate until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._controller.run(), name=self.name)
            tasks.create_task(self._follow_samples(), name=f"{self.name} samples")
            tasks.create_task(self._follow_queries(), name=f"{self.name} queries")
            tasks.create_task(self._follow_wakes(), name=f"{self.name} wakes")
            tasks.create_task(self._figures.queries.run(), name=f"{self.name} Prometheus")

    async def _follow_samples(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            nodes = await self._figures.samples.arrivals()
            for key, delay_s in self._reconciler.due(nodes, now_s=clock()):
                self._controller.queue.add_after(key, delay_s)

    async def _follow_wakes(self) -> None:
        while True:
            for namespace, service in await self._figures.wakes.rung():
                for key in self._reconciler.wake(namespace, service):
                    self._controller.queue.add(key)

    async def _follow_queries(self) -> None:
        while True:
            for key in await self._figures.queries.arrivals():
                self._controller.queue.add(key)


def _zero(autoscaler: KubeObject, replicas: int, *, scaled: bool) -> tuple[Explanation, ...]:
    """Whether it is this autoscaler that left no replicas: somebody who wants a pause does the same (KEP-2021)."""
    if replicas == 0 and scaled:
        return (Explanation(SCALED_TO_ZERO, True, "ScaledToZero", "the HPA has scaled the target to zero"),)
    if replicas and was_scaled_to_zero(autoscaler):
        return (Explanation(SCALED_TO_ZERO, False, "NotScaledToZero", "the target has replicas"),)
    return ()


def _news(replicas: int, why: str) -> str:
    return f"New size: {replicas}; reason: {why}"


def _spec_changed(event: CacheEvent) -> bool:
    if event.type != "MODIFIED" or event.previous is None:
        return True
    return event.entry.uid != event.previous.uid or event.entry.obj.get("spec") != event.previous.obj.get("spec")
