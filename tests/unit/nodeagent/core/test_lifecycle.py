"""What the state machine decides, state by state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flotilla.api.objects import KubeObject
from nodeagent.lifecycle import (
    PrepareSandbox,
    ReleaseSandbox,
    ResizeContainer,
    StartContainer,
    StopContainer,
    decide,
    finished,
)
from nodeagent.pod_state import ContainerRecord, ContainerState, Ended, PodState, Run, Sandbox, Stop
from nodeagent.runtime.processes import ProcessIdentity

NOW = 1000.0


def pod_of(*names: str, inits: tuple[KubeObject, ...] = (), **spec: Any) -> KubeObject:
    containers = [{"name": name, "image": "i"} for name in names]
    return {
        "metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": {"containers": containers, "initContainers": list(inits), **spec},
    }


def init(name: str, *, sidecar: bool = False) -> KubeObject:
    return {"name": name, "image": "i", **({"restartPolicy": "Always"} if sidecar else {})}


def run(*, code: int | None = None, image: str = "i", attempt: int = 0) -> Run:
    process = ProcessIdentity(1, 1)
    ended = None if code is None else Ended(code, "Error" if code else "Completed", NOW - 1)
    return Run("id", attempt, image, "sha", 900.0, process, process, 900.0, ended=ended)


def live(**fields: Any) -> ContainerState:
    return ContainerState(ContainerRecord(run=run(), started=True), **fields)


def over(code: int, *, retry_at: float = 0.0) -> ContainerState:
    return ContainerState(ContainerRecord(run=run(code=code), retry_at_unix_s=retry_at, failures=1))


def state_of(**containers: ContainerState) -> PodState:
    return PodState(900.0, sandbox_phase="ready", sandbox=Sandbox("10.0.0.1", "/ns"), containers=containers)


def test_the_sandbox_comes_first() -> None:
    """Nothing is started before the sandbox is ready."""
    state = PodState(900.0)
    assert decide(pod_of("a"), state, NOW).actions == (PrepareSandbox(),)
    state.sandbox_phase = "preparing"
    assert decide(pod_of("a"), state, NOW).actions == ()


def test_a_failed_sandbox_waits_for_its_time() -> None:
    """The next attempt comes when its back-off is over, and the machine says when to ask again."""
    state = PodState(900.0, sandbox_retry_at_unix_s=NOW + 5)
    decision = decide(pod_of("a"), state, NOW)
    assert (decision.actions, decision.wake_at_unix_s) == ((), NOW + 5)
    assert decide(pod_of("a"), state, NOW + 5).actions == (PrepareSandbox(),)


def test_all_containers_start_together() -> None:
    """Without init containers nothing orders them."""
    assert decide(pod_of("a", "b"), state_of(), NOW).actions == (StartContainer("a"), StartContainer("b"))


def test_what_is_under_way_is_not_begun_again() -> None:
    """Asking twice gives no second action."""
    state = state_of(a=ContainerState(starting=True), b=live())
    assert decide(pod_of("a", "b"), state, NOW).actions == ()


def test_init_containers_run_one_after_the_other() -> None:
    """The second starts after the first has succeeded, the containers after the last."""
    pod = pod_of("a", inits=(init("i1"), init("i2")))
    assert decide(pod, state_of(), NOW).actions == (StartContainer("i1"),)
    assert decide(pod, state_of(i1=over(0)), NOW).actions == (StartContainer("i2"),)
    assert decide(pod, state_of(i1=over(0), i2=over(0)), NOW).actions == (StartContainer("a"),)


def test_a_failed_init_container_runs_again_or_fails_the_pod() -> None:
    """By the pod's restart policy."""
    inits = (init("i"),)
    assert decide(pod_of("a", inits=inits), state_of(i=over(1)), NOW).actions == (StartContainer("i"),)
    never = pod_of("a", inits=inits, restartPolicy="Never")
    assert finished(never, state_of(i=over(1)))
    assert decide(never, state_of(i=over(1)), NOW).actions == (ReleaseSandbox(),)


def test_a_sidecar_only_has_to_have_started() -> None:
    """The next init container waits for its start, not for its end; it is kept running for ever."""
    pod = pod_of("a", inits=(init("s", sidecar=True), init("i")))
    starting = ContainerState(ContainerRecord(run=run(), started=False))
    assert decide(pod, state_of(s=starting), NOW).actions == ()
    assert decide(pod, state_of(s=live()), NOW).actions == (StartContainer("i"),)
    ended = state_of(s=over(0), i=over(0), a=live())
    ended.initialized = True
    assert decide(pod, ended, NOW).actions == (StartContainer("s"),)


