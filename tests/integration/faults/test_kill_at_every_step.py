"""The agent is killed before every effect that it has on the machine, and the next one has to make it right.

One trip takes a pod up, crashes its container and takes it away; in each of the three legs the agent dies once, before
the effect whose number the trip names (see ``dying_agent.py``). CI takes a few trips spread over all steps, others each
time;

    FLOTILLA_KILL_STEPS=all .venv/bin/pytest -s tests/integration/faults/test_kill_at_every_step.py

takes as many as the longest leg has steps, in a quarter of an hour, and prints how many there were.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flotilla.api.objects import KubeObject
from tests.integration.faults.node_lab import Lab, on_a_node
from tests.integration.faults.remains import container_processes, left_over, node_processes, remains
from tests.integration.faults.subject import CRASH_CODE, CRASH_SIGNAL, STOP_CODE, begun, create_objects, subject

pytestmark = pytest.mark.root

ALL = os.environ.get("FLOTILLA_KILL_STEPS") == "all"
TRIPS_IN_CI = 6
Steps = tuple[int, int, int]
LEGS = ("start", "crash", "stop")
DYING_AGENT = Path(__file__).with_name("dying_agent.py")
# An effect that a trip asks for may not come: how many there are depends on what falls into one write.
QUIET_S = 2.0
CLEARED_WITHIN_S = 5.0


@dataclass
class Journey:
    """Trips of one node, and what was learnt on them."""

    lab: Lab
    commands: int
    trace: Path
    counts: dict[str, int] = field(default_factory=dict)
    deaths: int = 0

    async def restart(self) -> None:
        """Start an agent, which takes over what the one before has left."""
        self.trace.write_bytes(b"")
        program = (sys.executable, str(DYING_AGENT), str(self.lab.directory / "commands"), str(self.trace))
        self.lab.start_agent(program=program)
        await self.lab.connected()

    async def leg(self, name: str, step: int, *, act: Callable[[], Awaitable[object]], done: Callable[[], bool]) -> str:
        """Do ``act`` with an agent that dies before its effect ``step``, then start the next; that effect's name."""
        os.write(self.commands, f"{step}\n".encode())
        await self.lab.until("the agent counts", lambda: b"armed\n" in self.trace.read_bytes())
        await act()
        await self.lab.until(f"{name} comes to its end", lambda: not self.lab.agent.alive or self._is_quiet(done))
        steps = self.trace.read_text(errors="replace").splitlines()[1:]
        self.counts[name] = max(self.counts.get(name, 0), len(steps))
        if self.lab.agent.alive:
            self.lab.agent.kill()
        else:
            self.deaths += 1
            assert self.lab.agent.process.wait() == -9, self.lab.agent.log.read_text(errors="replace")[-4000:]
        await self.lab.disconnected()
        await self.restart()
        return f"{name} step {step}: {steps[-1] if steps else 'nothing'}"

    def _is_quiet(self, done: Callable[[], bool]) -> bool:
        return done() and time.time() - self.trace.stat().st_mtime > QUIET_S


async def trip(journey: Journey, steps: Steps, *, told: list[str]) -> None:
    """One pod's life with three deaths of its agent; ``told`` gets the effects before which they were."""
    lab, uid = journey.lab, ""
    start, crash, stop = steps
    before = remains(lab)

    async def create() -> None:
        nonlocal uid
        uid = await lab.create(subject())

    def monitors() -> int:
        return sum(command.startswith("/usr/bin/conmon") for command in node_processes(lab).values())

    async def runs(attempt: int) -> None:
        await lab.ready("web")
        await lab.until("its restart is told", lambda: lab.status("web").get("restartCount") == attempt)
        await lab.until("there is one container", lambda: len(container_processes(lab, uid)) == 1)
        await lab.until("there is one monitor", lambda: monitors() == 1)
        assert begun(lab, uid) == attempt + 1

    async def crash_it() -> None:
        assert container_processes(lab, uid)[0].send(CRASH_SIGNAL)

    def restarted() -> bool:
        return lab.status("web").get("restartCount") == 1 and lab.is_ready("web")

    told.append(await journey.leg("start", start, act=create, done=lambda: lab.is_ready("web")))
    await runs(0)
    told.append(await journey.leg("crash", crash, act=crash_it, done=restarted))
    await runs(1)
    assert lab.status("web")["lastState"]["terminated"]["exitCode"] == CRASH_CODE
    last: list[KubeObject] = []

    def is_gone() -> bool:
        last.append(lab.status("web"))
        return lab.pod("web") is None

    told.append(await journey.leg("stop", stop, act=lambda: lab.delete("web"), done=is_gone))
    await lab.until("the pod is gone", is_gone)
    ends = [end for each in last if each and (end := each["state"].get("terminated"))]
    assert all(end["exitCode"] == STOP_CODE for end in ends), ends[-1]
    deadline = time.monotonic() + CLEARED_WITHIN_S
    while left := left_over(before, remains(lab)):
        assert time.monotonic() < deadline, f"left over: {left}"
        await asyncio.sleep(0.05)


async def begin(lab: Lab) -> Journey:
    """A journey whose node has had a pod before, so that what a node keeps for good is there."""
    await create_objects(lab)
    os.mkfifo(lab.directory / "commands")
    journey = Journey(lab, os.open(lab.directory / "commands", os.O_RDWR), lab.directory / "trace")
    await journey.restart()
    await lab.create(subject())
    await lab.ready("web")
    await lab.delete("web")
    await lab.gone("web")
    return journey


def chosen(counts: dict[str, int]) -> list[Steps]:
    """The steps of each trip: all, or some that are spread over each leg."""
    start, crash, stop = (counts[leg] for leg in LEGS)
    if ALL:
        return [(n % start + 1, n % crash + 1, n % stop + 1) for n in range(max(start, crash, stop))]
    places = ((part + random.random()) / TRIPS_IN_CI for part in range(TRIPS_IN_CI))
    return [(1 + int(start * place), 1 + int(crash * place), 1 + int(stop * place)) for place in places]


@pytest.mark.timeout(7200 if ALL else 180)
def test_an_agent_killed_at_any_step_is_made_up_for() -> None:
    """The pod runs once, each crash is one restart with its exit code, and of an ended pod nothing is left."""
    counts: dict[str, int] = {}
    remaining: list[Steps] = []
    failures: list[str] = []
    deaths = 0

    async def story(lab: Lab) -> None:
        nonlocal deaths
        journey = await begin(lab)
        try:
            if not counts:
                await trip(journey, (0, 0, 0), told=[])
                counts.update(journey.counts)
                remaining.extend(chosen(counts))
            while remaining:
                told: list[str] = []
                try:
                    await trip(journey, remaining.pop(), told=told)
                except AssertionError as error:
                    log = lab.agent.log.read_text(errors="replace")[-3000:]
                    failures.append(f"{told}: {error}\n{lab.pod('web')}\n{log}")
                    print(failures[-1])
                    return
        finally:
            deaths += journey.deaths
            os.close(journey.commands)

    on_a_node(story)
    while remaining and len(failures) < 20:
        on_a_node(story)
    print(f"steps: {counts}, deaths: {deaths}, failures: {len(failures)}")
    assert not failures, "\n\n".join(failures)
