"""The ids of the node that stand for a pod's own users and groups; pure.

Ids 0 to 65535 of a pod are a range of the node's that no one else has: neither other pods, nor accounts, nor what
shadow hands out to accounts (100000 to 600100000, login.defs(5)) or systemd to services and machines (up to 1879048191,
and from 2147352576). What lies between those holds 4094 ranges.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from flotilla.api.objects import KubeObject

RANGE_SIZE = 65536
FIRST_ID = 0x7000_0000
RANGES = (0x7FFE_0000 - FIRST_ID) // RANGE_SIZE


class RangesExhaustedError(Exception):
    """Every range of ids is a live pod's."""


@dataclass(frozen=True, slots=True)
class PodUsers:
    """A pod's users: its id ``n`` is ``first_id + n`` on the node, their namespace is pinned at ``namespace``."""

    first_id: int
    namespace: str

    def mappings(self) -> list[KubeObject]:
        """``uidMappings`` and ``gidMappings`` of the OCI configuration."""
        return [{"containerID": 0, "hostID": self.first_id, "size": RANGE_SIZE}]


def choose_range(taken: Collection[int], *, preferred: int) -> int:
    """The first id of a range that is not in ``taken`` (first ids): that numbered ``preferred``, or the next free one.

    Agents that share a machine keep apart by preferring different numbers. Raises RangesExhaustedError.
    """
    for step in range(RANGES):
        first_id = FIRST_ID + (preferred + step) % RANGES * RANGE_SIZE
        if first_id not in taken:
            return first_id
    raise RangesExhaustedError(f"no free range of user ids: {len(taken)} in use")
