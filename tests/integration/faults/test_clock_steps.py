"""The time of day is set under a running agent, by an hour forth and back. Nothing is waited for any longer or shorter.

libfaketime (Debian's ``faketime``) gives the agent alone another time of day; clocks that nobody can set stay as they
are.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.integration.faults.node_lab import Lab, on_a_node, pod_of
from tests.integration.faults.remains import container_processes

pytestmark = pytest.mark.root

HOUR_S = 3600
LIBRARIES = list(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
CRASHER = "cut -d. -f1 /proc/uptime >>/data/begun; exit 1"
DATA = {"volumes": [{"name": "data", "emptyDir": {}}]}
MOUNTS = [{"name": "data", "mountPath": "/data"}]


def start(lab: Lab, *, ahead_s: int = 0) -> None:
    set_clock(lab, ahead_s)
    lab.start_agent(
        environment={
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(lab.directory / "clock"),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
    )


def set_clock(lab: Lab, ahead_s: int) -> None:
    """The agent's time of day from now on, by its distance to the true one."""
    staged = lab.directory / "clock.new"
    staged.write_text(f"{ahead_s:+d}")
    staged.rename(lab.directory / "clock")


def with_a_clock(story: Callable[[Lab], Awaitable[None]]) -> None:
    if not LIBRARIES:
        pytest.skip("faketime is not installed")

    async def tell(lab: Lab) -> None:
        start(lab)
        await lab.connected()
        await story(lab)

    on_a_node(tell)


def begun(lab: Lab, uid: str) -> list[int]:
    """When a crasher has begun, each time, in whole seconds of a clock that nobody sets."""
    found = list((lab.data_dir / "pods" / uid).rglob("begun"))
    return [int(line) for line in found[0].read_text().splitlines()] if found else []


def is_over(lab: Lab, name: str) -> bool:
    return ((lab.pod(name) or {}).get("status") or {}).get("reason") == "DeadlineExceeded"


@pytest.mark.parametrize("step_s", [-HOUR_S, HOUR_S])
def test_a_crashed_container_waits_as_long_as_ever(step_s: int) -> None:
    """The back-off under way ends in its time, and the next one is as long as it would have been."""

    async def story(lab: Lab) -> None:
        uid = await lab.create(pod_of(CRASHER, spec=DATA, volumeMounts=MOUNTS))
        await lab.until("it backs off for 1 s", lambda: len(begun(lab, uid)) >= 2)
        set_clock(lab, step_s)
        times = await lab.until("it runs twice more", lambda: begun(lab, uid)[3:] and begun(lab, uid))
        assert times[3] - times[2] >= 2, times
        assert lab.agent.alive and lab.dispatcher.sessions.connected("node-1")

    with_a_clock(story)


@pytest.mark.parametrize("step_s", [-HOUR_S, HOUR_S])
def test_a_container_has_the_grace_that_was_given(step_s: int) -> None:
    """A stop under way ends neither at once nor in an hour, also when its deadline changes after the step."""

    async def story(lab: Lab) -> None:
        uid = await lab.create(pod_of("trap '' TERM; while :; do sleep 1; done"))
        await lab.ready("web")
        [process] = container_processes(lab, uid)
        await lab.delete("web", grace_s=120)
        began = time.monotonic()
        await lab.until("it stops", lambda: "pod_stopping" in lab.agent.log.read_text())
        set_clock(lab, step_s)
        await lab.delete("web", grace_s=3)
        await lab.until("it is killed", lambda: not process.alive)
        assert time.monotonic() - began > 2.5
        await lab.gone("web")

    with_a_clock(story)


def test_a_pod_of_after_the_step_has_all_its_time() -> None:
    """What a pod may be active for counts from its start, on whichever day that was."""

    async def story(lab: Lab) -> None:
        for name, ahead_s in (("back", -HOUR_S), ("forth", HOUR_S)):
            set_clock(lab, ahead_s)
            await lab.create(pod_of("sleep 1000", name=name, spec={"activeDeadlineSeconds": 2}))
            await lab.until("its time is over", lambda name=name: is_over(lab, name))  # type: ignore[misc]
            assert any(each.startswith("Started:") for each in lab.events(name)), lab.events(name)

    with_a_clock(story)


def test_a_pod_that_runs_notices_nothing() -> None:
    """Probes go on, nothing restarts, the session stays, and what is told afterwards has the new time."""

    async def story(lab: Lab) -> None:
        probe = {"exec": {"command": ["test", "!", "-e", "/sick"]}, "periodSeconds": 1, "failureThreshold": 1}
        uid = await lab.create(pod_of("sleep 1000", readinessProbe=probe, livenessProbe=probe))
        await lab.ready("web")
        sessions = lab.agent.log.read_text().count("session_open")
        for ahead_s in (HOUR_S, -HOUR_S, 0):
            set_clock(lab, ahead_s)
            await asyncio.sleep(1.5)
            assert lab.is_ready("web") and lab.status("web")["restartCount"] == 0
        assert lab.agent.log.read_text().count("session_open") == sessions
        set_clock(lab, HOUR_S)
        [process] = container_processes(lab, uid)
        root = Path(f"/proc/{process.pid}/root")
        (root / "sick").touch()
        await lab.until("it restarts", lambda: lab.status("web").get("restartCount") == 1)
        started = lab.status("web")["state"]["running"]["startedAt"]
        assert time.strptime(started, "%Y-%m-%dT%H:%M:%SZ") > time.gmtime(time.time() + HOUR_S / 2)

    with_a_clock(story)


def test_the_clock_is_set_back_while_there_is_no_agent() -> None:
    """A back-off that was written down lasts no longer than any can."""

    async def story(lab: Lab) -> None:
        uid = await lab.create(pod_of(CRASHER, spec=DATA, volumeMounts=MOUNTS))
        await lab.until("it backs off for 2 s", lambda: len(begun(lab, uid)) >= 3)
        lab.agent.kill()
        start(lab, ahead_s=-HOUR_S)
        await lab.until("it runs again", lambda: len(begun(lab, uid)) >= 4)

    with_a_clock(story)
