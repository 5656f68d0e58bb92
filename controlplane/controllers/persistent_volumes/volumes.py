"""A volume's side: whose it is, and what becomes of it when its claim is gone."""

from __future__ import annotations

from controlplane.controllers.persistent_volumes.binding import MANAGER, Binder
from controlplane.reconcile.events import EventRecorder
from controlplane.reconcile.objects import Objects
from controlplane.store.cache import Cache
from flotilla.api.errors import ApiError
from flotilla.api.objects import KubeObject, annotations_of, is_deleting, name_of, uid_of
from flotilla.api.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from flotilla.api.storage import PROVISIONED_BY, is_for, local_node

_COMPONENT = "persistentvolume-controller"


class VolumeSide:
    """Brings one volume to the phase that is true, and on its way out."""

    def __init__(self, cache: Cache, objects: Objects, recorder: EventRecorder, binder: Binder) -> None:
        self._cache, self._objects, self._recorder, self._binder = cache, objects, recorder, binder

    async def sync(self, volume: KubeObject) -> None:
        """Raises ApiError, StoreError."""
        reference = volume["spec"].get("claimRef")
        if reference is None or not reference.get("uid"):
            await self._binder.set_phase(PERSISTENT_VOLUMES, volume, "Available")
            return
        claim = self._claim(reference)
        if claim is None:
            # Data may be deleted over this: the cache has to have seen every claim there is.
            await self._cache.barrier()
            claim = self._claim(reference)
        if claim is None:
            await self._release(volume)
            return
        named = claim["spec"].get("volumeName")
        if named == name_of(volume):
            await self._binder.set_phase(PERSISTENT_VOLUMES, volume, "Bound")
        elif named and PROVISIONED_BY in annotations_of(volume) and _policy(volume) == "Delete":
            await self._release(volume)
        elif named:
            await self._binder.unbind(volume)

    def _claim(self, reference: KubeObject) -> KubeObject | None:
        entry = self._cache.get(PERSISTENT_VOLUME_CLAIMS, reference.get("namespace") or "", reference.get("name") or "")
        return entry.obj if entry is not None and is_for(reference, entry.obj) else None

    async def _release(self, volume: KubeObject) -> None:
        if (volume.get("status") or {}).get("phase") != "Failed":
            await self._binder.set_phase(PERSISTENT_VOLUMES, volume, "Released")
        policy = _policy(volume)
        if policy == "Delete" and local_node(volume):
            await self._delete(volume)
        elif policy == "Recycle":
            await self._fail(volume, "VolumeFailedRecycle", "no recyclable volume plugin matched")
        elif policy == "Delete" and not _belongs_to_others(volume):
            what = f'error getting deleter volume plugin for volume "{name_of(volume)}"'
            await self._fail(volume, "VolumeFailedDelete", f"{what}: no deletable volume plugin matched")

    async def _delete(self, volume: KubeObject) -> None:
        """Mark a directory's object deleted; it goes once the node has deleted the directory."""
        if is_deleting(volume):
            return
        try:
            await self._objects.delete(PERSISTENT_VOLUMES, "", name_of(volume), manager=MANAGER, uid=uid_of(volume))
        except ApiError as error:
            if error.reason not in ("NotFound", "Conflict"):
                raise

    async def _fail(self, volume: KubeObject, reason: str, message: str) -> None:
        if await self._binder.set_phase(PERSISTENT_VOLUMES, volume, "Failed", message=message):
            self._recorder.record(volume, "Warning", reason, message, component=_COMPONENT)


def _policy(volume: KubeObject) -> str:
    policy: str = volume["spec"].get("persistentVolumeReclaimPolicy") or "Retain"
    return policy


def _belongs_to_others(volume: KubeObject) -> bool:
    """Whether a provisioner outside of this server deletes the volume."""
    return PROVISIONED_BY in annotations_of(volume) or volume["spec"].get("csi") is not None
