"""A pod's status, shaped as the kubelet shapes it.

A pure function of spec and state: phase, conditions with their transition times, and one status for each container.
Users, controllers and tools read these words, so they are the kubelet's (``pkg/kubelet/kubelet_pods.go``,
``status/generate.go``), messages included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flotilla.api.conditions import get_condition, set_condition
from flotilla.api.objects import KubeObject, format_time
from flotilla.api.workloads import qos_class
from nodeagent.container_mounts import mount_statuses
from nodeagent.lifecycle import (
    ephemeral_containers,
    finished,
    init_containers,
    init_done,
    initialized,
    is_sidecar,
    main_containers,
    will_restart,
)
from nodeagent.pod_state import ContainerState, Ended, PodState, Run
from nodeagent.restarts import restart_delay_s

IMAGE_BACK_OFF_AFTER_S = 1.0
# Failed pulls that are told as a back-off until they are tried again.
BACKING_OFF = ("ErrImagePull", "SignatureValidationFailed")
START_ERROR = "StartError"


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """What every pod's status says of its node: the address, and the runtime's name as the scheme of container ids."""

    host_ip: str
    runtime: str


def build_status(
    pod: Mapping[str, Any],
    state: PodState,
    *,
    previous: Mapping[str, Any],
    node: NodeIdentity,
    now: float,
    clock_set_by_s: float = 0.0,
) -> KubeObject:
    """The PodStatus at ``now`` (steady Unix seconds). ``previous`` is the status before: it has the transition times.

    ``clock_set_by_s`` is how far the time of day, which conditions are stamped with, is ahead of ``now``.
    """
    told = now + clock_set_by_s
    mains = [_container_status(pod, each, state, init=False, node=node, now=now) for each in main_containers(pod)]
    inits = [_container_status(pod, each, state, init=True, node=node, now=now) for each in init_containers(pod)]
    added = [_container_status(pod, each, state, init=False, node=node, now=now) for each in ephemeral_containers(pod)]
    phase = _phase(pod, state, previous)
    status: KubeObject = {
        "phase": phase,
        "conditions": [
            *_conditions(pod, state, previous, statuses=mains, inits=inits, phase=phase, now=told),
            *_resize_conditions(pod, state, previous, now=told),
            *_disruption(pod, state, previous, now=told),
        ],
        "hostIP": node.host_ip,
        "hostIPs": [{"ip": node.host_ip}],
    }
    if pod["metadata"].get("generation"):
        status["observedGeneration"] = pod["metadata"]["generation"]
    if state.sandbox is not None:
        status |= {"podIP": state.sandbox.ip, "podIPs": [{"ip": state.sandbox.ip}]}
    status["startTime"] = _time(state.start_time_unix_s)
    if inits:
        status["initContainerStatuses"] = inits
    status["containerStatuses"] = mains
    if added:
        status["ephemeralContainerStatuses"] = added
    status["qosClass"] = qos_class(pod["spec"])
    if state.stop is not None and state.stop.reason:
        status |= {"reason": state.stop.reason, "message": state.stop.message}
    return status


def next_change_unix_s(pod: Mapping[str, Any], state: PodState, now: float) -> float | None:
    """When the status will read differently though nothing happens (a failed pull becomes a back-off)."""
    moments = [
        each.record.waiting.since_unix_s + IMAGE_BACK_OFF_AFTER_S
        for each in state.containers.values()
        if each.record.waiting is not None and each.record.waiting.reason in BACKING_OFF
    ]
    return min((moment for moment in moments if moment > now), default=None)


def _time(unix_s: float) -> str:
    return format_time(datetime.fromtimestamp(unix_s, UTC))


def _phase(pod: Mapping[str, Any], state: PodState, previous: Mapping[str, Any]) -> str:
    """The kubelet's ``getPhase``; a final phase stays."""
    if previous.get("phase") in ("Succeeded", "Failed"):
        return str(previous["phase"])
    busy = any(each.busy for each in state.containers.values())
    if state.stop is not None and state.stop.fails:
        return _running_phase(pod, state) if busy else "Failed"
    if state.stop is not None:
        if busy or not state.containers:
            return _running_phase(pod, state)
        return _final_phase(pod, state)
    if finished(pod, state):
        sidecars = any(state.container(each["name"]).busy for each in init_containers(pod))
        return "Running" if sidecars else _final_phase(pod, state)
    return _running_phase(pod, state)


def _running_phase(pod: Mapping[str, Any], state: PodState) -> str:
    if not initialized(pod, state):
        return "Pending"
    runs = [state.container(each["name"]).record for each in main_containers(pod)]
    begun = all(record.last is not None or (record.run is not None and _begun(record.run)) for record in runs)
    return "Running" if begun else "Pending"


def _begun(run: Run) -> bool:
    return run.started_unix_s > 0 or run.ended is not None


def _final_phase(pod: Mapping[str, Any], state: PodState) -> str:
    ends = [state.container(each["name"]).record.run for each in main_containers(pod)]
    good = all(run is not None and run.ended is not None and run.ended.exit_code == 0 for run in ends)
    return "Succeeded" if good else "Failed"


