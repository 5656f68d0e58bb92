"""Killing or freezing any process of the control plane or the agent disturbs nothing that runs.

A client in a pod resolves the service's name and asks it 50 times a second throughout; it writes a line for each
failed request and its count every 50 requests.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.scenario import AskingClient, Scenario

pytestmark = [pytest.mark.e2e, pytest.mark.root]

ROLES = ("agent", "server", "etcd")
EDITED = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: edited}
spec:
  replicas: 1
  selector: {matchLabels: {app: edited}}
  template:
    metadata: {labels: {app: edited}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: c, image: "flotilla.dev/sample:v1"}]
"""


def _identities(scenario: Scenario) -> dict[str, tuple[str, str, int]]:
    """Container id, start time and restart count of every container that is not being edited."""
    found = {}
    for pod in scenario.items("pods"):
        if pod["metadata"].get("labels", {}).get("app") == "edited":
            continue
        for status in pod["status"]["containerStatuses"]:
            started = status["state"]["running"]["startedAt"]
            found[pod["metadata"]["name"]] = (status["containerID"], started, status["restartCount"])
    return found


@pytest.fixture
def client(scenario: Scenario) -> Iterator[AskingClient]:
    """The sample service under a client in a pod, and a Deployment to edit."""
    scenario.apply_sample()
    scenario.kubectl("apply", "-f", "-", stdin=EDITED)
    scenario.kubectl("wait", "--for=condition=Available", "deploy/edited", "--timeout=30s")
    with scenario.asking_client() as client:
        yield client


def _edit_is_carried_out(scenario: Scenario, wanted: int, *, within_s: float) -> None:
    """Scale the edited Deployment, retrying while the server is away, and wait until the replicas are ready."""
    deadline = time.monotonic() + within_s
    while not scenario.try_kubectl("scale", "deploy/edited", f"--replicas={wanted}", "--request-timeout=1s"):
        assert time.monotonic() < deadline, f"no edit was accepted within {within_s} s"
        time.sleep(0.05)
    scenario.until(
        "the edit is carried out",
        lambda: scenario.ready_replicas("edited") == wanted,
        timeout_s=max(0.5, deadline - time.monotonic()),
    )


def _check_undisturbed(scenario: Scenario, client: AskingClient, disturb: Callable[[], None]) -> None:
    before = _identities(scenario)
    replicas = scenario.ready_replicas("edited")
    disturb()
    _edit_is_carried_out(scenario, replicas + 1, within_s=5)
    client.wait_for_more(100)
    assert client.failures() == []
    after = _identities(scenario)
    assert {name: after.get(name) for name in before} == before


@pytest.mark.timeout(240)
def test_kill_of_each_process_and_of_all(scenario: Scenario, client: AskingClient) -> None:
    """After kill -9 of agent, server, etcd and of all three: no restart, no failed request, edits within 5 s."""
    for roles in (*((role,) for role in ROLES), ROLES):

        def kill(victims: tuple[str, ...] = roles) -> None:
            for role in victims:
                os.kill(scenario.pid(role), signal.SIGKILL)

        _check_undisturbed(scenario, client, kill)


@pytest.mark.timeout(300)
def test_freeze_of_each_process_and_of_all(scenario: Scenario, client: AskingClient) -> None:
    """After SIGSTOP for 10 s of agent, server, etcd and all: no restart, no failed request, edits within 5 s."""
    for roles in (*((role,) for role in ROLES), ROLES):

        def freeze(victims: tuple[str, ...] = roles) -> None:
            pids = [scenario.pid(role) for role in victims]
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(10)
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

        _check_undisturbed(scenario, client, freeze)


@pytest.mark.timeout(240)
def test_long_outages_evict_nothing(scenario: Scenario, client: AskingClient) -> None:
    """Server and etcd down for 60 s, then the agent for 30 s, on the only node: nothing is evicted or restarted."""
    for roles, seconds in ((("server", "etcd"), 60), (("agent",), 30)):

        def outage(victims: tuple[str, ...] = roles, duration_s: float = seconds) -> None:
            with scenario.held_down(*victims):
                time.sleep(duration_s)

        _check_undisturbed(scenario, client, outage)


@pytest.mark.timeout(120)
def test_acknowledged_write_survives_kill_of_everything(scenario: Scenario) -> None:
    """A ConfigMap that was acknowledged is there after server and etcd were killed right after the reply."""
    scenario.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    for role in ("etcd", "server"):
        os.kill(scenario.pid(role), signal.SIGKILL)
    scenario.until("the ConfigMap is served", lambda: scenario.try_kubectl("get", "configmap", "kept"), timeout_s=10)
    scenario.kubectl("delete", "configmap", "kept")
