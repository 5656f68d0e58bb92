"""Claims of pods' own: made from the template in a pod's ``ephemeral`` volume, owned by the pod, gone with it.

Source: Kubernetes' ``pkg/controller/volume/ephemeral``.
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.reconcile.controller import ObjectKey
from controlplane.reconcile.events import EventRecorder
from controlplane.reconcile.objects import Objects
from controlplane.reconcile.result import DONE, Result
from controlplane.store.cache import Cache, CacheEvent
from flotilla.api.errors import ApiError
from flotilla.api.objects import KubeObject, is_deleting, namespace_of, owner_reference
from flotilla.api.resources import PERSISTENT_VOLUME_CLAIMS, PODS
from flotilla.api.storage import claim_of, ephemeral_fault

MANAGER = "ephemeral-volume-controller"
RESOURCES = (PODS, PERSISTENT_VOLUME_CLAIMS)


class EphemeralVolumeReconciler:
    """Keys are pods that have such volumes."""

    def __init__(self, cache: Cache, objects: Objects, recorder: EventRecorder) -> None:
        self._cache, self._objects, self._recorder = cache, objects, recorder

    def reset(self) -> None:
        return None

    def keys(self, event: CacheEvent) -> Iterable[ObjectKey]:
        entry = event.entry
        if entry.resource is PODS:
            return [(entry.namespace, entry.name)] if event.type != "DELETED" and _volumes(entry.obj) else ()
        if event.type != "DELETED":
            return ()
        # A claim that was in a pod's way, or that a pod has lost.
        return [
            (pod.namespace, pod.name)
            for pod in self._cache.list(PODS, entry.namespace)
            if any(claim_of(pod.obj, volume) == entry.name for volume in _volumes(pod.obj))
        ]

    async def reconcile(self, key: ObjectKey) -> Result:
        entry = self._cache.get(PODS, *key)
        if entry is None or is_deleting(entry.obj):
            return DONE
        for volume in _volumes(entry.obj):
            await self._ensure(entry.obj, volume)
        return DONE

    async def _ensure(self, pod: KubeObject, volume: KubeObject) -> None:
        name = claim_of(pod, volume)
        found = self._cache.get(PERSISTENT_VOLUME_CLAIMS, namespace_of(pod), name)
        if found is not None:
            if fault := ephemeral_fault(pod, volume, found.obj):
                self._recorder.record(pod, "Warning", "FailedCreate", fault, component=MANAGER)
            return
        try:
            await self._objects.create(PERSISTENT_VOLUME_CLAIMS, new_claim(pod, volume), manager=MANAGER)
        except ApiError as error:
            if error.reason == "AlreadyExists":
                return
            message = f"ephemeral volume {volume['name']}: create PVC {name}: {error.message}"
            self._recorder.record(pod, "Warning", "FailedCreate", message, component=MANAGER)
            raise


def new_claim(pod: KubeObject, volume: KubeObject) -> KubeObject:
    """The claim for one of the pod's ephemeral volumes."""
    template = volume["ephemeral"]["volumeClaimTemplate"]
    kept = {key: value for key, value in (template.get("metadata") or {}).items() if key in ("labels", "annotations")}
    owner = owner_reference({"apiVersion": "v1", "kind": "Pod", **pod})
    metadata = kept | {"name": claim_of(pod, volume), "namespace": namespace_of(pod), "ownerReferences": [owner]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata,
        "spec": template["spec"],
    }


def _volumes(pod: KubeObject) -> list[KubeObject]:
    return [volume for volume in pod["spec"].get("volumes") or () if volume.get("ephemeral") is not None]
