"""Writing a binding: the volume's side first, then the claim's, so that nothing is bound by halves for good.

Each step is a small edit that repeats itself away, in Kubernetes' order: the volume's ``claimRef``, its phase, the
claim's ``volumeName``, its phase. A server that stops in between leaves what the next one goes on from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlplane.reconcile.objects import Objects
from flotilla.api.objects import KubeObject, annotations_of, name_of, namespace_of, object_reference, uid_of
from flotilla.api.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from flotilla.api.storage import BIND_COMPLETED, BOUND_BY_CONTROLLER, is_for, storage_of

MANAGER = "persistentvolume-binder"


class Binder:
    """Edits volumes and claims. Methods raise ApiError; what has gone meanwhile is left alone."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def bind(self, claim: KubeObject, volume: KubeObject) -> bool:
        """Make the two belong together; False if the volume has gone or is another claim's by now."""
        held = await self._mutate(PERSISTENT_VOLUMES, volume, lambda obj: _refer(obj, claim))
        if held is None or not is_for(held["spec"].get("claimRef") or {}, claim):
            return False
        await self.set_phase(PERSISTENT_VOLUMES, held, "Bound")
        taken = await self._mutate(PERSISTENT_VOLUME_CLAIMS, claim, lambda obj: _name(obj, held))
        if taken is not None and taken["spec"].get("volumeName") == name_of(held):
            await self._mutate(PERSISTENT_VOLUME_CLAIMS, claim, lambda obj: _fulfil(obj, held), subresource="status")
        return True

    async def unbind(self, volume: KubeObject) -> None:
        """Free a volume of a claim that has another: whoever made the connection takes it back."""

        def change(obj: KubeObject) -> KubeObject:
            if obj["metadata"].get("annotations", {}).pop(BOUND_BY_CONTROLLER, None) is None:
                obj["spec"]["claimRef"] = {**obj["spec"]["claimRef"], "uid": ""}
            else:
                del obj["spec"]["claimRef"]
            return obj

        await self._mutate(PERSISTENT_VOLUMES, volume, change)

    async def annotate(self, claim: KubeObject, values: Mapping[str, str | None]) -> None:
        """Set annotations of a claim, or take those without a value away."""

        def change(obj: KubeObject) -> KubeObject | None:
            kept = {**annotations_of(obj), **values}
            wanted = {key: value for key, value in kept.items() if value is not None}
            if wanted == annotations_of(obj):
                return None
            obj["metadata"]["annotations"] = wanted
            return obj

        await self._mutate(PERSISTENT_VOLUME_CLAIMS, claim, change)

    async def set_class(self, claim: KubeObject, name: str) -> None:
        """Give a claim that names no class the default one."""

        def change(obj: KubeObject) -> KubeObject | None:
            if obj["spec"].get("storageClassName") is not None:
                return None
            obj["spec"]["storageClassName"] = name
            return obj

        await self._mutate(PERSISTENT_VOLUME_CLAIMS, claim, change)

    async def grow(self, volume: KubeObject, size: Any) -> None:
        """Say that a volume holds more now."""

        def change(obj: KubeObject) -> KubeObject | None:
            if storage_of(obj["spec"].get("capacity")) == size:
                return None
            obj["spec"]["capacity"] = {**obj["spec"]["capacity"], "storage": size}
            return obj

        await self._mutate(PERSISTENT_VOLUMES, volume, change)

    async def set_phase(self, resource: Any, obj: KubeObject, phase: str, *, message: str = "") -> bool:
        """Write the phase and why; whether it was another one before."""
        before = (obj.get("status") or {}).get("phase")

        def change(current: KubeObject) -> KubeObject | None:
            status = {key: value for key, value in (current.get("status") or {}).items() if key != "message"}
            wanted = {**status, "phase": phase} | ({"message": message} if message else {})
            if wanted == current.get("status"):
                return None
            current["status"] = wanted
            return current

        await self._mutate(resource, obj, change, subresource="status")
        return before != phase

    async def _mutate(self, resource: Any, obj: KubeObject, change: Any, *, subresource: str = "") -> KubeObject | None:
        """Edit the very object; None if another one has its name now."""

        def guarded(current: KubeObject) -> KubeObject | None:
            changed: KubeObject | None = change(current) if uid_of(current) == uid_of(obj) else None
            return changed

        stored = await self._objects.mutate(
            resource, namespace_of(obj), name_of(obj), guarded, manager=MANAGER, subresource=subresource
        )
        return stored if stored is not None and uid_of(stored) == uid_of(obj) else None


def claim_reference(claim: KubeObject) -> KubeObject:
    """What a volume says of the claim that it is bound to."""
    return object_reference({**claim, "apiVersion": "v1", "kind": "PersistentVolumeClaim"})


def _refer(volume: KubeObject, claim: KubeObject) -> KubeObject | None:
    reference = volume["spec"].get("claimRef")
    if reference is None:
        volume["metadata"].setdefault("annotations", {})[BOUND_BY_CONTROLLER] = "yes"
    elif reference.get("uid") or not is_for(reference, claim):
        return None
    volume["spec"]["claimRef"] = claim_reference(claim)
    return volume


def _name(claim: KubeObject, volume: KubeObject) -> KubeObject | None:
    annotations = annotations_of(claim)
    named = claim["spec"].get("volumeName")
    if named not in (None, "", name_of(volume)) or (named and BIND_COMPLETED in annotations):
        return None
    added = {BIND_COMPLETED: "yes"} if named else {BIND_COMPLETED: "yes", BOUND_BY_CONTROLLER: "yes"}
    claim["metadata"]["annotations"] = annotations | added
    claim["spec"]["volumeName"] = name_of(volume)
    return claim


def _fulfil(claim: KubeObject, volume: KubeObject) -> KubeObject | None:
    status = claim.get("status") or {}
    fulfilled = {"phase": "Bound", "accessModes": volume["spec"]["accessModes"], "capacity": volume["spec"]["capacity"]}
    if status | fulfilled == status:
        return None
    claim["status"] = status | fulfilled
    return claim
