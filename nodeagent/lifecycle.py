"""What to do next for a pod: a state machine without input or output.

``decide`` looks at a pod's spec, at what its worker has observed and at the time, and returns actions as data. It may
be asked as often as one likes: what is under way is part of the state, so nothing is decided twice. The order follows
the kubelet: sandbox, init containers one after the other (those with ``restartPolicy: Always`` are sidecars, which the
next only waits for until they have started), then all containers; on the way down containers, sidecars in reverse,
sandbox.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flotilla.api.objects import KubeObject
from nodeagent.pod_state import ContainerState, PodState, Stop

FAILED_HOOK = "FailedPostStartHook"


@dataclass(frozen=True, slots=True)
class PrepareSandbox:
    """Make the pod's cgroup, network and volumes."""


@dataclass(frozen=True, slots=True)
class StartContainer:
    """Create and start the next run of a container."""

    name: str


@dataclass(frozen=True, slots=True)
class StopContainer:
    """End a container's run within ``grace_s``; ``message`` is the Killing event's."""

    name: str
    grace_s: float
    message: str
    pod_stops: bool = False


@dataclass(frozen=True, slots=True)
class ResizeContainer:
    """Put a running container's changed requests and limits into force."""

    name: str


@dataclass(frozen=True, slots=True)
class ReleaseSandbox:
    """Remove everything the node holds of the pod but its logs and its record."""


Action = PrepareSandbox | StartContainer | StopContainer | ResizeContainer | ReleaseSandbox


@dataclass(frozen=True, slots=True)
class Decision:
    """Actions to begin now, and when to ask again if nothing happens before (Unix seconds, None for never).

    ``stop`` is set when the pod itself has to end for a reason found here.
    """

    actions: tuple[Action, ...] = ()
    wake_at_unix_s: float | None = None
    stop: Stop | None = None


def init_containers(pod: Mapping[str, Any]) -> list[KubeObject]:
    return pod["spec"].get("initContainers") or []


def main_containers(pod: Mapping[str, Any]) -> list[KubeObject]:
    return pod["spec"].get("containers") or []


def ephemeral_containers(pod: Mapping[str, Any]) -> list[KubeObject]:
    """Containers added to a running pod to look into it; they run once and the pod's own end does not wait for them."""
    return pod["spec"].get("ephemeralContainers") or []


def containers_of(pod: Mapping[str, Any]) -> list[KubeObject]:
    """All containers of a pod, init containers first."""
    return [*init_containers(pod), *main_containers(pod), *ephemeral_containers(pod)]


def is_sidecar(container: Mapping[str, Any]) -> bool:
    """Whether an init container keeps running beside the pod's containers."""
    return container.get("restartPolicy") == "Always"


def restart_policy(pod: Mapping[str, Any]) -> str:
    return pod["spec"].get("restartPolicy") or "Always"


def grace_s(pod: Mapping[str, Any]) -> float:
    """The pod's own termination grace period."""
    asked = pod["spec"].get("terminationGracePeriodSeconds")
    return 30.0 if asked is None else float(asked)


def will_restart(pod: Mapping[str, Any], container: Mapping[str, Any], state: ContainerState, *, init: bool) -> bool:
    """Whether an ended container is to run again: by its own rules and policy, else its pod's, or for another image."""
    run = state.record.run
    if run is None or run.ended is None:
        return False
    if container in ephemeral_containers(pod):
        return False
    if run.image != container["image"]:
        return True
    if init and is_sidecar(container):
        return True
    code = run.ended.exit_code
    if any(_applies(rule, code) for rule in container.get("restartPolicyRules") or ()):
        return True
    policy = container.get("restartPolicy") or restart_policy(pod)
    if init or policy == "OnFailure":
        return code != 0 and policy != "Never"
    return policy == "Always"


def _applies(rule: Mapping[str, Any], code: int) -> bool:
    """Whether a rule of a container's own restarts it after this exit code (its one action)."""
    codes = rule.get("exitCodes") or {}
    listed = code in (codes.get("values") or ())
    return listed if codes.get("operator") == "In" else codes.get("operator") == "NotIn" and not listed


def init_done(container: Mapping[str, Any], state: ContainerState) -> bool:
    """Whether the containers after this init container may start."""
    if is_sidecar(container):
        return state.record.started
    run = state.record.run
    return run is not None and run.ended is not None and run.ended.exit_code == 0


def initialized(pod: Mapping[str, Any], state: PodState) -> bool:
    """Whether all init containers have done their part, now or earlier in the life of this sandbox."""
    return state.initialized or all(init_done(each, state.container(each["name"])) for each in init_containers(pod))


def finished(pod: Mapping[str, Any], state: PodState) -> bool:
    """Whether the pod has come to its end by itself: nothing that matters runs or will run again."""
    for container in init_containers(pod):
        each = state.container(container["name"])
        run = each.record.run
        failed = run is not None and run.ended is not None and run.ended.exit_code != 0
        if failed and not each.starting and not will_restart(pod, container, each, init=True):
            return True
    return all(_over(pod, container, state.container(container["name"])) for container in main_containers(pod))


def _over(pod: Mapping[str, Any], container: Mapping[str, Any], state: ContainerState) -> bool:
    run = state.record.run
    ended = run is not None and run.ended is not None and not state.starting
    return ended and not will_restart(pod, container, state, init=False)


