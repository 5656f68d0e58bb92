"""Pod: its table columns. STATUS sums up phase, containers and deletion in one word, as kubectl's users know it.

Source: ``printPod`` in ``k8s.io/kubernetes/pkg/printers/internalversion``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flotilla.api.conditions import get_condition, is_true
from flotilla.api.durations import time_since
from flotilla.api.kinds.columns import AGE, NAME, NONE, column, spec_of, status_of
from flotilla.api.objects import KubeObject

Statuses = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class PodSummary:
    """What a table says of a pod; ``last_restart`` is the newest end of a container that was restarted."""

    status: str
    ready: int
    total: int
    restarts: int
    last_restart: str


def _state(status: Mapping[str, Any], kind: str) -> dict[str, Any] | None:
    state = (status.get("state") or {}).get(kind)
    return dict(state) if state is not None else None


def _exit_text(terminated: Mapping[str, Any]) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _sidecar_names(pod: Mapping[str, Any]) -> frozenset[str]:
    containers = spec_of(pod).get("initContainers") or ()
    return frozenset(container["name"] for container in containers if container.get("restartPolicy") == "Always")


def _first_uninitialized(pod: Mapping[str, Any], statuses: Statuses, sidecars: frozenset[str]) -> str:
    """The word for the init container that is waited for, ``""`` if all are done."""
    for index, status in enumerate(statuses):
        terminated, waiting = _state(status, "terminated"), _state(status, "waiting")
        if terminated is not None and terminated.get("exitCode", 0) == 0:
            continue
        if status.get("name") in sidecars and status.get("started"):
            continue
        if terminated is not None:
            return f"Init:{_exit_text(terminated)}"
        if waiting is not None and waiting.get("reason") not in (None, "", "PodInitializing"):
            return f"Init:{waiting['reason']}"
        return f"Init:{index}/{len(spec_of(pod).get('initContainers') or ())}"
    return ""


def _phase_text(pod: Mapping[str, Any]) -> str:
    scheduled = get_condition(pod, "PodScheduled")
    if scheduled is not None and scheduled.get("reason") == "SchedulingGated":
        return "SchedulingGated"
    return status_of(pod).get("reason") or status_of(pod).get("phase") or ""


def _containers_text(pod: Mapping[str, Any], statuses: Statuses, otherwise: str) -> str:
    """The word for the containers: the first one's reason wins, as in Kubernetes."""
    text, running = otherwise, False
    for status in reversed(statuses):
        waiting, terminated = _state(status, "waiting"), _state(status, "terminated")
        if waiting is not None and waiting.get("reason"):
            text = waiting["reason"]
        elif terminated is not None:
            text = _exit_text(terminated)
        elif status.get("ready") and _state(status, "running") is not None:
            running = True
    if text == "Completed" and running:
        return "Running" if is_true(pod, "Ready") else "NotReady"
    return text


def _status_text(pod: Mapping[str, Any], text: str) -> str:
    if not pod["metadata"].get("deletionTimestamp"):
        return text
    if status_of(pod).get("reason") == "NodeLost":
        return "Unknown"
    return text if status_of(pod).get("phase") in ("Succeeded", "Failed") else "Terminating"


def _last_restart(statuses: Iterable[Mapping[str, Any]]) -> str:
    ends = [((status.get("lastState") or {}).get("terminated") or {}).get("finishedAt") or "" for status in statuses]
    return max(ends, default="")


def summarize(pod: Mapping[str, Any]) -> PodSummary:
    """The pod's row in a table."""
    sidecars = _sidecar_names(pod)
    init: Statuses = status_of(pod).get("initContainerStatuses") or []
    main: Statuses = status_of(pod).get("containerStatuses") or []
    waited_for = _first_uninitialized(pod, init, sidecars)
    kept = [status for status in init if status.get("name") in sidecars]
    if waited_for and not is_true(pod, "Initialized"):
        text, counted = waited_for, init
        ready = [status for status in kept if status.get("started") and status.get("ready")]
    else:
        text, counted = _containers_text(pod, main, waited_for or _phase_text(pod)), [*kept, *main]
        ready = [status for status in counted if status.get("ready") and _state(status, "running") is not None]
    return PodSummary(
        status=_status_text(pod, text),
        ready=len(ready),
        total=len(spec_of(pod).get("containers") or ()) + len(sidecars),
        restarts=sum(status.get("restartCount", 0) for status in counted),
        last_restart=_last_restart(counted),
    )


class _Row:
    """The summary of the row that is being made: three cells are parts of it."""

    def __init__(self) -> None:
        self._pod: KubeObject = {}
        self._now: datetime | None = None
        self._summary: PodSummary | None = None

    def summary(self, pod: KubeObject, now: datetime) -> PodSummary:
        if self._summary is None or self._pod is not pod or self._now is not now:
            self._pod, self._now, self._summary = pod, now, summarize(pod)
        return self._summary


_row = _Row()


def _restarts(pod: KubeObject, now: datetime) -> str:
    summary = _row.summary(pod, now)
    if summary.restarts and summary.last_restart:
        return f"{summary.restarts} ({time_since(summary.last_restart, now)} ago)"
    return str(summary.restarts)


def _ready(pod: KubeObject, now: datetime) -> str:
    summary = _row.summary(pod, now)
    return f"{summary.ready}/{summary.total}"


def _gates(pod: KubeObject, now: datetime) -> str:
    gates = spec_of(pod).get("readinessGates") or ()
    met = sum(is_true(pod, gate.get("conditionType", "")) for gate in gates)
    return f"{met}/{len(gates)}" if gates else NONE


COLUMNS = (
    NAME,
    column("Ready", _ready, description="The aggregate readiness state of this pod for accepting traffic."),
    column(
        "Status", lambda pod, now: _row.summary(pod, now).status, description="The aggregate status of the containers."
    ),
    column("Restarts", _restarts, description="The number of times the containers in this pod have been restarted."),
    AGE,
    column("IP", lambda pod, now: status_of(pod).get("podIP") or NONE, description="The pod's address.", wide=True),
    column("Node", lambda pod, now: spec_of(pod).get("nodeName") or NONE, description="The pod's node.", wide=True),
    column(
        "Nominated Node",
        lambda pod, now: status_of(pod).get("nominatedNodeName") or NONE,
        description="The node on which room is made for the pod.",
        wide=True,
    ),
    column("Readiness Gates", _gates, description="Readiness gates met and in all.", wide=True),
)
