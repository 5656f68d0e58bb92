"""The OCI runtime and conmon fail, hang and crash under a node's agent; its pods say so and go on once that is over."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from nodeagent.runtime.processes import identify
from tests.integration.faults.node_lab import Lab, on_a_node, pod_of
from tests.integration.faults.remains import container_processes, left_over, node_processes, remains

pytestmark = pytest.mark.root

SLEEPER = "trap 'exit 0' TERM; sleep 1000 & wait $!"
_WRAPPER = """#!/bin/sh
for word in "$@"; do
    case $word in create|delete|exec|kill|start|state) verb=$word; break ;; esac
done
case $(cat {orders}/$verb 2>/dev/null) in
fail) echo 'time="2026-01-01T00:00:00Z" level=error msg="the runtime has its day off"' >&2; exit 1 ;;
crash) kill -SEGV $$ ;;
hang) while :; do sleep 1; done ;;
esac
exec {program} "$@"
"""


@dataclass(frozen=True)
class Runtime:
    """The runtimes as the agent finds them, which do as they are ordered."""

    orders: Path
    programs: Path

    def order(self, verb: str, what: str) -> None:
        """``what`` is fail, crash, hang or, to work again, nothing."""
        (self.orders / verb).write_text(what)


def with_faults(story: Callable[[Lab, Runtime], Awaitable[None]]) -> None:
    """Run a story on a node whose runtime takes orders and whose agent runs; nothing may be left of its pods."""

    async def tell(lab: Lab) -> None:
        runtime = Runtime(lab.directory / "orders", lab.directory / "bin")
        runtime.orders.mkdir()
        runtime.programs.mkdir()
        for name in ("runc", "crun"):
            wrapper = runtime.programs / name
            wrapper.write_text(_WRAPPER.format(orders=runtime.orders, program=shutil.which(name)))
            wrapper.chmod(0o755)
        start(lab, runtime)
        await lab.connected()
        await lab.create(pod_of(SLEEPER, name="first"))
        await lab.ready("first")
        await lab.delete("first")
        await lab.gone("first")
        before = remains(lab)
        await story(lab, runtime)
        await nothing_left(lab, before)

    on_a_node(tell)


def start(lab: Lab, runtime: Runtime) -> None:
    lab.start_agent(environment={"PATH": f"{runtime.programs}:{os.environ['PATH']}"})


async def nothing_left(lab: Lab, before: dict[str, set[str]]) -> None:
    await lab.until("nothing is left", lambda: not left_over(before, remains(lab)))


async def said(lab: Lab, beginning: str) -> None:
    await lab.until(beginning, lambda: any(event.startswith(beginning) for event in lab.events("web")))


def waiting(lab: Lab, name: str) -> str:
    """Why the pod's container waits, with the message."""
    state = lab.status(name).get("state", {}).get("waiting", {})
    return f"{state.get('reason')}: {state.get('message')}"


def monitor_of(lab: Lab) -> int:
    [pid] = (pid for pid, command in node_processes(lab).items() if command.startswith("/usr/bin/conmon"))
    return pid


@pytest.mark.parametrize("how", ["fail", "crash"])
def test_creation_fails(how: str) -> None:
    """The container waits with the runtime's own words, is tried again, and runs once the runtime works."""

    async def story(lab: Lab, runtime: Runtime) -> None:
        runtime.order("create", how)
        uid = await lab.create(pod_of(SLEEPER))
        await lab.until("it fails", lambda: lab.status("web").get("restartCount", 0) >= 1)
        await lab.until("it says so", lambda: "RunContainerError" in waiting(lab, "web"))
        if how == "fail":
            await said(lab, "Failed: Error: the runtime has its day off")
            assert "day off" in lab.status("web")["lastState"]["terminated"]["message"]
        assert lab.status("web")["lastState"]["terminated"]["reason"] == "StartError"
        runtime.order("create", "")
        await lab.ready("web")
        assert len(container_processes(lab, uid)) == 1
        await lab.delete("web")
        await lab.gone("web")

    with_faults(story)


def test_removal_fails() -> None:
    """A container that can't be removed keeps its deleted pod, and nothing of it is left once it can."""

    async def story(lab: Lab, runtime: Runtime) -> None:
        uid = await lab.create(pod_of(SLEEPER))
        await lab.ready("web")
        runtime.order("delete", "fail")
        await lab.delete("web")
        await lab.until("its program has ended", lambda: not container_processes(lab, uid))
        await lab.until("it is retried", lambda: "sandbox_not_released" in lab.agent.log.read_text())
        assert lab.pod("web") is not None
        runtime.order("delete", "")
        await lab.gone("web")

    with_faults(story)


