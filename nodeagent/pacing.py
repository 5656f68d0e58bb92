"""Pods that ask for it start a few at a time, so that a herd of them does not keep each other from getting ready.

After a reboot, or from zero, everything on a node starts at once. What each needs to get ready is mostly CPU time, and
shared among all of them it is late for all of them, while probes run out of patience. One after the other, the first is
ready in the time that it takes alone, and the last no later. So as many pods start at once as the node has cores, and
more while it has CPU to spare. The highest priority goes first; who does not get ready gives up its place in the end.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flotilla.api.objects import annotations_of, uid_of

ANNOTATION = "flotilla.dev/start-pacing"
WAITS = "Waits for its turn to start: others on this node are starting"
HOLD_S = 60.0
LOOK_EVERY_S = 1.0
SPARE = 0.2
STAT = Path("/proc/stat")


def wants_pacing(pod: Mapping[str, Any]) -> bool:
    """Whether the pod has asked to start in turn."""
    return annotations_of(pod).get(ANNOTATION) == "true"


class IdleShare:
    """The share of the machine's CPU time that nobody used since the last call."""

    def __init__(self, stat: Path = STAT) -> None:
        self._stat, self._before = stat, (0, 0)

    def __call__(self) -> float:
        fields = [int(each) for each in self._stat.read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
        idle, total = fields[3] + fields[4], sum(fields)
        (idle_before, total_before), self._before = self._before, (idle, total)
        return (idle - idle_before) / max(1, total - total_before)


@dataclass(frozen=True, slots=True)
class _Waiting:
    priority: int
    number: int
    told: Callable[[bool], None]


class StartPacer:
    """Gives places to pods that start; for one event loop."""

    def __init__(self, *, cores: int = 0, idle: Callable[[], float] | None = None) -> None:
        self._cores = cores or os.cpu_count() or 1
        self._idle = idle or IdleShare()
        self._waiting: dict[str, _Waiting] = {}
        self._starting: dict[str, float] = {}
        self._asked = 0
        self._timer: asyncio.TimerHandle | None = None

    def may_start(self, pod: Mapping[str, Any], told: Callable[[bool], None]) -> bool:
        """Whether the pod may start now. Where it may not, ``told`` is called: with True if it has to wait, and with
        False once it may."""
        uid = uid_of(pod)
        if not wants_pacing(pod) or uid in self._starting:
            return True
        if uid not in self._waiting:
            self._asked += 1
            self._waiting[uid] = _Waiting(pod["spec"].get("priority") or 0, self._asked, told)
            # Not at once: of those that ask in the same moment, the highest priority goes first.
            asyncio.get_running_loop().call_soon(self._grant, 0, uid)
        return False

    def settled(self, uid: str) -> None:
        """The pod is ready, has ended, or is to end: others have its turn."""
        if self._waiting.pop(uid, None) is not None or self._starting.pop(uid, None) is not None:
            self._grant(0)

    def _grant(self, more: int, asker: str = "") -> None:
        """Fill free places, and this many more."""
        now_s = asyncio.get_running_loop().time()
        self._starting = {uid: since for uid, since in self._starting.items() if now_s - since < HOLD_S}
        granted = 0
        while self._waiting and (len(self._starting) < self._cores or granted < more):
            uid = min(self._waiting, key=lambda each: (-self._waiting[each].priority, self._waiting[each].number))
            self._starting[uid] = now_s
            self._waiting.pop(uid).told(False)
            granted += 1
        if asker in self._waiting:
            self._waiting[asker].told(True)
        if self._waiting and self._timer is None:
            self._idle()
            self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY_S, self._look)

    def _look(self) -> None:
        self._timer = None
        self._grant(self._cores if self._idle() >= SPARE else 0)
