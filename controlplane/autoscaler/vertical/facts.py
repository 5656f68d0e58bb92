"""What is read of a pod's object, kept for as long as the object stays as it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from controlplane.autoscaler.usage import PodState
from controlplane.autoscaler.vertical.sizing import amount_of, lasting_containers
from flotilla.api.conditions import get_condition
from flotilla.api.objects import KubeObject, is_deleting, name_of, parse_time

SOON_S = 600.0  # a kill within this time after the start means that what was given does not do


@dataclass(frozen=True, slots=True)
class Kill:
    """A container was killed because it was out of memory; ``soon`` if it had not run for long."""

    container: str
    at_s: float
    soon: bool


@dataclass(frozen=True, slots=True)
class PodFacts:
    """``requests`` are cores and bytes by container and resource; ``pending`` and ``failing`` are reasons, or empty.

    ``in_flight`` while the node has not yet put the newest resources into force; a pod that is pending or failing is
    not. ``started_s`` is Unix time, infinite while it is not known.
    """

    name: str
    running: bool
    started_s: float
    requests: Mapping[str, Mapping[str, int]]
    kills: tuple[Kill, ...]
    pending: str
    failing: str
    in_flight: bool


@dataclass(slots=True)
class FactsCache:
    """Facts by pod, read anew when the object has changed."""

    _known: dict[str, tuple[int, PodFacts]] = field(default_factory=dict)

    def of(self, pod: PodState) -> PodFacts:
        revision, facts = self._known.get(pod.uid, (-1, None))
        if facts is None or revision != pod.revision:
            facts = read_facts(pod.obj)
            self._known[pod.uid] = (pod.revision, facts)
        return facts

    def keep(self, uids: Set[str]) -> None:
        """Forget all other pods."""
        self._known = {uid: known for uid, known in self._known.items() if uid in uids}


def read_facts(pod: KubeObject) -> PodFacts:
    """The facts of one pod."""
    status = pod.get("status") or {}
    pending, failing = (get_condition(pod, kind) or {} for kind in ("PodResizePending", "PodResizeInProgress"))
    started = status.get("startTime")
    waits = pending.get("status") == "True"
    fails = failing.get("status") == "True" and failing.get("reason") == "Error"
    return PodFacts(
        name=name_of(pod),
        running=status.get("phase") == "Running" and not is_deleting(pod),
        started_s=parse_time(started).timestamp() if started else math.inf,
        requests={
            each["name"]: {name: amount_of(each, "requests", name) or 0 for name in ("cpu", "memory")}
            for each in lasting_containers(pod["spec"])
        },
        kills=tuple(kill for each in _statuses(status) for kill in _kills(each)),
        pending=str(pending.get("reason") or "Deferred") if waits else "",
        failing=str(failing.get("message") or "it can't be resized") if fails else "",
        in_flight=not waits and not fails and _in_flight(pod, failing),
    )


def _statuses(status: Mapping[str, Any]) -> list[KubeObject]:
    return [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]


def _kills(container: Mapping[str, Any]) -> list[Kill]:
    ends = [(container.get(state) or {}).get("terminated") for state in ("lastState", "state")]
    found = []
    for end in ends:
        if end and end.get("reason") == "OOMKilled" and end.get("finishedAt") and end.get("startedAt"):
            began, ended = (parse_time(end[name]).timestamp() for name in ("startedAt", "finishedAt"))
            found.append(Kill(container["name"], ended, ended - began < SOON_S))
    return found


def _in_flight(pod: KubeObject, in_progress: Mapping[str, Any]) -> bool:
    if in_progress.get("status") == "True":
        return True
    given = {each["name"]: each.get("resources") for each in _statuses(pod.get("status") or {})}
    for container in lasting_containers(pod["spec"]):
        resources = given.get(container["name"])
        if resources is not None and _amounts(resources) != _amounts(container.get("resources") or {}):
            return True
    return False


def _amounts(resources: Mapping[str, Any]) -> list[int | None]:
    of = {"resources": resources}
    return [amount_of(of, part, name) for part in ("requests", "limits") for name in ("cpu", "memory")]
