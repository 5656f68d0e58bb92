"""One reading of every container's cgroup a second, as columns that travel as they are.

A container's files stay open as long as it is tracked. One that used no CPU time since the last round keeps its figures
until its turn for a whole reading comes, every tenth round and at another round than its neighbours'. The order of
containers changes only together with ``generation``, so that whoever receives rounds can keep what he knows of each
row.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from flotilla.clocks import steady_unix_s
from nodeagent.cgroups.layout import CgroupLayout
from nodeagent.cgroups.stats import CgroupReader, CgroupStats
from nodeagent.metrics.machine import MachineReader, MachineSample

logger = logging.getLogger(__name__)

PERIOD_S = 1.0
ROUNDS_PER_WHOLE_READING = 10
ROUNDS_KEPT = 11


@dataclass(frozen=True, slots=True)
class TrackedContainer:
    """A running container: who it is, where its cgroup is, and when it started."""

    namespace: str
    pod: str
    pod_uid: str
    container: str
    container_id: str
    image: str
    cgroup_path: str
    start_time_unix_s: float


@dataclass(frozen=True, slots=True)
class Columns:
    """A round's figures packed as the Samples message carries them: little endian, row i for container i."""

    cpu_usage_ns: bytes
    cpu_throttled_ns: bytes
    memory_working_set_bytes: bytes
    start_time_unix_s: bytes


@dataclass(frozen=True, slots=True)
class Round:
    """All containers at one moment; ``rows`` belong to ``containers`` in order.

    ``time_unix_s`` is the moment by the wall clock, ``steady_unix_s`` by a clock that nobody sets.
    """

    time_unix_s: float
    generation: int
    containers: tuple[TrackedContainer, ...]
    rows: tuple[CgroupStats, ...]
    machine: MachineSample
    steady_unix_s: float

    def columns(self) -> Columns:
        return Columns(
            cpu_usage_ns=_pack("Q", (row.cpu_usage_ns for row in self.rows)),
            cpu_throttled_ns=_pack("Q", (row.throttled_ns for row in self.rows)),
            memory_working_set_bytes=_pack("Q", (row.memory_working_set_bytes for row in self.rows)),
            start_time_unix_s=_pack("d", (container.start_time_unix_s for container in self.containers)),
        )


class Sampler:
    """Samples the containers it has been told of; for one thread (the agent's loop)."""

    def __init__(self, layout: CgroupLayout) -> None:
        self._layout = layout
        self._machine = MachineReader()
        self._readers: dict[TrackedContainer, CgroupReader] = {}
        self._last: dict[TrackedContainer, CgroupStats] = {}
        self._containers: tuple[TrackedContainer, ...] = ()
        self._generation = 0
        self._rounds = 0
        self._recent: deque[Round] = deque(maxlen=ROUNDS_KEPT)

    @property
    def newest(self) -> Round | None:
        """The last round."""
        return self._recent[-1] if self._recent else None

    @property
    def recent(self) -> tuple[Round, ...]:
        """The rounds of the last ten seconds, oldest first: what rates are told by."""
        return tuple(self._recent)

    def track(self, containers: Sequence[TrackedContainer]) -> None:
        """Sample exactly these from the next round on."""
        wanted = set(containers)
        for container in [known for known in self._readers if known not in wanted]:
            self._forget(container)
        for container in [new for new in containers if new not in self._readers]:
            try:
                self._readers[container] = CgroupReader(self._layout, container.cgroup_path)
            except OSError:
                # It ended before it could be looked at; its exit is being reported.
                continue

    def sample(self, *, now_unix_s: float) -> Round:
        """A round. A container whose cgroup has gone is left out."""
        self._rounds += 1
        for turn, (container, reader) in enumerate(list(self._readers.items()), self._rounds):
            last = self._last.get(container)
            whole = turn % ROUNDS_PER_WHOLE_READING == 0
            try:
                self._last[container] = reader.read() if whole or last is None else reader.read_since(last)
            except OSError:
                self._forget(container)
        containers = tuple(self._readers)
        if containers != self._containers:
            self._containers = containers
            self._generation += 1
        rows = tuple(self._last[container] for container in containers)
        newest = Round(now_unix_s, self._generation, self._containers, rows, self._machine.read(), steady_unix_s())
        self._recent.append(newest)
        return newest

    async def run(self, on_round: Callable[[Round], None]) -> None:
        """Sample each second until cancelled. Late rounds are not made up for."""
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            on_round(self.sample(now_unix_s=time.time()))
            due_s = max(due_s + PERIOD_S, loop.time())
            await asyncio.sleep(due_s - loop.time())

    def _forget(self, container: TrackedContainer) -> None:
        self._readers.pop(container).close()
        self._last.pop(container, None)

    def close(self) -> None:
        """Release all files."""
        self.track(())
        self._machine.close()


def _pack(code: str, values: Iterable[float]) -> bytes:
    packed = array(code, values)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()