def _container_status(
    pod: Mapping[str, Any], container: Mapping[str, Any], state: PodState, *, init: bool, node: NodeIdentity, now: float
) -> KubeObject:
    each = state.container(container["name"])
    run = each.record.run
    current = _current_state(pod, container, state, init=init, node=node, now=now)
    started = run is not None and run.live and each.record.started
    ready = each.record.ready if not init or is_sidecar(container) else init_done(container, each)
    status: KubeObject = {
        "name": container["name"],
        "state": current,
        "lastState": _last_state(each, current, node),
        "ready": bool(ready and ("running" in current or (init and not is_sidecar(container)))),
        "restartCount": _restarts(each),
        "image": container["image"] if run is None else run.image,
        "imageID": "" if run is None else run.image_id,
        "started": started,
    }
    if run is not None and (run.process is not None or run.ended is not None):
        status["containerID"] = f"{node.runtime}://{run.id}"
        if mounts := mount_statuses(pod, container):
            status["volumeMounts"] = mounts
    if run is not None and run.live and any(run.resources.values()):
        status["resources"] = {part: amounts for part, amounts in run.resources.items() if amounts}
        if run.resources.get("requests"):
            status["allocatedResources"] = run.resources["requests"]
    return status


def _current_state(
    pod: Mapping[str, Any], container: Mapping[str, Any], state: PodState, *, init: bool, node: NodeIdentity, now: float
) -> KubeObject:
    each = state.container(container["name"])
    run, waiting = each.record.run, each.record.waiting
    if run is not None and run.live:
        return {"running": {"startedAt": _time(run.started_unix_s)}}
    if _between_runs(each):
        assert each.record.last is not None and each.record.last.ended is not None
        return {"terminated": _terminated(each.record.last, each.record.last.ended, node)}
    if waiting is not None:
        return {"waiting": _pull_waiting(container, each, now)}
    if run is not None and run.ended is not None:
        again = state.stop is None and will_restart(pod, container, each, init=init)
        if again and now < each.record.retry_at_unix_s:
            return {"waiting": _back_off(pod, container, each, run.ended)}
        return {"terminated": _terminated(run, run.ended, node)}
    reason = "PodInitializing" if init_containers(pod) and state.sandbox_phase == "ready" else "ContainerCreating"
    return {"waiting": {"reason": reason} | ({"message": state.sandbox_message} if state.sandbox_message else {})}


def _between_runs(state: ContainerState) -> bool:
    """Whether the next run is being created: the last one's end is what a user sees until it has begun."""
    record = state.record
    creating = record.run is not None and not _begun(record.run)
    return creating and record.last is not None and record.last.ended is not None


def _restarts(state: ContainerState) -> int:
    run = state.record.run
    if run is None:
        return 0
    return max(0, run.attempt - 1) if _between_runs(state) else run.attempt


def _pull_waiting(container: Mapping[str, Any], state: ContainerState, now: float) -> KubeObject:
    waiting = state.record.waiting
    assert waiting is not None
    if waiting.reason in BACKING_OFF and now >= waiting.since_unix_s + IMAGE_BACK_OFF_AFTER_S:
        message = f'Back-off pulling image "{container["image"]}": {waiting.reason}: {waiting.message}'
        return {"reason": "ImagePullBackOff", "message": message}
    return {"reason": waiting.reason, "message": waiting.message}


def _back_off(pod: Mapping[str, Any], container: Mapping[str, Any], state: ContainerState, ended: Ended) -> KubeObject:
    if ended.reason == START_ERROR:
        return {"reason": "RunContainerError", "message": ended.message}
    metadata = pod["metadata"]
    delay = restart_delay_s(state.record.failures)
    whose = f"{metadata['name']}_{metadata.get('namespace', '')}({metadata['uid']})"
    message = f"back-off {delay:g}s restarting failed container={container['name']} pod={whose}"
    return {"reason": "CrashLoopBackOff", "message": message}


def _last_state(state: ContainerState, current: KubeObject, node: NodeIdentity) -> KubeObject:
    run = state.record.run
    if run is not None and run.ended is not None and "terminated" not in current:
        return {"terminated": _terminated(run, run.ended, node)}
    last = None if _between_runs(state) else state.record.last
    if last is not None and last.ended is not None:
        return {"terminated": _terminated(last, last.ended, node)}
    return {}


def _terminated(run: Run, ended: Ended, node: NodeIdentity) -> KubeObject:
    terminated: KubeObject = {"exitCode": ended.exit_code, "reason": ended.reason}
    if ended.signal:
        terminated["signal"] = ended.signal
    if ended.message:
        terminated["message"] = ended.message
    terminated["startedAt"] = _time(run.started_unix_s or run.created_unix_s)
    terminated["finishedAt"] = _time(ended.finished_unix_s)
    terminated["containerID"] = f"{node.runtime}://{run.id}"
    return terminated


