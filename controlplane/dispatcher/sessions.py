"""The sessions that this server has, one a node, and when each node was last heard.

This is what the node lifecycle controller judges nodes by. Silence is counted on a clock that leaves this server's own
stalls out, from the latest of: the last message, the end of a hold that the agent announced, and the moment this server
began to judge (it took over the leadership with a synced cache). What the stretched heartbeat period explains is no
silence either.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Generic, Protocol, TypeVar

from controlplane.dispatcher.alive_clock import AliveClock

BASE_PERIOD_S = 1.0
HEARTBEAT_COST_S = 95e-6  # of one core, for one message each way
HEARTBEAT_SHARE = 0.1  # of one core, for all heartbeats together
LONGEST_HOLD_S = 300.0


def heartbeat_period_s(nodes: int) -> float:
    """How often an agent reports: each second, less often once that would cost more than a tenth of a core."""
    return max(BASE_PERIOD_S, nodes * HEARTBEAT_COST_S / HEARTBEAT_SHARE)


class Replaceable(Protocol):
    """A session as this registry sees it."""

    @property
    def node(self) -> str: ...

    def replace(self) -> None:
        """End, because the node has opened another session."""


SessionT = TypeVar("SessionT", bound=Replaceable)


class Sessions(Generic[SessionT]):
    """Which nodes are connected, and for how long they have been silent. Implements ``NodeLiveness``."""

    def __init__(self, clock: AliveClock) -> None:
        self._clock = clock
        self._open: dict[str, SessionT] = {}
        self._contacts: dict[str, float] = {}
        self._holds: dict[str, float] = {}
        self._judging_since = clock.now()
        self._readers: set[asyncio.Queue[str]] = set()

    def __len__(self) -> int:
        return len(self._open)

    def all(self) -> list[SessionT]:
        return list(self._open.values())

    def of(self, node: str) -> SessionT | None:
        return self._open.get(node)

    def open(self, session: SessionT) -> None:
        """Make it the node's session; an earlier one is ended."""
        earlier = self._open.get(session.node)
        self._open[session.node] = session
        self._holds.pop(session.node, None)
        self.contact(session.node)
        self._tell(session.node)
        if earlier is not None:
            earlier.replace()

    def close(self, session: SessionT) -> None:
        """Forget it, unless another has taken its place."""
        if self._open.get(session.node) is session:
            del self._open[session.node]
            self._tell(session.node)

    def contact(self, node: str) -> None:
        """The node was heard just now."""
        self._contacts[node] = self._clock.now()

    def hold(self, node: str, seconds: float) -> None:
        """The agent stops on purpose: its silence counts only after ``seconds`` (300 at most)."""
        self._holds[node] = self._clock.now() + min(max(seconds, 0.0), LONGEST_HOLD_S)

    def forget(self, node: str) -> None:
        """The node no longer exists."""
        self._contacts.pop(node, None)
        self._holds.pop(node, None)

    def judge_from_now(self) -> None:
        """This server leads with a synced cache from now on: earlier silence does not count."""
        self._judging_since = self._clock.now()

    def connected(self, node: str) -> bool:
        return node in self._open

    def last_contact(self, node: str) -> float | None:
        """On the alive clock; None if the node was never heard by this process."""
        return self._contacts.get(node)

    def held_until(self, node: str) -> float | None:
        """On the alive clock; None without a hold."""
        return self._holds.get(node)

    def period_s(self) -> float:
        """The heartbeat period for as many sessions as there are."""
        return heartbeat_period_s(len(self._open))

    def silent_for_s(self, node: str) -> float:
        """Seconds of silence that count against the node."""
        heard = max(self._contacts.get(node, 0.0), self._holds.get(node, 0.0), self._judging_since)
        explained_s = self.period_s() - BASE_PERIOD_S
        return max(0.0, self._clock.now() - heard - explained_s)

    def held_for_s(self, node: str) -> float:
        """Seconds left of an announced hold."""
        return max(0.0, self._holds.get(node, 0.0) - self._clock.now())

    async def changed(self) -> AsyncIterator[str]:
        """The name of each node whose session opens or ends, from the first read on."""
        names: asyncio.Queue[str] = asyncio.Queue()
        self._readers.add(names)
        try:
            while True:
                yield await names.get()
        finally:
            self._readers.discard(names)

    def _tell(self, node: str) -> None:
        for names in self._readers:
            names.put_nowait(node)
