"""Keeping the node's service rules and DNS records at what has been assigned.

One task, one change at a time: while a transaction runs, whatever arrives is gathered for the next one. It also knows
which pod addresses the rules lead to, so that a pod can be stopped only after clients are no longer sent to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Protocol

from flotilla.api.objects import KubeObject
from nodeagent.assigned import ENDPOINT_SLICES, SERVICES, Assignments
from nodeagent.dns.zone import write_zone
from nodeagent.network.services import ServiceTableError
from nodeagent.waking.held import HELD_NAME, held_ports, write_held

logger = logging.getLogger(__name__)

LEAVE_TIMEOUT_S = 1.0
RETRY_S = 1.0


class Table(Protocol):
    """The node's service rules."""

    def sync(self, services: Sequence[KubeObject], slices: Sequence[KubeObject]) -> bool: ...


def ready_addresses(slices: Iterable[KubeObject]) -> frozenset[str]:
    """The pod addresses that services lead to."""
    return frozenset(
        address
        for each in slices
        for endpoint in each.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready") is not False
        for address in endpoint.get("addresses") or ()
    )


class ServiceSync:
    """Applies assigned services to ``table`` and the zone file. ``zone_path`` is what the DNS process reads."""

    def __init__(self, assignments: Assignments, *, zone_path: Path, executor: Executor) -> None:
        self._assignments, self._zone_path, self._executor = assignments, zone_path, executor
        self._table: Table | None = None
        self._domain = ""
        self._dirty = asyncio.Event()
        self._applied = asyncio.Condition()
        self._serving: frozenset[str] = frozenset()
        self.in_sync = False

    def configure(self, table: Table, *, domain: str) -> None:
        """From now on apply to this table, and name services in this domain."""
        self._table, self._domain = table, domain
        self.changed()

    def changed(self) -> None:
        """Services or endpoints have been assigned anew."""
        self._dirty.set()

    async def run(self) -> None:
        """Apply until cancelled."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            if self._table is None:
                continue
            services, slices = self._assignments.all(SERVICES), self._assignments.all(ENDPOINT_SLICES)
            try:
                await asyncio.get_running_loop().run_in_executor(self._executor, self._apply, services, slices)
            except (ServiceTableError, OSError) as error:
                self.in_sync = False
                logger.error("services_not_applied", extra={"error": str(error)})
                asyncio.get_running_loop().call_later(RETRY_S, self._dirty.set)
            else:
                self.in_sync = True
                async with self._applied:
                    self._serving = ready_addresses(slices)
                    self._applied.notify_all()

    def _apply(self, services: list[KubeObject], slices: list[KubeObject]) -> None:
        assert self._table is not None
        self._table.sync(services, slices)
        write_zone(self._zone_path, services, slices, domain=self._domain)
        write_held(self._zone_path.with_name(HELD_NAME), held_ports(services, slices))

    async def out_of_service(self, ip: str) -> None:
        """Return once no service on this node leads to the address; after a second in any case."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_TIMEOUT_S), self._applied:
                await self._applied.wait_for(lambda: ip not in self._serving)
