"""The last samples of one node's containers, as columns of numbers.

One row a round, one column a container: a round is written with a few array copies, however many containers there are,
and no object is made for a sample. When the set of containers changes, the columns that stay move along.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

ROUNDS = 32
LONGEST_FIRST_S = 10.0
WINDOW_SLACK_S = 0.25  # a round that comes a little late still closes the window that it was meant for
_CPU, _MEMORY, _STARTED, _THROTTLED = range(4)

Numbers = npt.NDArray[np.float64]


class ContainerId(NamedTuple):
    """A container of one pod, whichever time it runs."""

    namespace: str
    pod: str
    uid: str
    container: str


@dataclass(frozen=True, slots=True)
class Round:
    """What one sampling round found; one number a container in each column. Times in seconds, cumulative.

    ``throttled_s`` is for how long the container's limit kept from running what could have run.
    ``time_unix_s`` is the node's clock, ``received_unix_s`` the server's.
    """

    time_unix_s: float
    received_unix_s: float
    cpu_s: Numbers
    memory_bytes: Numbers
    started_unix_s: Numbers
    throttled_s: Numbers
    node_cpu_s: float
    node_memory_bytes: float


@dataclass(frozen=True, slots=True)
class Usage:
    """A value over a window; the window's ends are on the server's clock, its length is the node's."""

    value: float
    window_start_unix_s: float
    window_end_unix_s: float

    @property
    def window_s(self) -> float:
        return self.window_end_unix_s - self.window_start_unix_s


@dataclass(frozen=True, slots=True)
class Span:
    """Which rounds to average over: as many intervals as fit into ``window_s``, ``intervals`` at most.

    ``back`` leaves out that many of the newest rounds; nothing before ``since_unix_s`` (the server's clock) counts.
    """

    window_s: float
    intervals: int = ROUNDS
    back: int = 0
    since_unix_s: float = 0.0


class NodeColumns:
    """A ring of rounds, the newest last."""

    def __init__(self, containers: Sequence[ContainerId]) -> None:
        self.containers = tuple(containers)
        self._position = {container: index for index, container in enumerate(self.containers)}
        self._count = 0
        self._times = np.zeros(ROUNDS)
        self._received = np.zeros(ROUNDS)
        self._node = np.zeros((2, ROUNDS))
        # A start of 0 marks a container that had no sample in the round.
        self._values = np.zeros((4, ROUNDS, len(self.containers)))

    @property
    def newest_unix_s(self) -> float:
        """The node's time of the newest round; -inf without one."""
        return float(self._times[-1]) if self._count else float("-inf")

    @property
    def received_unix_s(self) -> float:
        """The server's time of the newest round; -inf without one."""
        return float(self._received[-1]) if self._count else float("-inf")

    def add(self, round_: Round) -> None:
        """Append a round; the oldest falls out."""
        for row in (self._times, self._received):
            row[:-1] = row[1:]
        self._node[:, :-1] = self._node[:, 1:]
        self._values[:, :-1] = self._values[:, 1:]
        self._times[-1] = round_.time_unix_s
        self._received[-1] = round_.received_unix_s
        self._node[:, -1] = (round_.node_cpu_s, round_.node_memory_bytes)
        for part, column in enumerate((round_.cpu_s, round_.memory_bytes, round_.started_unix_s, round_.throttled_s)):
            self._values[part, -1] = column
        self._count = min(self._count + 1, ROUNDS)

    def with_containers(self, containers: Sequence[ContainerId]) -> NodeColumns:
        """The same rounds for another set of containers."""
        other = NodeColumns(containers)
        other._count = self._count
        other._times, other._received, other._node = self._times, self._received, self._node
        kept = [(new, self._position[one]) for one, new in other._position.items() if one in self._position]
        if kept:
            new, old = (list(indexes) for indexes in zip(*kept, strict=True))
            other._values[:, :, new] = self._values[:, :, old]
        return other

    def cpu_rate(self, container: int, span: Span, *, demand: bool = False) -> Usage | None:
        """Cores used on average, with ``demand`` those that were wanted and denied as well; None if nothing is known.

        Only the container's present run counts. Where no earlier round of a young run is known, its start stands in
        for one, because the cgroup's counter began at zero then.
        """
        end = ROUNDS - 1 - span.back
        if end < ROUNDS - self._count or not self._values[_STARTED, end, container]:
            return None
        received, started = float(self._received[end]), float(self._values[_STARTED, end, container])
        used = self._cpu(end, container, demand=demand)
        if self._values[_STARTED, end - 1, container] == started and end - 1 >= ROUNDS - self._count:
            begin = self._begin(container, end=end, span=span)
            used -= self._cpu(begin, container, demand=demand)
            seconds = float(self._times[end] - self._times[begin])
        else:
            seconds = float(self._times[end]) - started
        if (
            not 0.0 < seconds <= max(LONGEST_FIRST_S, span.window_s + WINDOW_SLACK_S)
            or received - seconds < span.since_unix_s
        ):
            return None
        return Usage(max(0.0, used) / seconds, received - seconds, received)

    def _cpu(self, row: int, container: int, *, demand: bool) -> float:
        used = float(self._values[_CPU, row, container])
        return used + float(self._values[_THROTTLED, row, container]) if demand else used

    def _begin(self, container: int, *, end: int, span: Span) -> int:
        """The earliest round of the same run within the span; the one before ``end`` at least."""
        oldest = max(ROUNDS - self._count, end - span.intervals)
        earliest_s = max(
            self._times[end] - span.window_s - WINDOW_SLACK_S,
            self._times[end] - (self._received[end] - span.since_unix_s),
        )
        begin = end - 1
        while begin > oldest and self._times[begin - 1] >= earliest_s and self._same_run(container, begin - 1, end):
            begin -= 1
        return begin

    def _same_run(self, container: int, one: int, other: int) -> bool:
        return bool(self._values[_STARTED, one, container] == self._values[_STARTED, other, container])

    def memory(self, container: int) -> Usage | None:
        """The working set in the newest round, in bytes."""
        if not self._count or not self._values[_STARTED, -1, container]:
            return None
        return Usage(float(self._values[_MEMORY, -1, container]), self.received_unix_s, self.received_unix_s)

    def memory_peak(self, container: int, window_s: float) -> Usage | None:
        """The largest working set in the rounds of the last ``window_s`` seconds, in bytes."""
        now = self.memory(container)
        if now is None:
            return None
        begin = max(ROUNDS - self._count, int(np.searchsorted(self._times, self._times[-1] - window_s)))
        return Usage(
            float(self._values[_MEMORY, begin:, container].max()), now.window_start_unix_s, now.window_end_unix_s
        )

    def node_cpu_rate(self, span: Span) -> Usage | None:
        """Cores used by the whole node; None before the second round."""
        if self._count < 2:
            return None
        since = self._times[-1] - span.window_s - WINDOW_SLACK_S
        begin = next(index for index in range(ROUNDS - self._count, ROUNDS) if self._times[index] >= since)
        begin = min(begin, ROUNDS - 2)
        seconds = float(self._times[-1] - self._times[begin])
        used = float(self._node[0, -1] - self._node[0, begin])
        return Usage(max(0.0, used) / seconds, self.received_unix_s - seconds, self.received_unix_s)

    def node_memory(self) -> Usage:
        """The node's working set in the newest round, in bytes."""
        return Usage(float(self._node[1, -1]), self.received_unix_s, self.received_unix_s)
