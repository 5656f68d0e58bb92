"""Volumes whose data a node has deleted: their objects may go now."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial

from controlplane.dispatcher.persisting import persist
from controlplane.reconcile.objects import Objects
from flotilla.api.objects import KubeObject, uid_of
from flotilla.api.resources import PERSISTENT_VOLUMES
from flotilla.api.storage import LOCAL_PATH, awaits_removal, local_node
from protos import dispatcher_pb2 as pb

MANAGER = "flotilla-local-path"


class RemovedVolumes:
    """Takes the finalizer from the volumes of ``node`` that its agent says to have removed."""

    def __init__(self, node: str, objects: Objects) -> None:
        self._node, self._objects = node, objects
        self._volumes: Mapping[str, str] = {}
        self._changed = asyncio.Event()

    def offer(self, volumes: Iterable[pb.RemovedVolume]) -> None:
        """These are all that the agent has removed and still holds the objects of."""
        self._volumes = {each.name: each.uid for each in volumes}
        self._changed.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            for name, uid in self._volumes.items():
                await persist(partial(self._let_go, name, uid), what="volume", node=self._node)

    async def _let_go(self, name: str, uid: str) -> None:
        def change(volume: KubeObject) -> KubeObject | None:
            if uid_of(volume) != uid or local_node(volume) != self._node or not awaits_removal(volume):
                return None
            finalizers = volume["metadata"]["finalizers"]
            volume["metadata"]["finalizers"] = [each for each in finalizers if each != LOCAL_PATH]
            return volume

        await self._objects.mutate(PERSISTENT_VOLUMES, "", name, change, manager=MANAGER)
