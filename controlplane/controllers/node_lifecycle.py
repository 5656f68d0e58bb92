"""Judges nodes lost and found."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol


class NodeLiveness(Protocol):
    """What the dispatcher knows of the agents' sessions."""

    def connected(self, node: str) -> bool:
        """Whether a session of the node is open."""

    def silent_for_s(self, node: str) -> float:
        """Seconds since the last message of the node arrived, ``inf`` if none ever did."""

    def held_for_s(self, node: str) -> float:
        """Seconds for which an announced stop of the agent still excuses its silence; 0 if it announced none."""

    def changed(self) -> AsyncIterator[str]:
        """The name of a node each time that its session opens or ends, from now on, until the consumer stops."""
