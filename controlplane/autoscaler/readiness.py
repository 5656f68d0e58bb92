"""When each pod started, and when it last became ready or unready, more precisely than objects say.

``lastTransitionTime`` has whole seconds, and Kubernetes' rules compare it with windows of fifteen. Ours are of one to
five seconds, so the moment is taken when the change comes in, on the clock that samples are placed on: what nodes and
this machine take for the time of day decides nothing. Of a pod that was ready before this process looked, only the
second is known, and the end of it is assumed.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from datetime import datetime, timedelta

from controlplane.reconcile.clock import Clock
from controlplane.store.cache import CacheEvent
from flotilla.api.conditions import get_condition
from flotilla.api.objects import KubeObject, parse_time


@dataclass(frozen=True, slots=True)
class Readiness:
    """``changed`` is when ``ready`` became what it is; ``started`` is None of a pod that has not."""

    ready: bool
    changed: datetime
    started: datetime | None = None


class ReadinessTracker:
    """Fed with every event of every pod, in order. Pods that come again after a re-list are known already."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str, Readiness | None] = {}
        self._started: dict[str, datetime] = {}

    def observe(self, event: CacheEvent) -> None:
        """A pod has appeared, changed, or gone."""
        uid = event.entry.uid
        if event.type == "DELETED":
            self._known.pop(uid, None)
            self._started.pop(uid, None)
            return
        self._start(uid, event.entry.obj)
        condition = get_condition(event.entry.obj, "Ready")
        if condition is None:
            self._known[uid] = None
            return
        ready, known, now = condition.get("status") == "True", self._known.get(uid), self._clock()
        if known is None or known.ready != ready:
            changed = now if uid in self._known else _told(condition, now)
            self._known[uid] = Readiness(ready, changed, self._started.get(uid))

    def _start(self, uid: str, pod: KubeObject) -> None:
        told = (pod.get("status") or {}).get("startTime")
        if told and uid not in self._started:
            now = self._clock()
            self._started[uid] = now if uid in self._known else min(now, parse_time(told))

    def keep(self, uids: Set[str]) -> None:
        """Forget all other pods: of those that went while events were missed none will tell."""
        self._known = {uid: known for uid, known in self._known.items() if uid in uids}
        self._started = {uid: started for uid, started in self._started.items() if uid in uids}

    def of(self, uid: str) -> Readiness | None:
        """None if the pod has no such condition."""
        return self._known.get(uid)


def _told(condition: KubeObject, now: datetime) -> datetime:
    text = condition.get("lastTransitionTime")
    return min(now, parse_time(text) + timedelta(seconds=1)) if text else now
