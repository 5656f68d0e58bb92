"""The volumes of pods: which nodes can mount them, and binding those that wait for their first pod.

A claim that has its volume keeps the pod to the nodes that reach it. A claim that waits for its first pod gets, on the
node that is chosen, a free volume that fits or one that a provisioner makes there; the pod is bound once all its claims
are. Source: Kubernetes' ``plugins/volumebinding`` and ``plugins/volumerestrictions``, whose words these are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from controlplane.reconcile.objects import Objects
from controlplane.scheduler.node_matrix import Mask, NodeInfo, NodeMatrix
from controlplane.scheduler.pod_info import SCHEDULER_NAME, PodInfo
from controlplane.scheduler.volume_match import admits, candidates, reaches
from controlplane.store.cache import Cache
from flotilla.api.objects import KubeObject, annotations_of, controller_of, is_deleting, name_of, namespace_of, uid_of
from flotilla.api.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES
from flotilla.api.storage import (
    BOUND_BY_CONTROLLER,
    NO_PROVISIONER,
    SELECTED_NODE,
    WAIT_FOR_FIRST_CONSUMER,
    class_name,
    is_bound,
)

BIND_TIMEOUT_S = 600.0
_OUT_OF_REACH = "node(s) didn't match PersistentVolume's node affinity"
_NO_VOLUME = "node(s) didn't find available persistent volumes to bind"
_LOST_VOLUME = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
_IN_USE = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"


VolumePlan = list[tuple[Mapping[str, Any], str]]
"""Claims that wait, each with the volume that it gets; empty for one to be made."""


class UnboundVolumesError(Exception):
    """The volumes of a pod could not be bound on the node that was chosen; the message says why."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A claim that waits for its first pod: the free volumes that fit it, and whether one can be made."""

    claim: Mapping[str, Any]
    fitting: list[Mapping[str, Any]]
    storage_class: Mapping[str, Any]

    @property
    def is_meant(self) -> bool:
        """Whether a volume is meant for the claim: then it gets that one or none."""
        return bool(self.fitting) and self.fitting[0]["spec"].get("claimRef") is not None

    def made_on(self, node: NodeInfo) -> bool:
        """Whether a provisioner can make a volume that the node reaches."""
        if self.storage_class.get("provisioner") in (None, "", NO_PROVISIONER):
            return False
        return admits(self.storage_class, node.labels)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a pod's claims ask of a node. ``rejected`` is why no node can help, for now."""

    rejected: str = ""
    volumes: list[Mapping[str, Any]] = field(default_factory=list)
    waiting: list[_Waiting] = field(default_factory=list)
    lost: bool = False
    in_use: bool = False