def test_removal_hangs_while_the_agent_dies() -> None:
    """The next agent ends what hangs and removes the container itself."""

    async def story(lab: Lab, runtime: Runtime) -> None:
        await lab.create(pod_of(SLEEPER))
        await lab.ready("web")
        runtime.order("delete", "hang")
        await lab.delete("web")
        await lab.until("it hangs", lambda: any(" delete " in each for each in node_processes(lab).values()))
        lab.agent.kill()
        runtime.order("delete", "")
        start(lab, runtime)
        await lab.gone("web")

    with_faults(story)


def test_a_hanging_probe_is_a_failed_one() -> None:
    """A probe that the runtime never carries out fails at its timeout, and its processes go."""

    async def story(lab: Lab, runtime: Runtime) -> None:
        probe = {"exec": {"command": ["true"]}, "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 1}
        await lab.create(pod_of(SLEEPER, readinessProbe=probe))
        await lab.ready("web")
        runtime.order("exec", "hang")
        await lab.until("it is not ready", lambda: not lab.is_ready("web"))
        await said(lab, "Unhealthy: Readiness probe failed")
        runtime.order("exec", "")
        await lab.ready("web")
        assert lab.status("web")["restartCount"] == 0
        await lab.delete("web")
        await lab.gone("web")

    with_faults(story)


@pytest.mark.parametrize("policy", ["Always", "Never"])
def test_the_monitor_is_killed(policy: str) -> None:
    """With conmon goes the exit code: the container ends as unknown, and what comes next is the restart policy's."""

    async def story(lab: Lab, runtime: Runtime) -> None:
        uid = await lab.create(pod_of(SLEEPER, spec={"restartPolicy": policy}))
        await lab.ready("web")
        [process] = container_processes(lab, uid)
        assert identify(monitor_of(lab)).send(signal.SIGKILL)
        if policy == "Always":
            await lab.until("it restarts", lambda: lab.status("web").get("restartCount") == 1 and lab.is_ready("web"))
            end = lab.status("web")["lastState"]["terminated"]
            assert len(container_processes(lab, uid)) == 1
        else:
            await lab.until("it has failed", lambda: (lab.pod("web") or {})["status"]["phase"] == "Failed")
            end = lab.status("web")["state"]["terminated"]
        assert (end["reason"], end["exitCode"]) == ("ContainerStatusUnknown", 137)
        assert not process.alive
        await lab.delete("web")
        await lab.gone("web")

    with_faults(story)


def test_the_monitor_is_killed_while_there_is_no_agent() -> None:
    """The next agent finds a program without its monitor, ends it as unknown and restarts it once."""

    async def story(lab: Lab, runtime: Runtime) -> None:
        uid = await lab.create(pod_of(SLEEPER))
        await lab.ready("web")
        [process] = container_processes(lab, uid)
        lab.agent.kill()
        await lab.disconnected()
        assert identify(monitor_of(lab)).send(signal.SIGKILL)
        await asyncio.sleep(0)
        start(lab, runtime)
        await lab.until("it restarts", lambda: lab.status("web").get("restartCount") == 1 and lab.is_ready("web"))
        assert lab.status("web")["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"
        assert not process.alive
        assert len(container_processes(lab, uid)) == 1
        await lab.delete("web")
        await lab.gone("web")

    with_faults(story)


@pytest.mark.skipif(os.environ.get("FLOTILLA_FAULTS") != "all", reason="takes a minute: FLOTILLA_FAULTS=all")
def test_creation_hangs() -> None:
    """A creation that does not end is given up, told and cleared away, and the next one succeeds."""

    async def story(lab: Lab, runtime: Runtime) -> None:
        runtime.order("create", "hang")
        await lab.create(pod_of(SLEEPER))
        await lab.until(
            "it is given up", lambda: lab.status("web").get("lastState", {}).get("terminated"), timeout_s=90
        )
        assert "did not report within" in lab.status("web")["lastState"]["terminated"]["message"]
        runtime.order("create", "")
        await lab.ready("web", timeout_s=90)
        await lab.delete("web")
        await lab.gone("web")

    with_faults(story)