@pytest.mark.parametrize(
    ("policy", "code", "again"),
    [
        ("Always", 0, True),
        ("Always", 1, True),
        ("OnFailure", 0, False),
        ("OnFailure", 1, True),
        ("Never", 0, False),
        ("Never", 1, False),
    ],
)
def test_restart_policies(policy: str, code: int, again: bool) -> None:
    """Which ends lead to another run, and which end the pod."""
    pod = pod_of("a", restartPolicy=policy)
    expected = (StartContainer("a"),) if again else (ReleaseSandbox(),)
    assert decide(pod, state_of(a=over(code)), NOW).actions == expected


def test_back_off_is_kept() -> None:
    """A container in back-off is started when its time has come, not before."""
    state = state_of(a=over(1, retry_at=NOW + 4))
    decision = decide(pod_of("a"), state, NOW)
    assert (decision.actions, decision.wake_at_unix_s) == ((), NOW + 4)
    assert decide(pod_of("a"), state, NOW + 4).actions == (StartContainer("a"),)


def test_an_unhealthy_container_is_stopped() -> None:
    """With the grace of its probe, or else of its pod."""
    state = state_of(a=live(unhealthy="failed liveness probe"))
    [action] = decide(pod_of("a", terminationGracePeriodSeconds=7), state, NOW).actions
    assert action == StopContainer("a", 7.0, "failed liveness probe")
    pod = pod_of("a")
    pod["spec"]["containers"][0]["livenessProbe"] = {"terminationGracePeriodSeconds": 2}
    [action] = decide(pod, state, NOW).actions
    assert isinstance(action, StopContainer) and action.grace_s == 2.0


def test_a_changed_image_replaces_the_container() -> None:
    """The running one is stopped; the ended one runs again whatever the restart policy says."""
    pod = pod_of("a", restartPolicy="Never")
    pod["spec"]["containers"][0]["image"] = "new"
    [action] = decide(pod, state_of(a=live()), NOW).actions
    assert isinstance(action, StopContainer)
    assert decide(pod, state_of(a=over(0)), NOW).actions == (StartContainer("a"),)


def test_stopping_goes_from_containers_to_sidecars_to_the_sandbox() -> None:
    """Sidecars outlive what they serve, the last one started is stopped first."""
    pod = pod_of("a", inits=(init("s1", sidecar=True), init("s2", sidecar=True)))
    state = state_of(s1=live(), s2=live(), a=live())
    state.stop = Stop("deleted", NOW, 10.0)
    assert [action.name for action in decide(pod, state, NOW).actions] == ["a"]  # type: ignore[union-attr]
    state.containers["a"] = over(0)
    assert [action.name for action in decide(pod, state, NOW).actions] == ["s2"]  # type: ignore[union-attr]
    state.containers["s2"] = over(0)
    assert [action.name for action in decide(pod, state, NOW).actions] == ["s1"]  # type: ignore[union-attr]
    state.containers["s1"] = over(0)
    assert decide(pod, state, NOW).actions == (ReleaseSandbox(),)
    state.sandbox_phase = "released"
    assert decide(pod, state, NOW).actions == ()


def test_a_stop_waits_for_a_start_under_way() -> None:
    """The sandbox stays while a container is being made in it."""
    state = state_of(a=ContainerState(starting=True))
    state.stop = Stop("deleted", NOW, 10.0)
    assert decide(pod_of("a"), state, NOW).actions == ()


def test_grace_counts_from_the_stop() -> None:
    """A container stopped later has only the rest of the pod's grace."""
    state = state_of(a=live())
    state.stop = Stop("deleted", NOW, 10.0)
    [action] = decide(pod_of("a"), state, NOW + 4).actions
    assert isinstance(action, StopContainer) and action.grace_s == 6.0


def test_the_active_deadline_ends_the_pod() -> None:
    """Before it the machine asks to be woken then; at it the pod has to stop with Kubernetes' reason."""
    pod = pod_of("a", activeDeadlineSeconds=200)
    state = state_of(a=live())
    assert decide(pod, state, NOW).wake_at_unix_s == 1100.0
    stop = decide(pod, state, 1100.0).stop
    assert stop is not None and (stop.kind, stop.reason) == ("deadline", "DeadlineExceeded")


def test_decisions_do_not_change_the_state() -> None:
    """The machine only looks."""
    pod, state = pod_of("a"), state_of(a=over(1, retry_at=NOW + 1))
    before = replace(state.containers["a"].record)
    assert decide(pod, state, NOW) == decide(pod, state, NOW)
    assert state.containers["a"].record == before


