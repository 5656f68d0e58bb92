"""Requests that wait on nodes for workloads at zero: who is rung for, and whom that concerns."""

from __future__ import annotations

import asyncio

from controlplane.autoscaler.evaluation import bounds_of
from controlplane.autoscaler.target import TargetError, find_target
from controlplane.reconcile.controller import ObjectKey
from controlplane.store.cache import Cache
from flotilla.api.resources import HORIZONTAL_POD_AUTOSCALERS, SERVICES
from flotilla.api.selectors import label_selector_of_map


class WakeCalls:
    """Services that nodes have rung for; for one loop and one reader."""

    def __init__(self) -> None:
        self._rung: set[tuple[str, str]] = set()
        self._ringing = asyncio.Event()

    def ring(self, namespace: str, service: str) -> None:
        """Requests to the service wait on some node."""
        self._rung.add((namespace, service))
        self._ringing.set()

    async def rung(self) -> set[tuple[str, str]]:
        """The services rung for since the last call; at least one."""
        await self._ringing.wait()
        self._ringing.clear()
        rung, self._rung = self._rung, set()
        return rung


def sleepers(cache: Cache, namespace: str, service: str) -> list[ObjectKey]:
    """The autoscalers that may leave their target at zero and whose target's pods the service selects."""
    entry = cache.get(SERVICES, namespace, service)
    if entry is None:
        return []
    selector = label_selector_of_map(entry.obj["spec"].get("selector"))
    found = []
    for scaler in cache.list(HORIZONTAL_POD_AUTOSCALERS, namespace):
        if bounds_of(scaler.obj).minimum:
            continue
        try:
            target = find_target(cache, scaler.obj).entry.obj
        except TargetError:
            continue
        template = (target.get("spec") or {}).get("template") or {}
        if selector.matches((template.get("metadata") or {}).get("labels") or {}):
            found.append((scaler.namespace, scaler.name))
    return found
