"""Pod statuses of one node, on their way into the API.

The newest report of a pod wins: one that is overtaken while it waits is never written. Pods are written side by side,
each pod in order. An acknowledgement covers every report up to its number, so it stops short of the oldest one that is
not stored yet. A pod that has ended and was to be deleted is removed once its last status is stored.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import msgspec

from controlplane.dispatcher.metrics import STATUS_WRITES
from controlplane.dispatcher.persisting import persist
from controlplane.dispatcher.pod_status import merged_status
from controlplane.reconcile.objects import Objects
from flotilla.api.errors import ApiError
from flotilla.api.objects import KubeObject, decode, is_deleting, uid_of
from flotilla.api.resources import PODS
from protos import dispatcher_pb2 as pb

logger = logging.getLogger(__name__)

MANAGER = "flotilla-agent"


@dataclass(frozen=True, slots=True)
class Report:
    """One pod's status as its node sees it."""

    namespace: str
    name: str
    uid: str
    sequence: int
    status: KubeObject
    terminated: bool


class StatusWriter:
    """Takes reports by :meth:`offer`; ``acknowledge`` is called with the number up to which all is stored.

    ``limiter`` bounds the writes in flight of all nodes together.
    """

    def __init__(
        self, node: str, objects: Objects, *, limiter: asyncio.Semaphore, acknowledge: Callable[[int], None]
    ) -> None:
        self._node = node
        self._objects = objects
        self._limiter = limiter
        self._acknowledge = acknowledge
        self._tasks: asyncio.TaskGroup | None = None
        self._pending: dict[str, Report] = {}
        self._writing: set[str] = set()
        self._oldest_unsaved: dict[str, int] = {}
        self._highest = 0
        self._acknowledged = 0

    async def run(self) -> None:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for uid in self._pending:
                self._start(uid)
            await asyncio.get_running_loop().create_future()

    def offer(self, statuses: Iterable[pb.PodStatus]) -> None:
        """Take a batch; what can't be read is logged and counts as stored."""
        for status in statuses:
            self._highest = max(self._highest, status.sequence)
            report = _report(status, self._node)
            if report is not None:
                self._take(report)
        self._tell()

    def _take(self, report: Report) -> None:
        waiting = self._pending.get(report.uid)
        if waiting is not None and waiting.sequence >= report.sequence:
            return
        self._pending[report.uid] = report
        self._oldest_unsaved.setdefault(report.uid, report.sequence)
        self._start(report.uid)

    def _start(self, uid: str) -> None:
        if self._tasks is not None and uid not in self._writing:
            self._writing.add(uid)
            self._tasks.create_task(self._write_pod(uid), name=f"status {uid}")

    async def _write_pod(self, uid: str) -> None:
        try:
            while (report := self._pending.pop(uid, None)) is not None:
                with STATUS_WRITES.time():
                    await persist(partial(self._store, report), what="pod status", node=self._node)
                newer = self._pending.get(uid)
                if newer is not None:
                    self._oldest_unsaved[uid] = newer.sequence
                else:
                    self._oldest_unsaved.pop(uid, None)
                self._tell()
        finally:
            self._writing.discard(uid)

    def _tell(self) -> None:
        covered = min(self._oldest_unsaved.values(), default=self._highest + 1) - 1
        if covered > self._acknowledged:
            self._acknowledged = covered
            self._acknowledge(covered)

    async def _store(self, report: Report) -> None:
        def change(pod: KubeObject) -> KubeObject | None:
            if uid_of(pod) != report.uid or pod["spec"].get("nodeName") != self._node:
                return None
            current = pod.get("status") or {}
            status = merged_status(current, report.status)
            return None if status == current else {**pod, "status": status}

        async with self._limiter:
            pod = await self._objects.mutate(
                PODS, report.namespace, report.name, change, manager=MANAGER, subresource="status"
            )
            if pod is not None and report.terminated and self._may_go(pod, report):
                await self._remove(report)

    def _may_go(self, pod: KubeObject, report: Report) -> bool:
        return uid_of(pod) == report.uid and is_deleting(pod) and pod["spec"].get("nodeName") == self._node

    async def _remove(self, report: Report) -> None:
        try:
            await self._objects.delete(
                PODS, report.namespace, report.name, manager=MANAGER, uid=report.uid, grace_period_s=0
            )
        except ApiError as error:
            # Gone already, or another pod of the same name has taken its place.
            if error.reason not in ("NotFound", "Conflict"):
                raise


def _report(status: pb.PodStatus, node: str) -> Report | None:
    try:
        content = decode(status.status_json)
    except msgspec.DecodeError as error:
        logger.warning("status_unreadable", extra={"node": node, "pod": status.name, "error": str(error)})
        return None
    if not isinstance(content, dict):
        logger.warning("status_unreadable", extra={"node": node, "pod": status.name, "error": "not an object"})
        return None
    return Report(status.namespace, status.name, status.uid, status.sequence, content, status.terminated)
