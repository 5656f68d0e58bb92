"""Containers that end are restarted: at once the first time, then with growing pauses, and the status says why."""

from __future__ import annotations

import os
import signal
from datetime import datetime

import pytest

from flotilla.api.objects import KubeObject
from tests.benchmarks.processes import first_process_of
from tests.e2e.scenario import Scenario

pytestmark = [pytest.mark.e2e, pytest.mark.root]

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{{name: c, image: "flotilla.dev/sample:v1"{more}}}]
"""


def _restarted_once(scenario: Scenario) -> KubeObject | None:
    status = scenario.container_status("killed")
    return status if status.get("restartCount") == 1 and "running" in status["state"] else None


def _waiting(scenario: Scenario) -> KubeObject:
    waiting: KubeObject = scenario.container_status("crashing").get("state", {}).get("waiting", {})
    return waiting


def test_killed_first_process_is_restarted_at_once(scenario: Scenario) -> None:
    """kill -9 of PID 1: running again with RESTARTS 1 and lastState 137, started under 1 s after the end."""
    scenario.kubectl("apply", "-f", "-", stdin=POD.format(name="killed", more=""))
    scenario.kubectl("wait", "--for=condition=Ready", "pod/killed", "--timeout=10s")
    os.kill(first_process_of(scenario.object("pod", "killed")["metadata"]["uid"]), signal.SIGKILL)
    scenario.until(
        "it was restarted", lambda: scenario.container_status("killed").get("restartCount") == 1, timeout_s=5
    )
    status = scenario.until(
        "it runs again",
        lambda: s if "running" in (s := scenario.container_status("killed"))["state"] else None,
        timeout_s=5,
    )
    ended = status["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "Error")
    pause = datetime.fromisoformat(status["state"]["running"]["startedAt"]) - datetime.fromisoformat(
        ended["finishedAt"]
    )
    assert pause.total_seconds() <= 1
    described = scenario.kubectl("describe", "pod", "killed")
    assert "Last State:     Terminated" in described
    assert "Exit Code:    137" in described
    scenario.kubectl("delete", "pod", "killed")


@pytest.mark.timeout(90)
def test_crash_loop_backs_off(scenario: Scenario) -> None:
    """A container that always fails is restarted after 0, 1, 2, 4 s and says CrashLoopBackOff meanwhile."""
    command = ', command: ["/bin/sh", "-c", "exit 3"]'
    scenario.kubectl("apply", "-f", "-", stdin=POD.format(name="crashing", more=command))
    waiting = scenario.until(
        "it backs off",
        lambda: (
            w
            if (w := scenario.container_status("crashing").get("state", {}).get("waiting", {})).get("message")
            else None
        ),
        timeout_s=20,
    )
    assert waiting["reason"] == "CrashLoopBackOff"
    assert waiting["message"].startswith("back-off ")
    scenario.until(
        "the pause grows to 4 s",
        lambda: (
            "back-off 4s"
            in scenario.container_status("crashing").get("state", {}).get("waiting", {}).get("message", "")
        ),
        timeout_s=30,
    )
    assert scenario.container_status("crashing")["lastState"]["terminated"]["exitCode"] == 3
    assert "CrashLoopBackOff" in scenario.kubectl("get", "pod", "crashing")
    scenario.kubectl("delete", "pod", "crashing")
