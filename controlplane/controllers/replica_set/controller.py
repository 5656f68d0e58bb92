"""Keeps the desired number of pods of each ReplicaSet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence

from controlplane.controllers.ownership import OrphanIndex, children_of, claim, controls, with_owner, without_owner
from controlplane.controllers.replica_set import plan
from controlplane.controllers.replica_set.ranking import Candidate, candidate, choose
from controlplane.reconcile.clock import Clock
from controlplane.reconcile.controller import ObjectKey, describe
from controlplane.reconcile.events import EventRecorder
from controlplane.reconcile.failures import Failure, classify
from controlplane.reconcile.objects import Objects
from controlplane.reconcile.own_writes import OwnWrites
from controlplane.reconcile.parallel import settle, settle_or_raise
from controlplane.reconcile.result import DONE, Result, earliest
from controlplane.store.cache import Cache, CacheEvent, Entry
from flotilla.api.errors import ApiError
from flotilla.api.objects import KubeObject, controller_of, is_deleting, uid_of
from flotilla.api.resources import LIMIT_RANGES, NAMESPACES, PODS, REPLICA_SETS, RESOURCE_QUOTAS
from flotilla.api.selectors import label_selector_of
from flotilla.api.workloads import pod_is_active

MANAGER = "replicaset-controller"
RESOURCES = (REPLICA_SETS, PODS, RESOURCE_QUOTAS, LIMIT_RANGES)
_SLOW_START_BATCHES = (1, 2, 4, 8)


class ReplicaSetReconciler:
    """Keys are ReplicaSets."""

    def __init__(self, cache: Cache, objects: Objects, recorder: EventRecorder, *, clock: Clock) -> None:
        self._cache = cache
        self._objects = objects
        self._recorder = recorder
        self._clock = clock
        self._orphans = OrphanIndex(cache, PODS)
        self._own_writes: OwnWrites[ObjectKey] = OwnWrites(cache)
        # Pods that were deleted here and may still look alive in the cache: a delete returns no revision to wait for.
        self._deleted: dict[ObjectKey, set[str]] = {}

    def keys(self, event: CacheEvent) -> Iterable[ObjectKey]:
        entry = event.entry
        if entry.resource is REPLICA_SETS:
            return [(entry.namespace, entry.name)]
        if entry.resource is not PODS:
            return self._held_back(entry.namespace)
        self._orphans.observe(event)
        return self._keys_of_pod(event)

    def reset(self) -> None:
        self._orphans.reset()

    def _held_back(self, namespace: str) -> list[ObjectKey]:
        """Those that have fewer pods than they want: what refuses a pod in this namespace has changed."""
        sets = self._cache.list(REPLICA_SETS, namespace)
        return [
            (namespace, each.name)
            for each in sets
            if (each.obj["spec"].get("replicas") or 0) > ((each.obj.get("status") or {}).get("replicas") or 0)
        ]

    def _keys_of_pod(self, event: CacheEvent) -> set[ObjectKey]:
        namespace = event.entry.namespace
        states = [event.entry.obj] if event.previous is None else [event.entry.obj, event.previous.obj]
        owners = [owner for owner in map(controller_of, states) if owner is not None and owner["kind"] == "ReplicaSet"]
        if owners or event.type == "DELETED" or controller_of(event.entry.obj) is not None:
            return {(namespace, owner["name"]) for owner in owners}
        sets = self._cache.list(REPLICA_SETS, namespace)
        return {
            (namespace, each.name)
            for each in sets
            if label_selector_of(each.obj["spec"]["selector"]).matches(event.entry.labels)
        }

    async def reconcile(self, key: ObjectKey) -> Result:
        await self._own_writes.catch_up(key)
        entry = self._cache.get(REPLICA_SETS, *key)
        if entry is None:
            self._deleted.pop(key, None)
            return DONE
        pods = await self._claim(key, entry)
        self._forget_deletions(key, pods)
        gone = self._deleted.get(key, set())
        active = [pod for pod in pods if pod_is_active(pod) and uid_of(pod) not in gone]
        failed, failures = await self._scale(key, entry.obj, pods=pods, active=active)
        counts = plan.count(entry.obj, active, now=self._clock())
        await self._write_status(key, entry, plan.status(entry.obj, counts, failed=failed, now=self._clock()))
        if failures:
            raise BaseExceptionGroup("pods could not be created or deleted", failures)
        return earliest(counts.next_available_s)

    async def _claim(self, key: ObjectKey, entry: Entry) -> list[KubeObject]:
        owner = entry.obj
        selector = label_selector_of(owner["spec"]["selector"])
        children = children_of(self._cache, owner, PODS)
        claimed = claim(owner, selector, children=children, orphans=self._orphans.entries(key[0]))
        await settle_or_raise(
            [self._adopt(key, owner, pod) for pod in claimed.adopt]
            + [self._release(key, owner, pod) for pod in claimed.release]
        )
        return [pod.obj for pod in claimed.owned]

    async def _adopt(self, key: ObjectKey, owner: KubeObject, pod: Entry) -> None:
        uid = pod.uid
        stored = await self._objects.mutate(
            PODS, pod.namespace, pod.name, lambda obj: with_owner(obj, owner, uid=uid), manager=MANAGER
        )
        self._own_writes.wrote(key, stored)

    async def _release(self, key: ObjectKey, owner: KubeObject, pod: Entry) -> None:
        uid = uid_of(owner)
        stored = await self._objects.mutate(
            PODS, pod.namespace, pod.name, lambda obj: without_owner(obj, uid), manager=MANAGER
        )
        self._own_writes.wrote(key, stored)

    def _forget_deletions(self, key: ObjectKey, pods: Sequence[KubeObject]) -> None:
        deleted = self._deleted.get(key)
        if deleted:
            deleted &= {uid_of(pod) for pod in pods if not is_deleting(pod)}
            if not deleted:
                del self._deleted[key]

    async def _scale(
        self, key: ObjectKey, replica_set: KubeObject, *, pods: Sequence[KubeObject], active: Sequence[KubeObject]
    ) -> tuple[plan.Failed | None, list[BaseException]]:
        namespace = self._cache.get(NAMESPACES, "", key[0])
        if is_deleting(replica_set) or (namespace is not None and is_deleting(namespace.obj)):
            return None, []
        step = plan.scale(replica_set, len(active))
        if step.create:
            names = plan.pod_names(replica_set, pods, step.create, taken=lambda name: self._pod_exists(key[0], name))
            failures = await self._slow_start(names, lambda name: self._create(key, replica_set, name))
            return self._report(key, replica_set, "FailedCreate", "Error creating: ", failures), failures
        if step.delete:
            crowd = self._crowd(replica_set)
            chosen = choose(map(candidate, active), step.delete, crowd=crowd, now=self._clock())
            outcomes = await settle(self._delete(key, replica_set, pod) for pod in chosen)
            failures = [outcome for outcome in outcomes if outcome is not None]
            return self._report(key, replica_set, "FailedDelete", "Error deleting: ", failures), failures
        return None, []

    def _pod_exists(self, namespace: str, name: str) -> bool:
        return self._cache.get(PODS, namespace, name) is not None

    async def _slow_start(self, names: Sequence[str], create: Callable[[str], Awaitable[None]]) -> list[BaseException]:
        """Create one, two, four, eight, then all the rest at once; stop after the first batch with a failure."""
        position = 0
        for batch in (*_SLOW_START_BATCHES, len(names)):
            outcomes = await settle(create(name) for name in names[position : position + batch])
            failures = [outcome for outcome in outcomes if outcome is not None]
            if failures:
                return failures
            position += batch
        return []

    async def _create(self, key: ObjectKey, replica_set: KubeObject, name: str) -> None:
        stored = await self._objects.create(PODS, plan.new_pod(replica_set, name), manager=MANAGER)
        self._own_writes.wrote(key, stored)
        self._record(replica_set, "Normal", "SuccessfulCreate", f"Created pod: {name}")

    async def _delete(self, key: ObjectKey, replica_set: KubeObject, pod: Candidate) -> None:
        deleted = self._deleted.setdefault(key, set())
        deleted.add(pod.uid)
        try:
            await self._objects.delete(PODS, key[0], pod.name, manager=MANAGER, uid=pod.uid)
        except ApiError as error:
            if error.reason == "NotFound":
                return
            deleted.discard(pod.uid)
            raise
        self._record(replica_set, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.name}")

    def _report(
        self, key: ObjectKey, replica_set: KubeObject, reason: str, prefix: str, failures: Sequence[BaseException]
    ) -> plan.Failed | None:
        if not failures:
            return None
        # Whether a write that ended this way took effect is open: look at the store itself before the next decision.
        self._own_writes.unsure(key)
        grave = [failure for failure in failures if classify(failure) not in (Failure.STALE, Failure.DEPOSED)]
        if not grave:
            return None
        message = str(grave[0]) if isinstance(grave[0], ApiError) else describe(grave[0])
        self._record(replica_set, "Warning", reason, prefix + message)
        return plan.Failed(reason, message)

    def _crowd(self, replica_set: KubeObject) -> Counter[str]:
        """Active pods per node of all ReplicaSets with the same controller, or of this one alone."""
        owner = controller_of(replica_set)
        uids = [uid_of(replica_set)]
        if owner is not None:
            siblings = [entry for entry in self._cache.by_owner(owner["uid"]) if entry.resource is REPLICA_SETS]
            uids = [entry.uid for entry in siblings if controls(owner["uid"], entry.obj)] or uids
        pods = [entry.obj for uid in uids for entry in self._cache.by_owner(uid) if entry.resource is PODS]
        return Counter(pod["spec"]["nodeName"] for pod in pods if pod_is_active(pod) and pod["spec"].get("nodeName"))

    async def _write_status(self, key: ObjectKey, entry: Entry, status: KubeObject) -> None:
        if status == (entry.obj.get("status") or {}):
            return
        replica_set = entry.copy()
        replica_set["status"] = status
        stored = await self._objects.update(REPLICA_SETS, replica_set, manager=MANAGER, subresource="status")
        self._own_writes.wrote(key, stored)

    def _record(self, replica_set: KubeObject, type_: str, reason: str, message: str) -> None:
        self._recorder.record(replica_set, type_, reason, message, component=MANAGER)
