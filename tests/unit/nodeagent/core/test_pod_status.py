"""A pod's status, field by field, from what is known of it."""

from __future__ import annotations

from typing import Any

from flotilla.api.objects import KubeObject
from nodeagent.pod_state import ContainerRecord, ContainerState, Ended, PodState, Run, Sandbox, Stop, Waiting
from nodeagent.pod_status import NodeIdentity, build_status, next_change_unix_s
from nodeagent.runtime.processes import ProcessIdentity

NODE = NodeIdentity("192.0.2.1", "runc")
NOW = 1_700_000_000.0
PROCESS = ProcessIdentity(1, 1)


def pod_of(**spec: Any) -> KubeObject:
    return {
        "metadata": {"name": "web-1", "namespace": "default", "uid": "u", "generation": 3},
        "spec": {"containers": [{"name": "web", "image": "web:1"}], **spec},
    }


def run(*, ended: Ended | None = None, attempt: int = 0, started: float = NOW - 10) -> Run:
    return Run("abc", attempt, "web:1", "sha256:1", NOW - 11, PROCESS, PROCESS, started, ended=ended)


def state_of(record: ContainerRecord, **fields: Any) -> PodState:
    values: dict[str, Any] = {"sandbox_phase": "ready", "sandbox": Sandbox("10.42.0.5", "/ns"), **fields}
    return PodState(NOW - 20, containers={"web": ContainerState(record)}, **values)


def status_of(state: PodState, *, pod: KubeObject | None = None, previous: KubeObject | None = None) -> KubeObject:
    return build_status(pod or pod_of(), state, previous=previous or {}, node=NODE, now=NOW)


def conditions(status: KubeObject) -> dict[str, str]:
    return {each["type"]: each["status"] for each in status["conditions"]}


def test_a_running_ready_pod() -> None:
    """Everything a user of kubectl looks at is there."""
    status = status_of(state_of(ContainerRecord(run=run(), started=True, ready=True)))
    assert status["phase"] == "Running"
    assert set(conditions(status).values()) == {"True"}
    assert (status["podIP"], status["hostIP"], status["observedGeneration"]) == ("10.42.0.5", "192.0.2.1", 3)
    [container] = status["containerStatuses"]
    assert container["state"] == {"running": {"startedAt": "2023-11-14T22:13:10Z"}}
    assert container["containerID"] == "runc://abc"
    assert (container["ready"], container["started"], container["restartCount"]) == (True, True, 0)


def test_a_pod_being_made() -> None:
    """Before the first run a container is waiting, and the pod is pending."""
    status = status_of(PodState(NOW))
    assert status["phase"] == "Pending"
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert conditions(status)["PodReadyToStartContainers"] == "False"


def test_a_crash_loop() -> None:
    """Waiting with the delay in words, the end as the last state, and still a running pod."""
    ended = Ended(3, "Error", NOW - 1)
    record = ContainerRecord(run=run(ended=ended, attempt=2), failures=3, retry_at_unix_s=NOW + 1)
    status = status_of(state_of(record))
    [container] = status["containerStatuses"]
    message = "back-off 2s restarting failed container=web pod=web-1_default(u)"
    assert container["state"]["waiting"] == {"reason": "CrashLoopBackOff", "message": message}
    assert container["lastState"]["terminated"]["exitCode"] == 3
    assert (container["restartCount"], status["phase"]) == (2, "Running")


def test_between_two_runs_the_end_is_shown() -> None:
    """While the next run is created nothing jumps back to ContainerCreating."""
    ended = run(ended=Ended(137, "Error", NOW - 1, signal=9))
    creating = Run("new", 1, "web:1", "sha256:1", NOW)
    [container] = status_of(state_of(ContainerRecord(run=creating, last=ended)))["containerStatuses"]
    assert container["state"]["terminated"]["exitCode"] == 137
    assert container["state"]["terminated"]["signal"] == 9
    assert container["restartCount"] == 0


def test_a_failed_pull_becomes_a_back_off() -> None:
    """First the error, a second later the back-off that carries it; the change is announced."""
    waiting = Waiting("ErrImagePull", "no such image", NOW)
    state = state_of(ContainerRecord(waiting=waiting))
    assert status_of(state)["containerStatuses"][0]["state"]["waiting"]["reason"] == "ErrImagePull"
    assert next_change_unix_s(pod_of(), state, NOW) == NOW + 1
    later = build_status(pod_of(), state, previous={}, node=NODE, now=NOW + 1)
    expected = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "web:1": ErrImagePull: no such image'}
    assert later["containerStatuses"][0]["state"]["waiting"] == expected
    assert next_change_unix_s(pod_of(), state, NOW + 1) is None


def test_final_phases() -> None:
    """Succeeded if every container ended well, else Failed; a final phase stays."""
    pod = pod_of(restartPolicy="Never")
    good = status_of(state_of(ContainerRecord(run=run(ended=Ended(0, "Completed", NOW)))), pod=pod)
    bad = status_of(state_of(ContainerRecord(run=run(ended=Ended(1, "Error", NOW)))), pod=pod)
    assert (good["phase"], bad["phase"]) == ("Succeeded", "Failed")
    ready = next(each for each in good["conditions"] if each["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "PodCompleted")
    again = status_of(state_of(ContainerRecord(run=run(), ready=True)), pod=pod, previous=good)
    assert again["phase"] == "Succeeded"


def test_a_deadline_fails_the_pod_with_its_reason() -> None:
    """The pod says why it was ended."""
    state = state_of(ContainerRecord(run=run(ended=Ended(0, "Completed", NOW))))
    state.stop = Stop("deadline", NOW, 1.0, "DeadlineExceeded", "too long")
    status = status_of(state)
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "DeadlineExceeded", "too long")


def test_transition_times_move_only_with_the_status() -> None:
    """A condition that stays keeps its time though others change."""
    unready = status_of(state_of(ContainerRecord(run=run(), started=True, ready=False)))
    state = state_of(ContainerRecord(run=run(), started=True, ready=True))
    ready = build_status(pod_of(), state, previous=unready, node=NODE, now=NOW + 60)
    times = {each["type"]: each["lastTransitionTime"] for each in ready["conditions"]}
    assert times["Initialized"] == "2023-11-14T22:13:20Z"
    assert times["Ready"] == "2023-11-14T22:14:20Z"


def test_readiness_gates_hold_the_pod_back() -> None:
    """Ready needs the conditions that the pod names, which others set."""
    pod = pod_of(readinessGates=[{"conditionType": "example.com/lb"}])
    state = state_of(ContainerRecord(run=run(), started=True, ready=True))
    assert conditions(status_of(state, pod=pod)) | {"Ready": ""} == {
        "PodReadyToStartContainers": "True",
        "Initialized": "True",
        "Ready": "",
        "ContainersReady": "True",
    }
    assert conditions(status_of(state, pod=pod))["Ready"] == "False"
    pod["status"] = {"conditions": [{"type": "example.com/lb", "status": "True"}]}
    assert conditions(status_of(state, pod=pod))["Ready"] == "True"


def test_init_containers_are_named_while_they_hold_the_pod_back() -> None:
    """Initialized says which ones are not done; the containers wait in PodInitializing."""
    pod = pod_of(initContainers=[{"name": "first", "image": "i"}])
    status = status_of(state_of(ContainerRecord()), pod=pod)
    condition = next(each for each in status["conditions"] if each["type"] == "Initialized")
    assert condition["message"] == "containers with incomplete status: [first]"
    assert status["containerStatuses"][0]["state"]["waiting"]["reason"] == "PodInitializing"
    assert status["phase"] == "Pending"
