"""Makes the Node of an agent that has introduced itself, with a network for its pods."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import Any

from controlplane.dispatcher.node_objects import apply_identity, new_node
from controlplane.dispatcher.pod_networks import pick_network
from controlplane.dispatcher.statuses import MANAGER
from controlplane.election import Election
from controlplane.reconcile.clock import Clock
from controlplane.reconcile.objects import Objects
from controlplane.store.cache import Cache
from flotilla.api.errors import unavailable
from flotilla.api.objects import KubeObject
from flotilla.api.resources import NODES

LEADERSHIP_WAIT_S = 5.0


class Registrar:
    """Registers nodes, one at a time where a network must be found."""

    def __init__(self, cache: Cache, objects: Objects, election: Election, *, cluster_cidr: str, clock: Clock) -> None:
        self._cache = cache
        self._objects = objects
        self._election = election
        self._cluster = IPv4Network(cluster_cidr)
        self._clock = clock
        self._allocating = asyncio.Lock()
        self._handed_out: dict[str, str] = {}

    async def register(self, node: str, reported: Mapping[str, Any]) -> str:
        """The node's network; the Node exists then. ApiError; NetworksExhaustedError.

        A Node that has its network already is not touched, so that agents return while the store is away.
        """
        return self._network_of(node) or await self._allocate(node, reported)

    def _network_of(self, node: str) -> str:
        entry = self._cache.get(NODES, "", node)
        network: str = (entry.obj.get("spec") or {}).get("podCIDR", "") if entry is not None else ""
        return network

    async def _allocate(self, node: str, reported: Mapping[str, Any]) -> str:
        await self._wait_leader()
        async with self._allocating:
            await self._cache.barrier()
            network = self._network_of(node)
            if network:
                return network
            preferred = str((reported.get("spec") or {}).get("podCIDR") or "")
            network = pick_network(self._cluster, self._taken(node), preferred=preferred)
            self._handed_out[node] = network
            return await self._write(node, reported, network)

    async def _wait_leader(self) -> None:
        try:
            async with asyncio.timeout(LEADERSHIP_WAIT_S):
                await self._election.wait_leader()
        except TimeoutError as error:
            raise unavailable("only the leader registers new nodes, and this server does not lead") from error

    def _taken(self, node: str) -> set[str]:
        """Networks in the cache, and those handed out whose Node the cache does not show yet."""
        networks = {entry.name: (entry.obj.get("spec") or {}).get("podCIDR", "") for entry in self._cache.list(NODES)}
        self._handed_out = {name: network for name, network in self._handed_out.items() if not networks.get(name)}
        return {network for name, network in {**networks, **self._handed_out}.items() if network and name != node}

    async def _write(self, node: str, reported: Mapping[str, Any], network: str) -> str:
        def change(existing: KubeObject) -> KubeObject:
            apply_identity(existing, reported, pod_cidr=network)
            return existing

        try:
            stored = await self._objects.mutate(NODES, "", node, change, manager=MANAGER)
            if stored is None:
                fresh = new_node(node, reported, pod_cidr=network, now=self._clock())
                stored = await self._objects.create(NODES, fresh, manager=MANAGER)
        except BaseException:
            del self._handed_out[node]
            raise
        written: str = stored["spec"]["podCIDR"]
        return written
