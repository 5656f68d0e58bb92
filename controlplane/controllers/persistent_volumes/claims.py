"""A claim's side: finding a volume, having one made, and noticing that it was lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from controlplane.controllers.persistent_volumes.binding import MANAGER, Binder
from controlplane.controllers.persistent_volumes.provisioning import choose_node, new_volume, refusal, volume_name
from controlplane.reconcile.events import EventRecorder
from controlplane.reconcile.objects import Objects
from controlplane.scheduler.volume_match import admits, candidates, mismatch
from controlplane.store.cache import Cache
from flotilla.api.errors import ApiError
from flotilla.api.kinds.storage_classes import newest_default
from flotilla.api.objects import KubeObject, annotations_of, is_deleting, labels_of, name_of, namespace_of
from flotilla.api.quantities import parse_quantity
from flotilla.api.resources import NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES
from flotilla.api.storage import (
    BIND_COMPLETED,
    LOCAL_PATH,
    NO_PROVISIONER,
    SELECTED_NODE,
    STORAGE_PROVISIONERS,
    WAIT_FOR_FIRST_CONSUMER,
    class_name,
    is_for,
    local_node,
    requested,
    storage_of,
)

PROVISIONER = "flotilla-local-path"


class ClaimSide:
    """Brings one claim on its way."""

    def __init__(self, cache: Cache, objects: Objects, recorder: EventRecorder, binder: Binder) -> None:
        self._cache, self._objects, self._recorder, self._binder = cache, objects, recorder, binder

    async def sync(self, claim: KubeObject) -> None:
        """Raises ApiError."""
        if BIND_COMPLETED in annotations_of(claim):
            await self._keep(claim)
        elif not is_deleting(claim):
            await self._find(claim)

    # ---- a claim that has a volume ----

    async def _keep(self, claim: KubeObject) -> None:
        name = claim["spec"].get("volumeName")
        volume = self._volume(name)
        reference = volume["spec"].get("claimRef") if volume is not None else None
        if not name:
            await self._lost(
                claim, "ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
            )
        elif volume is None:
            await self._lost(
                claim, "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
            )
        elif reference is not None and not is_for(reference, claim):
            await self._lost(
                claim, "ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly"
            )
        else:
            await self._grow(claim, volume)
            await self._binder.bind(claim, volume)

    async def _lost(self, claim: KubeObject, reason: str, message: str) -> None:
        if await self._binder.set_phase(PERSISTENT_VOLUME_CLAIMS, claim, "Lost"):
            self._warn(claim, reason, message)

    async def _grow(self, claim: KubeObject, volume: KubeObject) -> None:
        """A directory grows by saying so; volumes of other provisioners are theirs to grow."""
        size = requested(claim)
        if local_node(volume) and parse_quantity(storage_of(volume["spec"].get("capacity"))) < parse_quantity(size):
            await self._binder.grow(volume, size)
            message = f"Resize volume {name_of(volume)} succeeded"
            self._recorder.record(claim, "Normal", "VolumeResizeSuccessful", message, component=PROVISIONER)

    # ---- a claim that has none ----

    async def _find(self, claim: KubeObject) -> None:
        if claim["spec"].get("volumeName"):
            await self._take_named(claim, claim["spec"]["volumeName"])
            return
        name = class_name(claim)
        if name is None and (default := self._default_class()):
            await self._binder.set_class(claim, default)
            return
        storage_class = self._class(name)
        waits = _waits(storage_class) and SELECTED_NODE not in annotations_of(claim)
        volumes = (entry.obj for entry in self._cache.list(PERSISTENT_VOLUMES))
        fitting = candidates(volumes, claim, prebound_only=waits)
        if fitting:
            await self._bind_first(claim, fitting)
        elif waits:
            message = "waiting for first consumer to be created before binding"
            self._say(claim, "WaitForFirstConsumer", message)
        elif not name:
            self._say(
                claim, "FailedBinding", "no persistent volumes available for this claim and no storage class is set"
            )
        elif storage_class is None:
            self._warn(claim, "ProvisioningFailed", f'storageclass.storage.k8s.io "{name}" not found')
        else:
            await self._provision(claim, storage_class)

    async def _bind_first(self, claim: KubeObject, fitting: Sequence[Mapping[str, Any]]) -> None:
        """Bind to the first that is still free. Of one that others took meanwhile no event would bring the claim up."""
        for volume in fitting:
            if await self._binder.bind(claim, dict(volume)):
                return

    async def _take_named(self, claim: KubeObject, name: str) -> None:
        volume = self._volume(name)
        if volume is None:
            return
        reference = volume["spec"].get("claimRef")
        if reference is not None and not is_for(reference, claim):
            self._warn(claim, "FailedBinding", f'volume "{name}" already bound to a different claim.')
        elif fault := "" if reference is not None and reference.get("uid") else mismatch(volume, claim):
            self._warn(claim, "VolumeMismatch", f'Cannot bind to requested volume "{name}": {fault}')
        else:
            await self._binder.bind(claim, volume)

    async def _provision(self, claim: KubeObject, storage_class: KubeObject) -> None:
        provisioner = storage_class["provisioner"]
        if provisioner == NO_PROVISIONER:
            self._say(claim, "FailedBinding", f"no persistent volumes available, and {provisioner} makes none")
            return
        await self._binder.annotate(claim, dict.fromkeys(STORAGE_PROVISIONERS, provisioner))
        if provisioner != LOCAL_PATH:
            self._say(
                claim,
                "ExternalProvisioning",
                f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by "
                "the system administrator. If volume creation is delayed, please verify that the provisioner is "
                "running and correctly registered.",
            )
            return
        if fault := refusal(claim, storage_class):
            self._failed(claim, storage_class, fault)
            return
        node = await self._node_for(claim, storage_class)
        if node is not None:
            await self._make(claim, storage_class, node)

    async def _node_for(self, claim: KubeObject, storage_class: KubeObject) -> KubeObject | None:
        """The node that the scheduler has chosen, or for a claim that waits for no pod any that is ready."""
        selected = annotations_of(claim).get(SELECTED_NODE)
        if selected is None:
            volumes = [entry.obj for entry in self._cache.list(PERSISTENT_VOLUMES)]
            nodes = [entry.obj for entry in self._cache.list(NODES) if admits(storage_class, labels_of(entry.obj))]
            node = choose_node(nodes, volumes)
            if node is None:
                self._failed(claim, storage_class, "no node is ready that the class admits")
            return node
        entry = self._cache.get(NODES, "", selected)
        if entry is None:
            # The scheduler chooses again.
            self._failed(claim, storage_class, f'node "{selected}" not found')
            await self._binder.annotate(claim, {SELECTED_NODE: None})
        return entry.obj if entry is not None else None

    async def _make(self, claim: KubeObject, storage_class: KubeObject, node: KubeObject) -> None:
        about = f'External provisioner is provisioning volume for claim "{namespace_of(claim)}/{name_of(claim)}"'
        self._recorder.record(claim, "Normal", "Provisioning", about, component=PROVISIONER)
        try:
            volume = await self._objects.create(
                PERSISTENT_VOLUMES, new_volume(claim, storage_class, node), manager=MANAGER
            )
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            return
        message = f"Successfully provisioned volume {volume_name(claim)}"
        self._recorder.record(claim, "Normal", "ProvisioningSucceeded", message, component=PROVISIONER)
        await self._binder.bind(claim, volume)

    # ---- reading and telling ----

    def _volume(self, name: str | None) -> KubeObject | None:
        entry = self._cache.get(PERSISTENT_VOLUMES, "", name) if name else None
        return entry.obj if entry is not None else None

    def _class(self, name: str | None) -> KubeObject | None:
        entry = self._cache.get(STORAGE_CLASSES, "", name) if name else None
        return entry.obj if entry is not None else None

    def _default_class(self) -> str:
        chosen = newest_default(entry.obj for entry in self._cache.list(STORAGE_CLASSES))
        return name_of(chosen) if chosen is not None else ""

    def _failed(self, claim: KubeObject, storage_class: KubeObject, why: str) -> None:
        message = f'failed to provision volume with StorageClass "{name_of(storage_class)}": {why}'
        self._recorder.record(claim, "Warning", "ProvisioningFailed", message, component=PROVISIONER)

    def _say(self, claim: KubeObject, reason: str, message: str) -> None:
        self._recorder.record(claim, "Normal", reason, message, component="persistentvolume-controller")

    def _warn(self, claim: KubeObject, reason: str, message: str) -> None:
        self._recorder.record(claim, "Warning", reason, message, component="persistentvolume-controller")


def _waits(storage_class: KubeObject | None) -> bool:
    return storage_class is not None and storage_class.get("volumeBindingMode") == WAIT_FOR_FIRST_CONSUMER
