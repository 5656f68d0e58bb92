"""When each pod last became ready or unready, more precisely than objects say.

``lastTransitionTime`` has whole seconds, and Kubernetes' rules compare it with windows of fifteen. Ours are of one to
five seconds, so the moment is taken when the change comes in. Of a pod that was ready before this process looked, only
the second is known, and the end of it is assumed.
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
    """``changed`` is when ``ready`` became what it is."""

    ready: bool
    changed: datetime


class ReadinessTracker:
    """Fed with every event of every pod, in order. Pods that come again after a re-list are known already."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str, Readiness | None] = {}

    def observe(self, event: CacheEvent) -> None:
        """A pod has appeared, changed, or gone."""
        uid = event.entry.uid
        if event.type == "DELETED":
            self._known.pop(uid, None)
            return
        condition = get_condition(event.entry.obj, "Ready")
        if condition is None:
            self._known[uid] = None
            return
        ready, known, now = condition.get("status") == "True", self._known.get(uid), self._clock()
        if known is None or known.ready != ready:
            self._known[uid] = Readiness(ready, now if uid in self._known else _told(condition, now))

    def keep(self, uids: Set[str]) -> None:
        """Forget all other pods: of those that went while events were missed none will tell."""
        self._known = {uid: known for uid, known in self._known.items() if uid in uids}

    def of(self, uid: str) -> Readiness | None:
        """None if the pod has no such condition."""
        return self._known.get(uid)


def _told(condition: KubeObject, now: datetime) -> datetime:
    text = condition.get("lastTransitionTime")
    return min(now, parse_time(text) + timedelta(seconds=1)) if text else now