def decide(pod: Mapping[str, Any], state: PodState, now: float) -> Decision:
    """The next actions for a pod at ``now`` (steady Unix seconds)."""
    if state.stop is not None:
        return _wind_down(pod, state, grace=max(0.0, state.stop.deadline_unix_s - now), message="Stopping container {}")
    if finished(pod, state):
        return _wind_down(pod, state, grace=grace_s(pod), message="Stopping container {}")
    deadline = _deadline(pod, state)
    if deadline is not None and now >= deadline:
        message = "Pod was active on the node longer than the specified deadline"
        return Decision(stop=Stop("deadline", now, grace_s(pod), "DeadlineExceeded", message))
    decision = _bring_up(pod, state, now)
    return Decision(decision.actions, _earliest(decision.wake_at_unix_s, deadline))


def _deadline(pod: Mapping[str, Any], state: PodState) -> float | None:
    seconds = pod["spec"].get("activeDeadlineSeconds")
    return None if seconds is None else state.start_time_unix_s - state.start_ahead_s + float(seconds)


def _earliest(*moments: float | None) -> float | None:
    return min((moment for moment in moments if moment is not None), default=None)


def _bring_up(pod: Mapping[str, Any], state: PodState, now: float) -> Decision:
    if state.sandbox_phase != "ready":
        if state.sandbox_phase != "absent":
            return Decision()
        if now < state.sandbox_retry_at_unix_s:
            return Decision(wake_at_unix_s=state.sandbox_retry_at_unix_s)
        return Decision((PrepareSandbox(),))
    actions: list[Action] = []
    wake: float | None = None
    for container, init in _startable(pod, state):
        action, again = _step(pod, container, state.container(container["name"]), now=now, init=init)
        actions.extend([action] if action else [])
        wake = _earliest(wake, again)
    return Decision(tuple(actions), wake)


def _startable(pod: Mapping[str, Any], state: PodState) -> Iterator[tuple[KubeObject, bool]]:
    """Containers whose turn has come: ephemeral ones, sidecars, then the first init container to do, or the others."""
    for container in ephemeral_containers(pod):
        yield container, False
    beyond = initialized(pod, state)
    for container in init_containers(pod):
        done = init_done(container, state.container(container["name"]))
        if is_sidecar(container) or not (done or beyond):
            yield container, True
        if not (done or beyond):
            return
    for container in main_containers(pod):
        yield container, False


def _step(
    pod: Mapping[str, Any], container: Mapping[str, Any], state: ContainerState, *, now: float, init: bool
) -> tuple[Action | None, float | None]:
    """What one container needs: an action, or a time to look again, or neither."""
    name = container["name"]
    if state.starting or state.stopping:
        return None, None
    run = state.record.run
    if state.live and run is not None:
        if state.unhealthy:
            return StopContainer(name, _probe_grace(pod, container, state), state.unhealthy), None
        if run.image != container["image"]:
            message = f"Container {name} definition changed, will be restarted"
            return StopContainer(name, grace_s(pod), message), None
        return _resize(pod, container, state, now)
    if run is not None and run.ended is not None and not will_restart(pod, container, state, init=init):
        return None, None
    if now < state.record.retry_at_unix_s:
        return None, state.record.retry_at_unix_s
    return StartContainer(name), None


def resources_of(container: Mapping[str, Any]) -> KubeObject:
    """Requests and limits for CPU and memory, which can change while a container runs."""
    resources = container.get("resources") or {}
    found: KubeObject = {}
    for part in ("requests", "limits"):
        listed = resources.get(part) or {}
        found[part] = {name: listed[name] for name in ("cpu", "memory") if name in listed}
    return found


def _resize(
    pod: Mapping[str, Any], container: Mapping[str, Any], state: ContainerState, now: float
) -> tuple[Action | None, float | None]:
    """In place, or by a restart where the container's resize policy asks for one."""
    run = state.record.run
    wanted = resources_of(container)
    if run is None or not run.resources or run.resources == wanted or state.resizing:
        return None, None
    if now < state.resize_retry_at_unix_s:
        return None, state.resize_retry_at_unix_s
    changed = {
        name
        for part in ("requests", "limits")
        for name in ("cpu", "memory")
        if run.resources[part].get(name) != wanted[part].get(name)
    }
    policies = {each["resourceName"]: each.get("restartPolicy") for each in container.get("resizePolicy") or ()}
    if any(policies.get(name) == "RestartContainer" for name in changed):
        name = container["name"]
        return StopContainer(name, grace_s(pod), f"Container {name} resize requires restart"), None
    return ResizeContainer(container["name"]), None


def _probe_grace(pod: Mapping[str, Any], container: Mapping[str, Any], state: ContainerState) -> float:
    """The time of the probe that has failed: a container that has not started is watched by its startup probe only."""
    kind = "livenessProbe" if state.record.started else "startupProbe"
    asked = (container.get(kind) or {}).get("terminationGracePeriodSeconds")
    return grace_s(pod) if asked is None or state.unhealthy == FAILED_HOOK else float(asked)


def _wind_down(pod: Mapping[str, Any], state: PodState, *, grace: float, message: str) -> Decision:
    """Stop containers, then sidecars from the last to the first, then let go of the sandbox."""
    sidecars = [container["name"] for container in init_containers(pod) if is_sidecar(container)]
    others = [name for name in state.containers if name not in sidecars]
    for names in (others, *([name] for name in reversed(sidecars))):
        busy = [(name, state.container(name)) for name in names if state.container(name).busy]
        if busy:
            stoppable = [name for name, each in busy if each.live and not each.stopping and not each.starting]
            return Decision(
                tuple(StopContainer(name, grace, message.format(name), pod_stops=True) for name in stoppable)
            )
    if state.sandbox_phase in ("ready", "absent"):
        return Decision((ReleaseSandbox(),))
    return Decision()
