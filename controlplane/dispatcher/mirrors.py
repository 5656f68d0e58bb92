"""The pods that stand in the API for a node's static pods.

The node says which there are to be, whenever what it is assigned shows others; one pass makes the missing ones and
deletes the node's others at once, since nothing runs for them. A mirror that is being deleted is left to the node,
which lets it go and asks again. Its owner is the Node, so it goes with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from controlplane.dispatcher.statuses import MANAGER
from controlplane.reconcile.objects import Objects
from controlplane.store.cache import Cache
from controlplane.store.store import StoreError
from flotilla.api.errors import ApiError
from flotilla.api.mirrors import MIRROR_ANNOTATION, is_mirror
from flotilla.api.objects import KubeObject, annotations_of, is_deleting, name_of, namespace_of, owner_reference, uid_of
from flotilla.api.resources import NODES, PODS

logger = logging.getLogger(__name__)


class MirrorWriter:
    """Takes the mirrors that a node wants by :meth:`want`; ``warn(reason, message)`` is told of what can't be made."""

    def __init__(self, node: str, cache: Cache, objects: Objects, *, warn: Callable[[str, str], None]) -> None:
        self._node, self._cache, self._objects, self._warn = node, cache, objects, warn
        self._wanted: Sequence[KubeObject] = ()
        self._pending = asyncio.Event()
        self._told: set[str] = set()

    def want(self, pods: Sequence[KubeObject]) -> None:
        """These are to be the node's mirrors."""
        self._wanted = pods
        self._pending.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._pending.wait()
            self._pending.clear()
            try:
                await self._write([pod for pod in self._wanted if self._may_stand(pod)])
            except StoreError as error:
                logger.info("mirrors_delayed", extra={"node": self._node, "error": str(error)})

    def _may_stand(self, pod: Mapping[str, Any]) -> bool:
        """Whether a pod is a mirror, and of this node."""
        of_node = (pod.get("spec") or {}).get("nodeName") == self._node
        mirror = of_node and is_mirror(pod)
        if not mirror:
            logger.warning("mirror_refused", extra={"node": self._node, "pod": str(pod.get("metadata"))[:200]})
        return mirror

    async def _write(self, wanted: Sequence[KubeObject]) -> None:
        await self._cache.barrier()
        hashes = {annotations_of(pod)[MIRROR_ANNOTATION] for pod in wanted}
        mirrors = [entry.obj for entry in self._cache.pods_on_node(self._node) if is_mirror(entry.obj)]
        for mirror in mirrors:
            if annotations_of(mirror)[MIRROR_ANNOTATION] not in hashes:
                await self._attempt(mirror, self._delete(mirror))
        there = {annotations_of(mirror)[MIRROR_ANNOTATION] for mirror in mirrors}
        for pod in wanted:
            if annotations_of(pod)[MIRROR_ANNOTATION] not in there:
                await self._attempt(pod, self._create(pod))

    async def _create(self, pod: KubeObject) -> None:
        node = self._cache.get(NODES, "", self._node)
        if node is None or is_deleting(node.obj):
            return
        metadata = {**pod["metadata"], "ownerReferences": [owner_reference(node.obj)]}
        await self._objects.create(PODS, {**pod, "metadata": metadata}, manager=MANAGER)

    async def _delete(self, mirror: KubeObject) -> None:
        await self._objects.delete(
            PODS, namespace_of(mirror), name_of(mirror), manager=MANAGER, uid=uid_of(mirror), grace_period_s=0
        )

    async def _attempt(self, pod: KubeObject, write: Coroutine[Any, Any, None]) -> None:
        """A write that fails is repeated when the node asks again; why is told once."""
        try:
            await write
        except ApiError as error:
            message = f"static pod {namespace_of(pod)}/{name_of(pod)} can't be shown in the API: {error.message}"
            if error.transient or error.reason == "Conflict":
                logger.info("mirror_delayed", extra={"node": self._node, "error": error.message})
            elif message not in self._told:
                self._told.add(message)
                self._warn("FailedMirrorPod", message)