class PodVolumes:
    """Reads claims, volumes and classes from the cache; remembers which volumes are promised to pods being bound."""

    def __init__(self, cache: Cache, objects: Objects) -> None:
        self._cache, self._objects = cache, objects
        self._promised: dict[str, str] = {}
        self._changed: dict[str, asyncio.Event] = {}

    # ---- filtering ----

    def needs(self, pod: PodInfo, matrix: NodeMatrix) -> Needs:
        """What the pod's claims need."""
        needs = Needs()
        for name, ephemeral in pod.claims:
            entry = self._cache.get(PERSISTENT_VOLUME_CLAIMS, pod.namespace, name)
            claim = entry.obj if entry is not None else None
            if claim is None or (why := _problem(claim, pod, ephemeral=ephemeral)):
                return Needs(rejected=_missing(name, ephemeral=ephemeral) if claim is None else why)
            users = matrix.claim_users(pod.namespace, name)
            one_pod = "ReadWriteOncePod" in (claim["spec"].get("accessModes") or ())
            if is_bound(claim):
                volume = self._cache.get(PERSISTENT_VOLUMES, "", claim["spec"]["volumeName"])
                found = [volume.obj] if volume is not None else []
                needs = _with(needs, volumes=found, lost=volume is None, in_use=bool(one_pod and users - {pod.uid}))
                continue
            storage_class = self._class(claim)
            if storage_class is None or claim["spec"].get("volumeName"):
                return Needs(rejected="pod has unbound immediate PersistentVolumeClaims")
            volumes = list(self._free(pod))
            fitting = candidates(volumes, claim, prebound_only=True)[:1] or candidates(volumes, claim)
            needs = _with(needs, waiting=[_Waiting(claim, fitting, storage_class)])
        return needs

    def _class(self, claim: Mapping[str, Any]) -> KubeObject | None:
        """The class of a claim that waits for its first pod; None if it waits for nothing."""
        entry = self._cache.get(STORAGE_CLASSES, "", class_name(claim) or "")
        waits = entry is not None and entry.obj.get("volumeBindingMode") == WAIT_FOR_FIRST_CONSUMER
        return entry.obj if entry is not None and waits else None

    def _free(self, pod: PodInfo) -> Iterator[KubeObject]:
        for entry in self._cache.list(PERSISTENT_VOLUMES):
            if self._promised.get(entry.name, pod.uid) == pod.uid:
                yield entry.obj

    def failures(self, matrix: NodeMatrix, pod: PodInfo, among: Mask, needs: Needs) -> Iterator[tuple[Mask, str]]:
        """The rows of the nodes on which the pod's volumes can't be had, with the reasons."""
        if needs.in_use:
            yield among, _IN_USE
        if needs.lost:
            yield among, _LOST_VOLUME
        nodes = [node if there else None for node, there in zip(matrix.nodes, among, strict=True)]
        if needs.volumes:
            yield _rows(nodes, (_reaches_all(node, needs.volumes) for node in nodes)), _OUT_OF_REACH
        if needs.waiting:
            plans = (node is not None and self._plan(needs, node) is not None for node in nodes)
            yield _rows(nodes, plans), _NO_VOLUME

    # ---- binding ----

    def _plan(self, needs: Needs, node: NodeInfo) -> VolumePlan | None:
        """What the claims that wait get on the node; None if one of them gets nothing."""
        plan: VolumePlan = []
        taken: set[str] = set()
        for each in needs.waiting:
            selected = annotations_of(each.claim).get(SELECTED_NODE)
            if selected is not None and selected != node.name:
                return None
            free = (volume for volume in each.fitting if name_of(volume) not in taken)
            volume = next((volume for volume in free if reaches(volume, node.labels, node.name)), None)
            if volume is None and (each.is_meant or not each.made_on(node)):
                return None
            name = name_of(volume) if volume is not None and selected is None else ""
            taken.add(name)
            plan.append((each.claim, name))
        return plan

    def assume(self, pod: PodInfo, node: NodeInfo, matrix: NodeMatrix) -> VolumePlan:
        """Promise the pod the volumes that it gets on the node; what :meth:`bind` has to do."""
        needs = self.needs(pod, matrix)
        plan = self._plan(needs, node) or []
        self._promised |= {name: pod.uid for _, name in plan if name}
        return plan

    async def bind(self, pod: PodInfo, node: str, plan: VolumePlan, *, wanted: Callable[[], bool]) -> None:
        """Have all claims of the pod bound, and wait for it while the pod is ``wanted``.

        Raises ApiError, StoreError, UnboundVolumesError, TimeoutError.
        """
        changed = self._changed.setdefault(pod.uid, asyncio.Event())
        try:
            await self._confirm(node, plan)
            for claim, volume in plan:
                await (self._prebind(claim, volume) if volume else self._select(claim, node))
            async with asyncio.timeout(BIND_TIMEOUT_S):
                while wanted() and not self._all_bound(pod):
                    changed.clear()
                    await changed.wait()
        finally:
            self._changed.pop(pod.uid, None)
            self.forget(pod.uid)

    async def _confirm(self, node: str, plan: VolumePlan) -> None:
        """Make sure that nobody, such as a server that led before, has decided otherwise about the claims.

        Two claims of a pod that are given volumes of two nodes would keep it from running for good.
        """
        if not plan:
            return
        await self._cache.barrier()
        for claim, volume in plan:
            entry = self._cache.get(PERSISTENT_VOLUME_CLAIMS, namespace_of(claim), name_of(claim))
            volumes = (each.obj for each in self._cache.list(PERSISTENT_VOLUMES))
            meant = {name_of(each) for each in candidates(volumes, claim, prebound_only=True)}
            selected = annotations_of(entry.obj).get(SELECTED_NODE) if entry is not None else None
            if entry is None or is_bound(entry.obj) or selected not in (None, node) or meant - {volume}:
                raise UnboundVolumesError(f'persistentvolumeclaim "{name_of(claim)}" has changed')

    def forget(self, uid: str) -> None:
        """The pod gets no volumes any more."""
        self._promised = {name: holder for name, holder in self._promised.items() if holder != uid}

    def changed(self) -> None:
        """A claim or a volume has changed."""
        for event in self._changed.values():
            event.set()

    async def _prebind(self, claim: Mapping[str, Any], volume: str) -> None:
        """Mean the volume for the claim; the controller of claims does the rest."""
        reference = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": namespace_of(claim),
            "name": name_of(claim),
            "uid": uid_of(claim),
        }

        def change(obj: KubeObject) -> KubeObject:
            held = obj["spec"].get("claimRef")
            if held is not None and held.get("uid") not in (None, "", uid_of(claim)):
                raise UnboundVolumesError(f'volume "{volume}" has been taken')
            if held is None:
                obj["metadata"]["annotations"] = annotations_of(obj) | {BOUND_BY_CONTROLLER: "yes"}
            obj["spec"]["claimRef"] = reference
            return obj

        if await self._objects.mutate(PERSISTENT_VOLUMES, "", volume, change, manager=SCHEDULER_NAME) is None:
            raise UnboundVolumesError(f'volume "{volume}" has gone')

    async def _select(self, claim: Mapping[str, Any], node: str) -> None:
        def change(obj: KubeObject) -> KubeObject | None:
            if annotations_of(obj).get(SELECTED_NODE) == node:
                return None
            obj["metadata"]["annotations"] = annotations_of(obj) | {SELECTED_NODE: node}
            return obj

        await self._objects.mutate(
            PERSISTENT_VOLUME_CLAIMS, namespace_of(claim), name_of(claim), change, manager=SCHEDULER_NAME
        )

    def _all_bound(self, pod: PodInfo) -> bool:
        """Whether there is nothing left to wait for. Raises UnboundVolumesError if waiting is in vain."""
        bound = True
        for name, _ in pod.claims:
            entry = self._cache.get(PERSISTENT_VOLUME_CLAIMS, pod.namespace, name)
            if entry is None or is_deleting(entry.obj):
                raise UnboundVolumesError(f'persistentvolumeclaim "{name}" has gone')
            bound = bound and is_bound(entry.obj) and (entry.obj.get("status") or {}).get("phase") == "Bound"
        return bound


