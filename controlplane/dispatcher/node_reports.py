"""What an agent says of its node, on its way into the Node object and the node's Lease.

Heartbeats don't touch the Node: they renew the Lease ``kube-node-lease/<node>`` every ten seconds, as Kubernetes does,
for other servers and for people. The Node is written when a report changes it, and when it is not ``Ready`` although
its agent is being heard.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from controlplane.dispatcher.node_objects import apply_identity, apply_status, lacks_extended
from controlplane.dispatcher.persisting import persist
from controlplane.dispatcher.statuses import MANAGER
from controlplane.reconcile.clock import Clock
from controlplane.reconcile.objects import Objects
from controlplane.store.cache import Cache
from flotilla.api.conditions import is_true
from flotilla.api.errors import ApiError
from flotilla.api.objects import KubeObject, format_micro_time, uid_of
from flotilla.api.resources import LEASES, NODES

logger = logging.getLogger(__name__)

LEASE_NAMESPACE = "kube-node-lease"
LEASE_DURATION_S = 40
RENEW_AFTER_S = 10.0


class NodeReports:
    """The newest report of each part wins; :meth:`run` writes it, however long the store is away."""

    def __init__(self, node: str, cache: Cache, objects: Objects, *, clock: Clock) -> None:
        self._node = node
        self._cache = cache
        self._objects = objects
        self._clock = clock
        self._identity: Mapping[str, Any] | None = None
        self._status: dict[str, Any] = {}
        self._pending = asyncio.Event()
        self._checked_revision = 0

    def hello(self, reported: Mapping[str, Any]) -> None:
        """The agent has introduced its node."""
        self._identity = reported
        self.status(reported.get("status") or {})

    def status(self, status: Mapping[str, Any]) -> None:
        """The agent reports these parts of the node's status anew."""
        self._status = {**self._status, **status}
        self._pending.set()

    def heard(self) -> None:
        """The agent was heard: a Node that says otherwise is put right."""
        entry = self._cache.get(NODES, "", self._node)
        if entry is not None and entry.revision != self._checked_revision:
            self._checked_revision = entry.revision
            if not is_true(entry.obj, "Ready") or lacks_extended(entry.obj):
                self._pending.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._pending.wait()
            self._pending.clear()
            await persist(self._write, what="node", node=self._node)

    async def _write(self) -> None:
        identity, status = self._identity, self._status
        if identity is not None:
            await self._mutate(lambda node: apply_identity(node, identity, pod_cidr=""), subresource="")
            self._identity = None
        await self._mutate(lambda node: apply_status(node, status, now=self._clock()), subresource="status")

    async def _mutate(self, edit: Callable[[KubeObject], None], *, subresource: str) -> None:
        entry = self._cache.get(NODES, "", self._node)
        if entry is not None and _edited(entry.copy(), edit) is None:
            return
        await self._objects.mutate(
            NODES, "", self._node, lambda node: _edited(node, edit), manager=MANAGER, subresource=subresource
        )


def _edited(node: KubeObject, edit: Callable[[KubeObject], None]) -> KubeObject | None:
    before = {part: _copy(node.get(part)) for part in ("metadata", "spec", "status")}
    edit(node)
    return None if all(node.get(part) == before[part] for part in before) else node


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(each) for key, each in value.items()}
    return [_copy(each) for each in value] if isinstance(value, list) else value


class NodeLease:
    """Renews the node's Lease while its agent is heard."""

    def __init__(self, node: str, cache: Cache, objects: Objects, *, clock: Clock) -> None:
        self._node = node
        self._cache = cache
        self._objects = objects
        self._clock = clock
        self._due = asyncio.Event()
        self._renewed: datetime | None = None

    def heard(self) -> None:
        """The agent was heard just now."""
        if self._renewed is None or (self._clock() - self._renewed).total_seconds() >= RENEW_AFTER_S:
            self._due.set()

    async def run(self) -> None:
        """Renew until cancelled. A failure is left to the next heartbeat."""
        while True:
            await self._due.wait()
            self._renewed = self._clock()
            self._due.clear()
            try:
                await self._renew(self._renewed)
            except ApiError as error:
                logger.info("lease_not_renewed", extra={"node": self._node, "error": error.message})

    async def _renew(self, now: datetime) -> None:
        def change(lease: KubeObject) -> KubeObject:
            lease["spec"] = {**(lease.get("spec") or {}), **self._spec(now)}
            return lease

        stored = await self._objects.mutate(LEASES, LEASE_NAMESPACE, self._node, change, manager=MANAGER)
        if stored is None:
            await self._objects.create(LEASES, self._lease(now), manager=MANAGER)

    def _spec(self, now: datetime) -> KubeObject:
        return {
            "holderIdentity": self._node,
            "leaseDurationSeconds": LEASE_DURATION_S,
            "renewTime": format_micro_time(now),
        }

    def _lease(self, now: datetime) -> KubeObject:
        metadata: KubeObject = {"name": self._node, "namespace": LEASE_NAMESPACE}
        node = self._cache.get(NODES, "", self._node)
        if node is not None:
            owner = {"apiVersion": "v1", "kind": "Node", "name": self._node, "uid": uid_of(node.obj)}
            metadata["ownerReferences"] = [owner]
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": self._spec(now),
        }
