"""Looks at every workload that asks for it, each ten seconds: counts what its pods use, and resizes those that are due.

Pods are found by owner references, as for HorizontalPodAutoscalers, and their figures come from the same samples. What
one of those scales by is left to it: both would answer the same load, and the one's answer changes the other's
question. What a workload should know is told by events; the whole reckoning by :meth:`VerticalAutoscaler.explain`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

from controlplane.autoscaler.pods import pods_of
from controlplane.autoscaler.samples import SampleStore
from controlplane.autoscaler.target import TargetIndex
from controlplane.autoscaler.vertical.checkpoint import (
    LONGEST_NAME,
    checkpoint_data,
    checkpoint_name,
    histories_in,
    is_checkpoint_of,
    new_checkpoint,
)
from controlplane.autoscaler.vertical.explaining import explain
from controlplane.autoscaler.vertical.facts import FactsCache
from controlplane.autoscaler.vertical.knowledge import PERIOD_S, Knowledge
from controlplane.autoscaler.vertical.planning import Pod, Verdict, in_turn, judged, with_resources_of
from controlplane.autoscaler.vertical.recommendation import RESOURCES
from controlplane.autoscaler.vertical.sizing import Ranges
from controlplane.reconcile.controller import Controller
from controlplane.reconcile.events import EventRecorder
from controlplane.reconcile.failures import Failure, classify
from controlplane.reconcile.objects import Objects
from controlplane.reconcile.own_writes import OwnWrites
from controlplane.reconcile.result import DONE, Result, after
from controlplane.store.cache import Cache, CacheEvent, Entry
from flotilla.api.errors import ApiError, bad_request, not_found
from flotilla.api.objects import KubeObject, annotations_of, controller_of, is_deleting, uid_of
from flotilla.api.quantities import bytes_of, cpu_millis
from flotilla.api.registry import Registry, Resource
from flotilla.api.resources import CONFIG_MAPS, DAEMON_SETS, HORIZONTAL_POD_AUTOSCALERS, LIMIT_RANGES, NODES, PODS
from flotilla.api.vertical_options import IN_PLACE, MODE, OFF, VerticalOptions, is_vertical, read_vertical_options
from flotilla.api.workloads import pod_requests

MANAGER = "vertical-autoscaler"
SAVE_EVERY_S = 300.0
SAVE_NEWS_AFTER_S = 30.0
WORKERS = 2
AT_A_TIME = 50  # pods looked at before others have their turn


class WorkloadKey(NamedTuple):
    """Names a workload."""

    api_version: str
    kind: str
    namespace: str
    name: str


def workloads(registry: Registry) -> tuple[Resource, ...]:
    """Whatever has pods and can be scaled, kinds that users have defined included, and DaemonSets."""
    scalable = {resource.hub: None for resource in registry.all() if "scale" in resource.subresources}
    return (*scalable, DAEMON_SETS)


class VerticalReconciler:
    """Keys name workloads. Ages are told by the samples' clock, which nobody sets."""

    def __init__(self, cache: Cache, objects: Objects, recorder: EventRecorder, samples: SampleStore) -> None:
        self._cache = cache
        self._objects = objects
        self._recorder = recorder
        self._samples = samples
        self._scalers = TargetIndex()
        self._facts = FactsCache()
        self._known: dict[WorkloadKey, Knowledge] = {}
        self._own_writes: OwnWrites[WorkloadKey] = OwnWrites(cache)

    def reset(self) -> None:
        """What is known of workloads stays right when they come again; that of pods which have gone goes."""
        self._facts.keep({pod.uid for pod in self._cache.list(PODS)})
        self._scalers = TargetIndex()

    def keys(self, event: CacheEvent) -> Iterable[WorkloadKey]:
        """Workloads whose spec or annotations have changed."""
        entry, before = event.entry, event.previous
        if entry.resource is HORIZONTAL_POD_AUTOSCALERS:
            self._scalers.observe(event)
            return ()
        key = WorkloadKey(entry.resource.api_version, entry.resource.kind, entry.namespace, entry.name)
        if key in self._known:
            same = before is not None and annotations_of(before.obj) == annotations_of(entry.obj)
            return () if same and event.type == "MODIFIED" else (key,)
        if MODE.encode() not in entry.data:
            return ()
        return (key,) if is_vertical(entry.obj) and controller_of(entry.obj) is None else ()

    async def reconcile(self, key: WorkloadKey) -> Result:
        """Look at one workload."""
        await self._own_writes.catch_up(key)
        entry = self._entry(key)
        if entry is None or is_deleting(entry.obj) or not is_vertical(entry.obj):
            await self._forget(key, entry)
            return DONE
        knowledge = self._remember(key, entry)
        now_s = self._samples.now().timestamp()
        options, faults = read_vertical_options(entry.obj)
        problems = [
            ("InvalidVerticalOption", f"metadata.annotations[{name}]: invalid value {value!r}: {expected}")
            for name, value, expected in faults
        ]
        if options.mode != OFF:
            pods = await self._look(entry, knowledge, options, now_s=now_s)
            if not faults:
                problems += await self._act(key, entry, knowledge, options, pods, now_s=now_s)
            await self._save(key, entry, knowledge, options, now_s=now_s)
        for reason, message in knowledge.new_problems(problems):
            self._recorder.record(entry.obj, "Warning", reason, message, component=MANAGER)
        return after(PERIOD_S)

    def explain(self, namespace: str, kind: str, name: str) -> KubeObject:
        """What is recommended for a workload and why its pods have what they have. ApiError."""
        wanted = kind.lower()
        for resource in workloads(self._cache.registry):
            if wanted in (resource.kind.lower(), resource.plural, *resource.short_names):
                break
        else:
            raise bad_request(f"{kind} is no kind of workload")
        key = WorkloadKey(resource.api_version, resource.kind, namespace, name)
        entry, knowledge = self._entry(key), self._known.get(key)
        if entry is None:
            raise not_found(resource.plural, name, group=resource.group)
        if knowledge is None:
            raise bad_request(f"nothing is recommended for {name}: annotate it with flotilla.dev/vertical: Recommend")
        options, _ = read_vertical_options(entry.obj)
        now_s, taken, room = self._samples.now().timestamp(), self._taken(entry), lru_cache(self._room)
        pods = [self._pod(pod, knowledge, room, now_s=now_s) for pod in self._running(entry)]
        ranges, bounds = self._ranges(knowledge, options, pods), self._limit_ranges(entry)
        verdicts = [judged(pod, _left(ranges, taken), options, bounds, now_s=now_s) for pod in pods]
        return explain(entry.obj, knowledge, options, ranges, taken, in_turn(verdicts))

    def _entry(self, key: WorkloadKey) -> Entry | None:
        resource = self._cache.registry.by_kind(key.api_version, key.kind)
        return None if resource is None else self._cache.get(resource, key.namespace, key.name)

    def _remember(self, key: WorkloadKey, entry: Entry) -> Knowledge:
        knowledge = self._known.get(key)
        if knowledge is None or knowledge.uid != entry.uid:
            knowledge = self._known[key] = Knowledge(entry.uid)
            saved = self._cache.get(CONFIG_MAPS, key.namespace, checkpoint_name(entry.obj))
            if saved is not None and is_checkpoint_of(saved.obj, entry.obj):
                knowledge.histories = histories_in(saved.obj)
                moments = [each.last_s for each in knowledge.histories.values()]
                knowledge.restored_s = max(moments, default=-math.inf)
        return knowledge

    async def _forget(self, key: WorkloadKey, entry: Entry | None) -> None:
        """Nothing is asked for any more: the checkpoint goes, too; that of a workload which has gone goes with it."""
        self._known.pop(key, None)
        if entry is None or is_deleting(entry.obj):
            return
        name = checkpoint_name(entry.obj)
        saved = self._cache.get(CONFIG_MAPS, key.namespace, name)
        if saved is not None and is_checkpoint_of(saved.obj, entry.obj):
            await self._objects.delete(CONFIG_MAPS, key.namespace, name, manager=MANAGER, uid=saved.uid)

    def _running(self, entry: Entry) -> list[Entry]:
        return [pod for pod in pods_of(self._cache, entry.uid) if pod.node and self._facts.of(pod).running]

    async def _look(self, entry: Entry, knowledge: Knowledge, options: VerticalOptions, *, now_s: float) -> list[Pod]:
        """Count what the pods have used since the last look."""
        pods = self._running(entry)
        knowledge.keep({pod.uid for pod in pods})
        for number, pod in enumerate(pods, start=1):
            demand = options.saturation_aware
            knowledge.sample(pod, self._facts.of(pod), self._samples, demand=demand, now_s=now_s)
            if number % AT_A_TIME == 0:
                await asyncio.sleep(0)
        room = lru_cache(self._room)
        return [self._pod(pod, knowledge, room, now_s=now_s) for pod in pods]

    def _pod(self, entry: Entry, knowledge: Knowledge, room: Callable[[str], dict[str, int]], *, now_s: float) -> Pod:
        paused = knowledge.is_paused(entry.uid, now_s=now_s)
        return Pod(entry.uid, entry.obj, self._facts.of(entry), paused, partial(room, entry.node))

    def _ranges(self, knowledge: Knowledge, options: VerticalOptions, pods: Sequence[Pod]) -> Ranges:
        return knowledge.ranges(options, among={name for pod in pods for name in pod.facts.requests})

    def _room(self, node: str) -> dict[str, int]:
        """What a node has left beside all that its pods request."""
        entry = self._cache.get(NODES, "", node)
        has = ((entry.obj.get("status") or {}).get("allocatable") or {}) if entry is not None else {}
        left = {"cpu": cpu_millis(has.get("cpu", 0)), "memory": bytes_of(has.get("memory", 0))}
        for pod in self._cache.pods_on_node(node):
            if (pod.obj.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
                requests = pod_requests(pod.obj["spec"])
                left = {name: left[name] - requests[name] for name in left}
        return left

    def _limit_ranges(self, entry: Entry) -> list[KubeObject]:
        listed = self._cache.list(LIMIT_RANGES, entry.namespace)
        return [item for each in listed for item in (each.obj.get("spec") or {}).get("limits") or ()]

    def _taken(self, entry: Entry) -> dict[str, str]:
        """The resources that HorizontalPodAutoscalers scale the workload by, and which one each."""
        taken: dict[str, str] = {}
        for namespace, name in self._scalers.of(entry):
            scaler = self._cache.get(HORIZONTAL_POD_AUTOSCALERS, namespace, name)
            for metric in (scaler.obj["spec"].get("metrics") or ()) if scaler is not None else ():
                source = metric.get("resource") or metric.get("containerResource") or {}
                if source.get("name") in RESOURCES:
                    taken.setdefault(source["name"], name)
        return taken

    async def _act(
        self,
        key: WorkloadKey,
        entry: Entry,
        knowledge: Knowledge,
        options: VerticalOptions,
        pods: Sequence[Pod],
        *,
        now_s: float,
    ) -> list[tuple[str, str]]:
        """Resize what is due; what people should be told."""
        if options.mode != IN_PLACE:
            return []
        taken = {name: by for name, by in self._taken(entry).items() if name in options.resources}
        problems = [
            (
                "VerticalConflict",
                f"{resource} is left to HorizontalPodAutoscaler {by}, which scales by it: have one of them",
            )
            for resource, by in taken.items()
        ]
        ranges = _left(self._ranges(knowledge, options, pods), taken)
        verdicts, bounds = [], self._limit_ranges(entry)
        for pod in pods:
            verdicts.append(judged(pod, ranges, options, bounds, now_s=now_s))
            if len(verdicts) % AT_A_TIME == 0:
                await asyncio.sleep(0)
        for verdict in in_turn(verdicts):
            if verdict.refused:
                problems.append(("VerticalRefused", f"pods of it can't be resized: {verdict.why}"))
            if verdict.size is not None:
                problems += await self._resize(key, entry, knowledge, verdict, now_s=now_s)
        return problems

    async def _resize(
        self, key: WorkloadKey, entry: Entry, knowledge: Knowledge, verdict: Verdict, *, now_s: float
    ) -> list[tuple[str, str]]:
        pod, size = verdict.pod, verdict.size
        assert size is not None
        name = pod.facts.name

        def change(newest: KubeObject) -> KubeObject | None:
            if uid_of(newest) != pod.uid or is_deleting(newest):
                return None
            return with_resources_of(newest, size.spec, pod.obj["spec"])

        try:
            stored = await self._objects.mutate(
                PODS, key.namespace, name, change, manager=MANAGER, subresource="resize"
            )
        except ApiError as error:
            if classify(error) is not Failure.PERMANENT:
                raise
            knowledge.refused(pod.uid, now_s=now_s)
            return [("FailedVerticalResize", f"a pod can't be resized ({size.text}): {error.message}")]
        if stored is not None and stored["spec"] != pod.obj["spec"]:
            self._own_writes.wrote(key, stored)
            knowledge.pauses.pop(pod.uid, None)
            told = f"by what it uses: {size.text}"
            self._recorder.record(stored, "Normal", "VerticalResize", f"Resizing {told}", component=MANAGER)
            message = f"Resizing pod {name} {told}"
            self._recorder.record(entry.obj, "Normal", "VerticalResize", message, component=MANAGER)
        return []

    async def _save(
        self, key: WorkloadKey, entry: Entry, knowledge: Knowledge, options: VerticalOptions, *, now_s: float
    ) -> None:
        """Keep what is known where the next leader finds it; often enough to lose minutes, not days."""
        if not any(history.measured_s for history in knowledge.histories.values()):
            return
        ranges = knowledge.ranges(options, among=knowledge.histories.keys())
        targets = {name: {each: of[each].target for each in of} for name, of in ranges.items()}
        wait_s = SAVE_EVERY_S if targets == knowledge.saved_targets else SAVE_NEWS_AFTER_S
        name = checkpoint_name(entry.obj)
        if now_s - knowledge.saved_s < wait_s or not targets or len(name) > LONGEST_NAME:
            return
        data = checkpoint_data(ranges, knowledge.histories)
        saved = self._cache.get(CONFIG_MAPS, key.namespace, name)
        if saved is not None and not is_checkpoint_of(saved.obj, entry.obj):
            return
        knowledge.saved_s, knowledge.saved_targets = now_s, targets
        if saved is None:
            new = {**new_checkpoint(entry.obj), "data": data}
            await self._objects.create(CONFIG_MAPS, new, manager=MANAGER)
            return
        await self._objects.mutate(
            CONFIG_MAPS, key.namespace, name, lambda config_map: {**config_map, "data": data}, manager=MANAGER
        )


def _left(ranges: Ranges, taken: Mapping[str, str]) -> Ranges:
    """Without the resources that are left to others."""
    return {name: {each: of[each] for each in of if each not in taken} for name, of in ranges.items()}


class VerticalAutoscaler:
    """All workloads; run it on the server that leads."""

    name = MANAGER

    def __init__(self, cache: Cache, objects: Objects, recorder: EventRecorder, samples: SampleStore) -> None:
        self._reconciler = VerticalReconciler(cache, objects, recorder, samples)
        self._controller: Controller[WorkloadKey] = Controller(
            self.name,
            self._reconciler,
            cache=cache,
            resources=lambda: (HORIZONTAL_POD_AUTOSCALERS, *workloads(cache.registry)),
            workers=WORKERS,
        )

    def explain(self, namespace: str, kind: str, name: str) -> KubeObject:
        """What is recommended for one workload, and what becomes of its pods. ApiError."""
        return self._reconciler.explain(namespace, kind, name)

    async def run(self) -> None:
        """Look until cancelled."""
        await self._controller.run()
