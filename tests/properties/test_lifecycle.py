"""Whatever happens to a pod, in whatever order, the state machine keeps its promises."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from flotilla.api.objects import KubeObject
from nodeagent.lifecycle import (
    Action,
    PrepareSandbox,
    ReleaseSandbox,
    StartContainer,
    StopContainer,
    decide,
    init_containers,
    init_done,
    initialized,
    is_sidecar,
    main_containers,
)
from nodeagent.pod_state import Ended, PodState, Run, Sandbox, Stop
from nodeagent.pod_status import NodeIdentity, build_status
from nodeagent.restarts import failures_after, restart_delay_s
from nodeagent.runtime.processes import ProcessIdentity

NODE = NodeIdentity("192.0.2.1", "runc")
PROCESS = ProcessIdentity(1, 1)
EVENTS = ("finish", "finish", "finish", "exit", "unhealthy", "fail", "delete", "sleep", "started")


@st.composite
def pods(draw: st.DrawFn) -> KubeObject:
    names = [f"c{index}" for index in range(draw(st.integers(1, 3)))]
    inits = [
        {"name": f"i{index}", "image": "i", **({"restartPolicy": "Always"} if draw(st.booleans()) else {})}
        for index in range(draw(st.integers(0, 3)))
    ]
    spec: KubeObject = {
        "containers": [{"name": name, "image": "i"} for name in names],
        "initContainers": inits,
        "restartPolicy": draw(st.sampled_from(("Always", "OnFailure", "Never"))),
    }
    if draw(st.booleans()):
        spec["activeDeadlineSeconds"] = draw(st.integers(1, 200))
    return {"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec}


class World:
    """A node that carries out actions only when told to, and reports whatever it likes."""

    def __init__(self, pod: KubeObject) -> None:
        self.pod, self.now = pod, 1000.0
        self.state = PodState(self.now)
        self.under_way: list[Action] = []

    def turn(self) -> None:
        decision = decide(self.pod, self.state, self.now)
        if decision.stop is not None:
            self.state.stop = decision.stop
            decision = decide(self.pod, self.state, self.now)
        for action in decision.actions:
            self.check(action)
            self.begin(action)
        self.state.initialized = initialized(self.pod, self.state)

    def check(self, action: Action) -> None:
        """What must hold whenever an action is decided on."""
        assert action not in self.under_way
        state = self.state
        if isinstance(action, StartContainer):
            assert state.stop is None
            assert state.sandbox_phase == "ready"
            assert not state.container(action.name).busy
            assert state.container(action.name).record.retry_at_unix_s <= self.now
            self.check_order(action.name)
        elif isinstance(action, StopContainer):
            assert state.container(action.name).live
        elif isinstance(action, ReleaseSandbox):
            assert not any(each.busy for each in state.containers.values())

    def check_order(self, name: str) -> None:
        for container in init_containers(self.pod):
            if container["name"] == name:
                return
            assert self.state.initialized or init_done(container, self.state.container(container["name"]))

    def begin(self, action: Action) -> None:
        self.under_way.append(action)
        if isinstance(action, PrepareSandbox):
            self.state.sandbox_phase = "preparing"
        elif isinstance(action, ReleaseSandbox):
            self.state.sandbox_phase = "releasing"
        elif isinstance(action, StartContainer):
            self.state.container(action.name).starting = True
        else:
            self.state.container(action.name).stopping = True

    def finish(self, choice: int, *, well: bool) -> None:
        """One action under way comes to its end."""
        if not self.under_way:
            return
        action = self.under_way.pop(choice % len(self.under_way))
        state = self.state
        if isinstance(action, PrepareSandbox):
            state.sandbox_phase, state.sandbox = ("ready", Sandbox("10.0.0.1", "/ns")) if well else ("absent", None)
        elif isinstance(action, ReleaseSandbox):
            state.sandbox_phase = "released" if well else "ready"
        elif isinstance(action, StartContainer):
            each = state.container(action.name)
            each.starting = False
            run = Run("id", each.record.next_attempt, "i", "sha", self.now, PROCESS, PROCESS, self.now)
            each.record = each.record.with_run(run)
            if not well:
                self.end(action.name, 127)
        else:
            self.end(action.name, 143)
            state.container(action.name).stopping = False

    def end(self, name: str, code: int) -> None:
        each = self.state.container(name)
        if not each.live:
            return
        failures = failures_after(each.record.failures, ran_s=1.0)
        ended = Ended(code, "Error" if code else "Completed", self.now)
        retry_at = self.now + restart_delay_s(failures)
        each.record = each.record.with_ended(ended, failures=failures, retry_at_unix_s=retry_at)
        each.unhealthy = ""

    def happen(self, event: str, choice: int) -> None:
        live = [name for name, each in self.state.containers.items() if each.live]
        if event in ("finish", "fail"):
            self.finish(choice, well=event == "finish")
        elif event == "sleep":
            self.now += choice % 70
        elif event == "delete" and self.state.stop is None and choice % 4 == 0:
            self.state.stop = Stop("deleted", self.now, 30.0)
        elif live and event == "exit":
            self.end(live[choice % len(live)], choice % 3)
        elif live and event == "unhealthy":
            self.state.container(live[choice % len(live)]).unhealthy = "failed liveness probe"
        elif live and event == "started":
            each = self.state.container(live[choice % len(live)])
            each.record = replace(each.record, started=True, ready=True)


@settings(max_examples=300, deadline=None)
@given(pods(), st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 1000)), max_size=60))
def test_nothing_is_started_or_released_out_of_order(pod: KubeObject, events: list[tuple[str, int]]) -> None:
    """Order, back-off and single flight hold at every step, and a status can be told at every step."""
    world = World(pod)
    previous: KubeObject = {}
    for event, choice in events:
        world.turn()
        previous = build_status(pod, world.state, previous=previous, node=NODE, now=world.now)
        world.happen(event, choice)


@settings(max_examples=200, deadline=None)
@given(pods(), st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 1000)), max_size=30))
def test_a_deleted_pod_always_comes_to_its_end(pod: KubeObject, events: list[tuple[str, int]]) -> None:
    """From any state a pod that has to go is gone once everything under way has come to an end."""
    world = World(pod)
    for event, choice in events:
        world.turn()
        world.happen(event, choice)
    world.state.stop = Stop("deleted", world.now, 30.0)
    for _ in range(30):
        world.turn()
        world.finish(0, well=True)
    assert world.state.sandbox_phase == "released"
    assert not any(each.busy for each in world.state.containers.values())


@settings(max_examples=200, deadline=None)
@given(pods())
def test_an_undisturbed_pod_comes_up(pod: KubeObject) -> None:
    """If every action succeeds and init containers do their part, all containers run."""
    pod["spec"].pop("activeDeadlineSeconds", None)
    world = World(pod)
    for _ in range(40):
        world.turn()
        world.finish(0, well=True)
        settle(world)
    assert all(world.state.container(each["name"]).live for each in main_containers(pod))


def settle(world: World) -> None:
    """Sidecars start, other init containers end well."""
    for container in init_containers(world.pod):
        each = world.state.container(container["name"])
        if each.live and is_sidecar(container):
            each.record = replace(each.record, started=True)
        elif each.live:
            world.end(container["name"], 0)


@given(st.lists(st.floats(0, 2000), min_size=1, max_size=40))
def test_delays_stay_within_their_bounds(runs: list[float]) -> None:
    """However a container's runs go, the delay is between nothing and a minute, and grows only after quick ends."""
    failures, before = 0, 0.0
    for ran_s in runs:
        failures = failures_after(failures, ran_s=ran_s)
        delay: Any = restart_delay_s(failures)
        assert 0.0 <= delay <= 60.0
        assert delay >= before or ran_s >= 600
        before = delay
