"""Carries out Deployment plans."""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.controllers.deployment.plan import DeploymentPlan, SetChange, plan
from controlplane.controllers.deployment.replica_sets import SetView, same_template
from controlplane.controllers.ownership import OrphanIndex, children_of, claim, controls, with_owner, without_owner
from controlplane.reconcile.clock import Clock
from controlplane.reconcile.controller import ObjectKey
from controlplane.reconcile.events import EventRecorder
from controlplane.reconcile.objects import Objects
from controlplane.reconcile.own_writes import OwnWrites
from controlplane.reconcile.parallel import settle_or_raise
from controlplane.reconcile.result import DONE, Result, earliest
from controlplane.store.cache import Cache, CacheEvent, Entry
from flotilla.api.errors import ApiError
from flotilla.api.objects import KubeObject, annotations_of, controller_of, name_of, uid_of
from flotilla.api.resources import DEPLOYMENTS, PODS, REPLICA_SETS
from flotilla.api.selectors import label_selector_of

MANAGER = "deployment-controller"
RESOURCES = (DEPLOYMENTS, REPLICA_SETS, PODS)
_ENDED = ("Succeeded", "Failed")


class DeploymentReconciler:
    """Keys are Deployments."""

    def __init__(self, cache: Cache, objects: Objects, recorder: EventRecorder, *, clock: Clock) -> None:
        self._cache = cache
        self._objects = objects
        self._recorder = recorder
        self._clock = clock
        self._orphans = OrphanIndex(cache, REPLICA_SETS)
        self._own_writes: OwnWrites[ObjectKey] = OwnWrites(cache)

    def reset(self) -> None:
        self._orphans.reset()

    def keys(self, event: CacheEvent) -> Iterable[ObjectKey]:
        entry = event.entry
        if entry.resource is DEPLOYMENTS:
            return [(entry.namespace, entry.name)]
        if entry.resource is PODS:
            return self._keys_of_pod(event)
        self._orphans.observe(event)
        return self._keys_of_set(event)

    def _keys_of_pod(self, event: CacheEvent) -> list[ObjectKey]:
        """A pod that is gone may be the last old one that a Recreate waits for; all else shows in its ReplicaSet."""
        if event.type != "DELETED":
            return []
        owner = controller_of(event.entry.obj)
        if owner is None or owner["kind"] != "ReplicaSet":
            return []
        parent = self._cache.get(REPLICA_SETS, event.entry.namespace, owner["name"])
        deployment = controller_of(parent.obj) if parent is not None else None
        return [] if deployment is None else [(event.entry.namespace, deployment["name"])]

    def _keys_of_set(self, event: CacheEvent) -> set[ObjectKey]:
        namespace = event.entry.namespace
        states = [event.entry.obj] if event.previous is None else [event.entry.obj, event.previous.obj]
        owners = [owner for owner in map(controller_of, states) if owner is not None and owner["kind"] == "Deployment"]
        if owners or event.type == "DELETED":
            return {(namespace, owner["name"]) for owner in owners}
        return {
            (namespace, each.name)
            for each in self._cache.list(DEPLOYMENTS, namespace)
            if label_selector_of(each.obj["spec"]["selector"]).matches(event.entry.labels)
        }

    async def reconcile(self, key: ObjectKey) -> Result:
        await self._own_writes.catch_up(key)
        entry = self._cache.get(DEPLOYMENTS, *key)
        if entry is None:
            return DONE
        sets = await self._claim(key, entry)
        by_name = {each.name: each for each in sets}
        deployment = entry.obj
        step = plan(
            deployment,
            [each.obj for each in sets],
            old_pods_run=self._old_pods_run(deployment, sets),
            now=self._clock(),
        )
        if step.create is not None and not await self._create(key, entry, step.create):
            return DONE
        await settle_or_raise(self._change(key, deployment, by_name[change.name], change) for change in step.changes)
        await settle_or_raise(self._remove(key, old) for old in step.remove)
        await self._write_deployment(key, entry, step)
        return earliest(step.recheck_s)

    async def _claim(self, key: ObjectKey, entry: Entry) -> list[Entry]:
        owner = entry.obj
        children = children_of(self._cache, owner, REPLICA_SETS)
        selector = label_selector_of(owner["spec"]["selector"])
        claimed = claim(owner, selector, children=children, orphans=self._orphans.entries(key[0]))
        await settle_or_raise(
            [self._adopt(key, owner, each) for each in claimed.adopt]
            + [self._release(key, owner, each) for each in claimed.release]
        )
        # What was just adopted has a newer revision than this one; the change brings the key again.
        return [each for each in claimed.owned if each not in claimed.adopt]

    async def _adopt(self, key: ObjectKey, owner: KubeObject, each: Entry) -> None:
        uid = each.uid
        stored = await self._objects.mutate(
            REPLICA_SETS, each.namespace, each.name, lambda obj: with_owner(obj, owner, uid=uid), manager=MANAGER
        )
        self._own_writes.wrote(key, stored)

    async def _release(self, key: ObjectKey, owner: KubeObject, each: Entry) -> None:
        uid = uid_of(owner)
        stored = await self._objects.mutate(
            REPLICA_SETS, each.namespace, each.name, lambda obj: without_owner(obj, uid), manager=MANAGER
        )
        self._own_writes.wrote(key, stored)

    def _old_pods_run(self, deployment: KubeObject, sets: list[Entry]) -> bool:
        if (deployment["spec"].get("strategy") or {}).get("type") != "Recreate":
            return False
        olds = [each for each in sets if not same_template(deployment, each.obj)]
        pods = [pod.obj for each in olds for pod in self._cache.by_owner(each.uid) if pod.resource is PODS]
        return any((pod.get("status") or {}).get("phase") not in _ENDED for pod in pods)

    async def _create(self, key: ObjectKey, entry: Entry, replica_set: KubeObject) -> bool:
        """Create the set of the present template; False if its name belongs to another (the status notes that)."""
        try:
            stored = await self._objects.create(REPLICA_SETS, replica_set, manager=MANAGER)
        except ApiError as error:
            if error.reason != "AlreadyExists" or not await self._collides(entry.obj, replica_set):
                raise
            await self._note_collision(key, entry)
            return False
        self._own_writes.wrote(key, stored)
        self._report_scaling(entry.obj, name_of(replica_set), 0, replica_set["spec"]["replicas"])
        return True

    async def _collides(self, deployment: KubeObject, replica_set: KubeObject) -> bool:
        await self._cache.barrier()
        namespace = replica_set["metadata"]["namespace"]
        present = self._cache.get(REPLICA_SETS, namespace, name_of(replica_set))
        if present is None:
            return False
        return not (controls(uid_of(deployment), present.obj) and same_template(deployment, present.obj))

    async def _note_collision(self, key: ObjectKey, entry: Entry) -> None:
        deployment = entry.copy()
        status = deployment.setdefault("status", {})
        status["collisionCount"] = (status.get("collisionCount") or 0) + 1
        stored = await self._objects.update(DEPLOYMENTS, deployment, manager=MANAGER, subresource="status")
        self._own_writes.wrote(key, stored)

    async def _change(self, key: ObjectKey, deployment: KubeObject, each: Entry, change: SetChange) -> None:
        replica_set = each.copy()
        replica_set["metadata"]["annotations"] = dict(change.annotations)
        replica_set["spec"]["replicas"] = change.replicas
        replica_set["spec"]["minReadySeconds"] = change.min_ready_s
        if not change.min_ready_s:
            del replica_set["spec"]["minReadySeconds"]
        stored = await self._objects.update(REPLICA_SETS, replica_set, manager=MANAGER)
        self._own_writes.wrote(key, stored)
        if change.replicas != change.previous:
            self._report_scaling(deployment, change.name, change.previous, change.replicas)

    def _report_scaling(self, deployment: KubeObject, name: str, previous: int, replicas: int) -> None:
        if previous == replicas:
            return
        direction = "up" if replicas > previous else "down"
        message = f"Scaled {direction} replica set {name} from {previous} to {replicas}"
        self._recorder.record(deployment, "Normal", "ScalingReplicaSet", message, component=MANAGER)

    async def _remove(self, key: ObjectKey, old: SetView) -> None:
        try:
            await self._objects.delete(REPLICA_SETS, key[0], old.name, manager=MANAGER, uid=old.uid)
        except ApiError as error:
            if error.reason != "NotFound":
                raise

    async def _write_deployment(self, key: ObjectKey, entry: Entry, step: DeploymentPlan) -> None:
        deployment = entry.copy()
        if step.annotations:
            deployment["metadata"]["annotations"] = annotations_of(deployment) | dict(step.annotations)
            deployment = await self._objects.update(DEPLOYMENTS, deployment, manager=MANAGER)
            self._own_writes.wrote(key, deployment)
        if step.status == (deployment.get("status") or {}):
            return
        deployment["status"] = step.status
        stored = await self._objects.update(DEPLOYMENTS, deployment, manager=MANAGER, subresource="status")
        self._own_writes.wrote(key, stored)
