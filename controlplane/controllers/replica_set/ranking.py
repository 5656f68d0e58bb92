"""Which pods go first when a ReplicaSet shrinks.

Source: Kubernetes' ``ActivePodsWithRanks``: not assigned before assigned, pending before unknown before running, not
ready before ready, lower deletion cost first, crowded nodes first, ready for a shorter time first, more restarts
first, younger first. Times count by powers of two, so that among pods of about one age chance (the uid) decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flotilla.api.conditions import get_condition
from flotilla.api.objects import KubeObject, annotations_of, name_of, parse_time, uid_of

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pod of the ReplicaSet that may have to go."""

    name: str
    uid: str
    node: str
    phase: str
    ready_since: datetime | None
    created: datetime
    cost: int
    restarts: int


def candidate(pod: KubeObject) -> Candidate:
    """What the ranking needs to know of an active pod."""
    status = pod.get("status") or {}
    ready = get_condition(pod, "Ready")
    created = parse_time(pod["metadata"]["creationTimestamp"])
    ready_since = None
    if ready is not None and ready["status"] == "True":
        ready_since = parse_time(ready["lastTransitionTime"]) if ready.get("lastTransitionTime") else created
    return Candidate(
        name=name_of(pod),
        uid=uid_of(pod),
        node=pod["spec"].get("nodeName") or "",
        phase=status.get("phase") or "Pending",
        ready_since=ready_since,
        created=created,
        cost=_deletion_cost(annotations_of(pod)),
        restarts=_restarts(status),
    )


def _deletion_cost(annotations: Mapping[str, str]) -> int:
    try:
        return int(annotations.get(DELETION_COST, "0"))
    except ValueError:
        return 0


def _restarts(status: Mapping[str, Any]) -> int:
    statuses = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    return max((each.get("restartCount") or 0 for each in statuses), default=0)


def _age_bucket(moment: datetime, now: datetime) -> int:
    seconds = (now - moment).total_seconds()
    return -1 if seconds <= 0 else int(math.log2(seconds * 1e9))


def choose(
    candidates: Iterable[Candidate], count: int, *, crowd: Mapping[str, int], now: datetime
) -> tuple[Candidate, ...]:
    """The ``count`` pods to delete. ``crowd`` has, per node, how many active pods of the same owner run there."""

    def rank(pod: Candidate) -> tuple[Any, ...]:
        ready_bucket = -1 if pod.ready_since is None else _age_bucket(pod.ready_since, now)
        return (
            pod.node != "",
            _PHASES.get(pod.phase, 1),
            pod.ready_since is not None,
            pod.cost,
            -crowd.get(pod.node, 0),
            ready_bucket,
            -pod.restarts,
            _age_bucket(pod.created, now),
            pod.uid,
        )

    return tuple(sorted(candidates, key=rank)[:count])
