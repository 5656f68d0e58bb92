"""Deleting the data of volumes that are being deleted, and saying so until their objects have gone.

The assignments hold every volume whose data this node has. One that waits for its removal is looked at whenever they
change; what failed is tried again after a while. An agent started anew finds nothing to delete and says so again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor

from flotilla.api.objects import KubeObject, name_of, uid_of
from flotilla.api.storage import awaits_removal, local_node
from nodeagent.assigned import PERSISTENT_VOLUMES, Assignments
from nodeagent.restarts import retry_delay_s
from nodeagent.volumes.payload import VolumeError
from nodeagent.volumes.persistent import PersistentVolumes

logger = logging.getLogger(__name__)


class VolumeRemovals:
    """Removes; ``report`` gets the names and uids of all removed volumes that the node still holds."""

    def __init__(
        self,
        assignments: Assignments,
        volumes: PersistentVolumes,
        *,
        node_name: str,
        report: Callable[[Mapping[str, str]], None],
        executor: Executor,
    ) -> None:
        self._assignments, self._volumes, self._node_name = assignments, volumes, node_name
        self._report, self._executor = report, executor
        self._removed: dict[str, str] = {}
        self._failures = 0
        self._wake = asyncio.Event()

    def changed(self) -> None:
        """The assignments have changed."""
        self._wake.set()

    async def run(self) -> None:
        """Remove until cancelled."""
        while True:
            done = await self._remove_all()
            self._failures = 0 if done else self._failures + 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if done else retry_delay_s(self._failures)):
                    await self._wake.wait()
            self._wake.clear()

    async def _remove_all(self) -> bool:
        """Whether nothing is left to remove."""
        waiting = {uid_of(each): each for each in self._assignments.all(PERSISTENT_VOLUMES) if self._concerns(each)}
        before = dict(self._removed)
        self._removed = {name: uid for name, uid in self._removed.items() if uid in waiting}
        outcomes = [await self._remove(volume) for uid, volume in waiting.items() if uid not in before.values()]
        if self._removed != before:
            self._report(dict(self._removed))
        return all(outcomes)

    def _concerns(self, volume: KubeObject) -> bool:
        return local_node(volume) == self._node_name and awaits_removal(volume)

    async def _remove(self, volume: KubeObject) -> bool:
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, self._volumes.remove, volume)
        except (VolumeError, OSError) as error:
            logger.warning("volume_not_removed", extra={"volume": name_of(volume), "error": str(error)})
            return False
        logger.info("volume_removed", extra={"volume": name_of(volume)})
        self._removed[name_of(volume)] = uid_of(volume)
        return True