def test_ephemeral_containers_start_at_any_time_and_never_again() -> None:
    """One starts even while init containers run, is not started twice, and does not keep the pod from its end."""
    pod = pod_of("a", inits=(init("first"),), ephemeralContainers=[{"name": "debug", "image": "i"}])
    assert decide(pod, state_of(first=live()), NOW).actions == (StartContainer("debug"),)
    done = state_of(first=over(0), a=live(), debug=over(1))
    assert decide(pod, done, NOW).actions == ()
    pod["spec"]["restartPolicy"] = "Never"
    assert finished(pod, state_of(first=over(0), a=over(0), debug=live()))
    ending = decide(pod, state_of(first=over(0), a=over(0), debug=live()), NOW)
    assert [action.name for action in ending.actions if isinstance(action, StopContainer)] == ["debug"]


def test_changed_resources_are_put_into_force_once() -> None:
    """In place, or by a restart where the policy says so; after a refusal not before its time."""
    pod = pod_of("a")
    container = pod["spec"]["containers"][0]
    container["resources"] = {"limits": {"cpu": "1", "example.com/device": "1"}}
    state = live()
    assert state.record.run is not None
    resized = replace(state.record.run, resources={"requests": {}, "limits": {"cpu": "500m"}})
    state.record = replace(state.record, run=resized)
    assert decide(pod, state_of(a=state), NOW).actions == (ResizeContainer("a"),)
    state.resizing = True
    assert decide(pod, state_of(a=state), NOW).actions == ()
    state.resizing, state.resize_retry_at_unix_s = False, NOW + 3
    assert decide(pod, state_of(a=state), NOW).wake_at_unix_s == NOW + 3
    container["resizePolicy"] = [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]
    stop = decide(pod, state_of(a=state), NOW + 3).actions[0]
    assert isinstance(stop, StopContainer)
    state.record = replace(state.record, run=replace(resized, resources={"requests": {}, "limits": {"cpu": "1"}}))
    assert decide(pod, state_of(a=state), NOW + 3).actions == ()


RULES = [
    {"action": "Restart", "exitCodes": {"operator": "In", "values": [42, 43]}},
    {"action": "Restart", "exitCodes": {"operator": "NotIn", "values": [0, 1, 2, 3]}},
]


@pytest.mark.parametrize(
    ("own", "pods", "code", "again"),
    [
        ({"restartPolicy": "Never"}, "Always", 1, False),
        ({"restartPolicy": "Always"}, "Never", 0, True),
        ({"restartPolicy": "OnFailure"}, "Never", 1, True),
        ({"restartPolicy": "OnFailure"}, "Always", 0, False),
        ({"restartPolicy": "Never", "restartPolicyRules": RULES}, "Never", 42, True),
        ({"restartPolicy": "Never", "restartPolicyRules": RULES}, "Never", 3, False),
        ({"restartPolicy": "Never", "restartPolicyRules": RULES}, "Never", 99, True),
        ({"restartPolicy": "OnFailure", "restartPolicyRules": RULES}, "Never", 3, True),
    ],
)
def test_a_containers_own_restart_policy(own: KubeObject, pods: str, code: int, again: bool) -> None:
    """Its rules count first, then its policy, whatever the pod's is."""
    pod = pod_of("a", "b", restartPolicy=pods)
    pod["spec"]["containers"][0] |= own
    decision = decide(pod, state_of(a=over(code), b=live()), NOW)
    assert decision.actions == ((StartContainer("a"),) if again else ())


@pytest.mark.parametrize(
    ("started", "unhealthy", "grace"),
    [(True, "failed liveness probe", 3.0), (False, "failed startup probe", 7.0), (False, "FailedPostStartHook", 20.0)],
)
def test_the_probe_that_failed_says_how_long_the_end_may_take(started: bool, unhealthy: str, grace: float) -> None:
    """Each of two probes has a time of its own; a failed hook has the pod's."""
    pod = pod_of("a", terminationGracePeriodSeconds=20)
    pod["spec"]["containers"][0] |= {
        "livenessProbe": {"terminationGracePeriodSeconds": 3},
        "startupProbe": {"terminationGracePeriodSeconds": 7},
    }
    state = live(unhealthy=unhealthy)
    state.record = replace(state.record, started=started)
    (action,) = decide(pod, state_of(a=state), NOW).actions
    assert action == StopContainer("a", grace, unhealthy)