def _problem(claim: Mapping[str, Any], pod: PodInfo, *, ephemeral: bool) -> str:
    name = name_of(claim)
    if (claim.get("status") or {}).get("phase") == "Lost":
        volume = claim["spec"].get("volumeName") or ""
        return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{volume}"'
    if is_deleting(claim):
        return f'persistentvolumeclaim "{name}" is being deleted'
    owner = controller_of(claim)
    if ephemeral and (owner is None or owner.get("uid") != pod.uid):
        named = f"PVC {pod.namespace}/{name}"
        return f"{named} was not created for pod {pod.namespace}/{pod.name} (pod is not owner)"
    return ""


def _missing(name: str, *, ephemeral: bool) -> str:
    if ephemeral:
        return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
    return f'persistentvolumeclaim "{name}" not found'


def _with(
    needs: Needs,
    *,
    volumes: Iterable[Mapping[str, Any]] = (),
    waiting: Iterable[_Waiting] = (),
    lost: bool = False,
    in_use: bool = False,
) -> Needs:
    return Needs(
        volumes=[*needs.volumes, *volumes],
        waiting=[*needs.waiting, *waiting],
        lost=needs.lost or lost,
        in_use=needs.in_use or in_use,
    )


def _reaches_all(node: NodeInfo | None, volumes: Iterable[Mapping[str, Any]]) -> bool:
    return node is not None and all(reaches(volume, node.labels, node.name) for volume in volumes)


def _rows(nodes: list[NodeInfo | None], good: Iterable[bool]) -> Mask:
    return ~np.fromiter(good, dtype=bool, count=len(nodes))
