"""The pods of the API that stand for static ones, as the node sees them.

The node says which mirrors there have to be, and a server makes and removes them; what the node then is assigned shows
which there are. One that is being deleted is let go at once, since nothing runs for it, and asked for again: the
static pod goes on. Statuses, streams and figures of a static pod go by the name and uid of its mirror.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Protocol

from flotilla.api.mirrors import MIRROR_ANNOTATION
from flotilla.api.objects import KubeObject, annotations_of, is_deleting, uid_of
from nodeagent.static_pods.manifests import is_static, mirror_of

RETRY_PERIOD_S = 2.0


class MirrorUplink(Protocol):
    """Carries the wanted mirrors to a server, each call anew."""

    def mirrors_wanted(self, pods: list[KubeObject]) -> None: ...


class StatusSink(Protocol):
    """Where the status of a pod of the API goes."""

    def __call__(self, pod: KubeObject, status: KubeObject, *, terminated: bool) -> None: ...


class Mirrors:
    """Ties static pods, by uid, to their mirrors. Lives on the agent's event loop."""

    def __init__(self, uplink: MirrorUplink, report: StatusSink) -> None:
        self._uplink, self._report = uplink, report
        self._wanted: Mapping[str, KubeObject] | None = None
        self._there: dict[str, KubeObject] = {}
        self._static_uids: dict[str, str] = {}
        self._let_go: set[str] = set()
        self._statuses: dict[str, KubeObject] = {}
        self._unsettled = asyncio.Event()

    async def run(self) -> None:
        """Ask again while mirrors are missing or too many, until cancelled."""
        while True:
            await self._unsettled.wait()
            if self._wanted is not None:
                self._uplink.mirrors_wanted([mirror_of(pod) for pod in self._wanted.values()])
            self._unsettled.clear()
            await asyncio.sleep(RETRY_PERIOD_S)
            self._judge()

    def want(self, pods: Mapping[str, KubeObject]) -> None:
        """These are the static pods now, by uid; nothing is asked for before they are known."""
        self._wanted = dict(pods)
        self._unsettled.set()

    def assigned(self, mirrors: Iterable[KubeObject]) -> None:
        """These are the mirrors of the node that the API has."""
        before, self._there = self._there, {}
        self._static_uids = {}
        for mirror in mirrors:
            static_uid = annotations_of(mirror)[MIRROR_ANNOTATION]
            self._there[static_uid] = mirror
            self._static_uids[uid_of(mirror)] = static_uid
            known = before.get(static_uid)
            self._greet(mirror, static_uid, known=known is not None and uid_of(known) == uid_of(mirror))
        for mirror in before.values():
            if uid_of(mirror) not in self._static_uids:
                self._let_go.discard(uid_of(mirror))
                self._report(mirror, {}, terminated=True)
        self._judge()

    def _greet(self, mirror: KubeObject, static_uid: str, *, known: bool) -> None:
        """Give a new mirror the status that it stands for, and one that is to go its leave."""
        status = self._statuses.get(static_uid)
        if is_deleting(mirror):
            if uid_of(mirror) not in self._let_go:
                self._let_go.add(uid_of(mirror))
                self._report(mirror, status or mirror.get("status") or {}, terminated=True)
        elif status is not None and not known:
            self._report(mirror, status, terminated=False)

    def _judge(self) -> None:
        if self._wanted is not None and self._wanted.keys() != self._there.keys():
            self._unsettled.set()

    def report(self, pod: KubeObject, status: KubeObject, *, terminated: bool) -> None:
        """Pass on the status of a pod; that of a static one in its mirror's name, once there is one."""
        if not is_static(pod):
            self._report(pod, status, terminated=terminated)
            return
        if terminated:
            self._statuses.pop(uid_of(pod), None)
        else:
            self._statuses[uid_of(pod)] = status
        mirror = self._there.get(uid_of(pod))
        if mirror is not None and uid_of(mirror) not in self._let_go:
            self._report(mirror, status, terminated=terminated)

    def shown(self, pod: KubeObject) -> KubeObject:
        """The pod as the API knows it: a static one's mirror, if there is one."""
        return self._there.get(uid_of(pod), pod) if is_static(pod) else pod

    def static_uid(self, uid: str) -> str:
        """The uid that a pod of the API has on this node."""
        return self._static_uids.get(uid, uid)