@dataclass(frozen=True, slots=True)
class _Verdict:
    status: bool
    reason: str = ""
    message: str = ""


def _conditions(
    pod: Mapping[str, Any],
    state: PodState,
    previous: Mapping[str, Any],
    *,
    statuses: list[KubeObject],
    inits: list[KubeObject],
    phase: str,
    now: float,
) -> list[KubeObject]:
    """The node's own conditions (others' are not repeated); transition times move only with the status."""
    containers = _containers_ready(pod, state, statuses, inits, phase)
    verdicts = {
        "PodReadyToStartContainers": _Verdict(state.sandbox_phase == "ready"),
        "Initialized": _initialized(pod, state, inits, phase),
        "Ready": _ready(pod, containers),
        "ContainersReady": containers,
    }
    held = [dict(each) for each in previous.get("conditions") or () if each["type"] in verdicts]
    moment = datetime.fromtimestamp(now, UTC)
    for kind, verdict in verdicts.items():
        status = "True" if verdict.status else "False"
        set_condition(held, kind, status=status, reason=verdict.reason, message=verdict.message, now=moment)
    return [_trimmed(pod, each) for each in held]


def _resize_conditions(
    pod: Mapping[str, Any], state: PodState, previous: Mapping[str, Any], *, now: float
) -> list[KubeObject]:
    """That changed resources are not in force, while that is so."""
    problems = [each.resize_problem for each in state.containers.values() if each.resize_problem is not None]
    pending = [each for each in problems if each.reason != "Error"]
    failed = [each for each in problems if each.reason == "Error"]
    under_way = failed or any(each.resizing for each in state.containers.values())
    verdicts = {
        "PodResizePending": _Verdict(bool(pending), *((pending[0].reason, pending[0].message) if pending else ())),
        "PodResizeInProgress": _Verdict(bool(under_way), *((failed[0].reason, failed[0].message) if failed else ())),
    }
    wanted = {kind for kind, verdict in verdicts.items() if verdict.status}
    held = [dict(each) for each in previous.get("conditions") or () if each["type"] in wanted]
    moment = datetime.fromtimestamp(now, UTC)
    for kind, verdict in verdicts.items():
        if verdict.status:
            set_condition(held, kind, status="True", reason=verdict.reason, message=verdict.message, now=moment)
    return [_trimmed(pod, each) for each in held]


def _disruption(
    pod: Mapping[str, Any], state: PodState, previous: Mapping[str, Any], *, now: float
) -> list[KubeObject]:
    """That the node itself has ended the pod."""
    if state.stop is None or not state.stop.disruption:
        return []
    held = [dict(each) for each in previous.get("conditions") or () if each["type"] == "DisruptionTarget"]
    moment = datetime.fromtimestamp(now, UTC)
    stop = state.stop
    set_condition(held, "DisruptionTarget", status="True", reason=stop.disruption, message=stop.message, now=moment)
    return [_trimmed(pod, each) for each in held]


def _trimmed(pod: Mapping[str, Any], condition: KubeObject) -> KubeObject:
    trimmed = {key: value for key, value in condition.items() if value != ""}
    trimmed.setdefault("lastProbeTime", None)
    if pod["metadata"].get("generation"):
        trimmed["observedGeneration"] = pod["metadata"]["generation"]
    return trimmed


def _initialized(pod: Mapping[str, Any], state: PodState, inits: list[KubeObject], phase: str) -> _Verdict:
    if not inits or initialized(pod, state):
        reason = "PodCompleted" if phase == "Succeeded" else ""
        return _Verdict(True, reason)
    names = " ".join(each["name"] for each in inits if not each["ready"])
    return _Verdict(False, "ContainersNotInitialized", f"containers with incomplete status: [{names}]")


def _containers_ready(
    pod: Mapping[str, Any], state: PodState, statuses: list[KubeObject], inits: list[KubeObject], phase: str
) -> _Verdict:
    if phase == "Succeeded":
        return _Verdict(False, "PodCompleted")
    if phase == "Failed":
        return _Verdict(False, "PodFailed")
    sidecars = {each["name"] for each in init_containers(pod) if is_sidecar(each)}
    judged = [each for each in inits if each["name"] in sidecars] + statuses
    unready = [each["name"] for each in judged if not each["ready"]]
    if unready:
        return _Verdict(False, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
    return _Verdict(True)


def _ready(pod: Mapping[str, Any], containers: _Verdict) -> _Verdict:
    if not containers.status:
        return containers
    for gate in pod["spec"].get("readinessGates") or ():
        kind = gate["conditionType"]
        condition = get_condition(pod, kind)
        if condition is None:
            message = f'corresponding condition of pod readiness gate "{kind}" does not exist.'
            return _Verdict(False, "ReadinessGatesNotReady", message)
        if condition.get("status") != "True":
            message = f'the status of pod readiness gate "{kind}" is not "True", but {condition.get("status")}'
            return _Verdict(False, "ReadinessGatesNotReady", message)
    return _Verdict(True)
