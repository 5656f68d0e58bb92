"""The newest disk figures of each pod.

Measuring costs time that grows with what pods have written, so it is done for those pods that somebody asks about, in
a thread, one round at a time; a pod whose containers have used no CPU time since its last measurement has written
nothing and is not walked again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nodeagent.disk.measuring import tree_bytes, tree_inodes
from nodeagent.disk.places import PodDisk, PodPlaces


@dataclass(frozen=True, slots=True)
class _Measured:
    disk: PodDisk
    activity: object
    directories: tuple[Path, ...]


class DiskMeter:
    """For the agent's loop."""

    def __init__(self, *, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self._measured: dict[str, _Measured] = {}
        self._turn = asyncio.Lock()

    def disk(self, uid: str) -> PodDisk | None:
        """The newest figures of a pod, None if it was never measured."""
        known = self._measured.get(uid)
        return known.disk if known is not None else None

    def keep(self, uids: Iterable[str]) -> None:
        """Forget all pods but these."""
        kept = set(uids)
        self._measured = {uid: each for uid, each in self._measured.items() if uid in kept}

    async def measure(self, pods: Sequence[PodPlaces], *, older_than_s: float = 0.0) -> None:
        """Bring the figures of these pods up to date where they may have changed and are of that age."""
        async with self._turn:
            now = self._wall_clock()
            due = [pod for pod in pods if self._is_due(pod, now, older_than_s)]
            if not due:
                return
            found = await asyncio.to_thread(tree_bytes, _directories(due))
            for pod in due:
                directories = tuple(pod.directories())
                self._measured[pod.uid] = _Measured(_figures(pod, found, now), pod.activity, directories)

    async def inodes(self, pods: Sequence[PodPlaces]) -> dict[str, PodDisk]:
        """The numbers of files of these pods by uid, counted now."""
        async with self._turn:
            found = await asyncio.to_thread(tree_inodes, _directories(pods))
        now = self._wall_clock()
        return {pod.uid: _figures(pod, found, now) for pod in pods}

    def _is_due(self, pod: PodPlaces, now: float, older_than_s: float) -> bool:
        known = self._measured.get(pod.uid)
        if known is None:
            return True
        same = pod.activity is not None and known.activity == pod.activity
        # A measurement in the future is from before the clock was set back: its age is not known.
        recent = now - older_than_s < known.disk.time_unix_s <= now
        return not recent and not (same and known.directories == tuple(pod.directories()))


def _directories(pods: Iterable[PodPlaces]) -> list[Path]:
    return [directory for pod in pods for directory in pod.directories()]


def _figures(pod: PodPlaces, found: dict[Path, int], now: float) -> PodDisk:
    return PodDisk(
        now,
        {name: found[path] for name, path in pod.layers.items() if path in found},
        {name: found[path] for name, path in pod.logs.items() if path in found},
        {name: found[path] for name, path in pod.volumes.items() if path in found},
    )
