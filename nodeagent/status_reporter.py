"""Pod statuses on their way to a server: of each pod the newest.

A stream loses nothing, so a status is sent once a session; a new session starts with the newest status of every pod,
which covers whatever the one before did not get through. The report that a pod has ended is kept until it is
acknowledged, everything else until the next one.

What a person or a controller waits for (ready or not, an end, a restart, an error) goes at once. The steps of a pod's
start are held back for a moment, because the next one usually overtakes them and each costs the cluster a write.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flotilla.api.objects import KubeObject, encode, name_of, namespace_of, uid_of

HOLD_BACK_S = 0.1
_ORDINARY_WAITS = ("ContainerCreating", "PodInitializing")


@dataclass(frozen=True, slots=True)
class StatusReport:
    """One pod's status as it travels; ``due_s`` (on the reporter's clock) is when it should go."""

    namespace: str
    name: str
    uid: str
    sequence: int
    status_json: bytes
    terminated: bool
    due_s: float


def pressing_part(status: Mapping[str, Any]) -> tuple[Any, ...]:
    """The part of a status whose change must not be held back."""
    ready = next((each["status"] for each in status.get("conditions") or () if each["type"] == "Ready"), "False")
    containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    details = [(each["restartCount"], _pressing_state(each["state"])) for each in containers]
    final = status.get("phase") if status.get("phase") in ("Succeeded", "Failed") else ""
    return ready, final, tuple(detail for detail in details if detail != (0, ""))


def _pressing_state(state: Mapping[str, Any]) -> str:
    if "terminated" in state:
        return "terminated"
    reason = (state.get("waiting") or {}).get("reason") or ""
    return "" if reason in _ORDINARY_WAITS else str(reason)


@dataclass(slots=True)
class _Known:
    report: StatusReport
    pressing: tuple[Any, ...]


_NOTHING: tuple[Any, ...] = pressing_part({})


class StatusReporter:
    """Keeps the newest report of each pod; ``wake`` is called when there is a new one. For one thread."""

    def __init__(self, wake: Callable[[], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._wake, self._clock = wake, clock
        self._known: dict[str, _Known] = {}
        self._sequence = 0

    def report(self, pod: KubeObject, status: KubeObject, *, terminated: bool) -> None:
        """The status of a pod has changed. ``terminated``: the node holds nothing of the pod any more."""
        uid, now, pressing = uid_of(pod), self._clock(), pressing_part(status)
        before = self._known.get(uid)
        urgent = terminated or pressing != (before.pressing if before is not None else _NOTHING)
        due_s = now if urgent else now + HOLD_BACK_S
        if before is not None and before.report.due_s > now:
            due_s = min(due_s, before.report.due_s)
        self._sequence += 1
        content = encode(status)
        report = StatusReport(namespace_of(pod), name_of(pod), uid, self._sequence, content, terminated, due_s)
        self._known[uid] = _Known(report, pressing)
        self._wake()

    def newest(self) -> list[StatusReport]:
        """The newest report of every pod."""
        return [known.report for known in self._known.values()]

    def ended(self) -> list[StatusReport]:
        """The reports of pods that have ended, which wait to be stored."""
        return [known.report for known in self._known.values() if known.report.terminated]

    def forget(self, uid: str) -> None:
        """An ended pod's report is stored."""
        del self._known[uid]


@dataclass(slots=True)
class StatusCursor:
    """What one session has sent of a reporter's statuses."""

    reporter: StatusReporter
    sent: dict[str, int] = field(default_factory=dict)

    def take(self, now_s: float) -> tuple[list[StatusReport], float | None]:
        """Reports to send now, and when the next one is due (None: none is waiting)."""
        waiting = [each for each in self.reporter.newest() if self.sent.get(each.uid, 0) < each.sequence]
        ready = [each for each in waiting if each.due_s <= now_s]
        self.sent.update((each.uid, each.sequence) for each in ready)
        return ready, min((each.due_s for each in waiting if each.due_s > now_s), default=None)

    def acknowledged(self, sequence: int) -> None:
        """The server has stored every report that this session sent up to that number."""
        for report in self.reporter.ended():
            if self.sent.get(report.uid) == report.sequence and report.sequence <= sequence:
                self.reporter.forget(report.uid)
                del self.sent[report.uid]
