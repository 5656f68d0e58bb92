"""Limits hold: memory, CPU and number of processes, each shown from the container's own cgroup."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from nodeagent.cgroups import detect
from tests.benchmarks.processes import first_process_of
from tests.e2e.scenario import Scenario

pytestmark = [pytest.mark.e2e, pytest.mark.root]

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: flotilla.dev/sample:v1
    command: ["/bin/sh", "-c", "{command}"]
    ports: [{{containerPort: 8080}}]
    resources: {{requests: {{cpu: 10m, memory: 8Mi}}, limits: {{cpu: 200m, memory: {memory}}}}}
"""
ALLOCATE = "head -c 200m /dev/zero | tail"
OWN = ALLOCATE.replace("head", "exec head")
CHILD_ONLY = f"while :; do ({ALLOCATE}) ; sleep 1; done"
BURN = "while :; do :; done"
FORK_BOMB = "while :; do sleep 1000 & done 2>/dev/null; sleep 1000"


def _run(scenario: Scenario, name: str, command: str, *, memory: str = "32Mi") -> None:
    scenario.kubectl("apply", "-f", "-", stdin=POD.format(name=name, command=command, memory=memory))


def _cgroup_file(pid: int, controller: str, name: str) -> Path:
    """The file of the cgroup that the process is in, on version 1 by controller, on version 2 the unified one."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if detect().version == 2:
            return Path("/sys/fs/cgroup") / path.lstrip("/") / name
        if controller in controllers.split(","):
            return Path("/sys/fs/cgroup") / controller / path.lstrip("/") / name
    raise LookupError(controller)


@pytest.mark.parametrize("command", [ALLOCATE, CHILD_ONLY], ids=["first-process-tree", "child-only"])
def test_memory_limit_is_reported_as_oom_killed(scenario: Scenario, command: str) -> None:
    """A container over its memory limit is OOMKilled and restarted, also when a child is what the kernel kills."""
    _run(scenario, "hungry", command)
    status = scenario.until(
        "it was killed for memory and restarted",
        lambda: s if (s := scenario.container_status("hungry")).get("restartCount", 0) >= 1 else None,
        timeout_s=20,
    )
    assert status["lastState"]["terminated"]["reason"] == "OOMKilled"
    scenario.kubectl("delete", "pod", "hungry")


def test_cpu_limit_throttles(scenario: Scenario) -> None:
    """A busy loop under a 200m limit is throttled by its cgroup and uses about a fifth of a core."""
    _run(scenario, "busy", BURN)
    scenario.kubectl("wait", "--for=condition=Ready", "pod/busy", "--timeout=10s")
    pid = first_process_of(scenario.object("pod", "busy")["metadata"]["uid"])
    statistics = _cgroup_file(pid, "cpu", "cpu.stat")

    def throttled() -> int:
        return int(dict(line.split() for line in statistics.read_text().splitlines())["nr_throttled"])

    scenario.until("it is throttled", lambda: throttled() >= 5, timeout_s=10)
    before, started = _cpu_ticks(pid), time.monotonic()
    scenario.until("two seconds pass", lambda: time.monotonic() - started >= 2, timeout_s=5)
    used = (_cpu_ticks(pid) - before) / 100 / (time.monotonic() - started)
    assert 0.1 <= used <= 0.3
    scenario.kubectl("delete", "pod", "busy")


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_fork_bomb_stops_at_the_pids_limit(scenario: Scenario) -> None:
    """A container that forks without end reaches its pids limit and the node stays usable."""
    _run(scenario, "bomb", FORK_BOMB, memory="1Gi")
    scenario.kubectl("wait", "--for=condition=Ready", "pod/bomb", "--timeout=10s")
    pid = first_process_of(scenario.object("pod", "bomb")["metadata"]["uid"])
    current = _cgroup_file(pid, "pids", "pids.current").parent.parent / "pids.current"
    limit = int((current.parent / "pids.max").read_text())
    scenario.until("it stops growing at the limit", lambda: int(current.read_text()) >= limit * 0.9, timeout_s=30)
    assert int(current.read_text()) <= limit
    assert scenario.kubectl("get", "nodes").count(" Ready ") == 1
    scenario.kubectl("delete", "pod", "bomb")


def test_disk_limits_evict(scenario: Scenario) -> None:
    """A pod that fills its directory beyond the limit is evicted and says why; its owner makes another one."""
    container = {
        "name": "c",
        "image": "flotilla.dev/sample:v1",
        "command": ["/bin/sh", "-c", "head -c 3000000 /dev/zero > /scratch/file; exec sleep 1000"],
        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
        "resources": {"limits": {"ephemeral-storage": "1Gi"}},
    }
    volumes = [{"name": "scratch", "emptyDir": {"sizeLimit": "1Mi"}}]
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container], "volumes": volumes}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    manifest = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "full"}, "spec": spec}
    assert "Warning" not in scenario.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))

    def evicted() -> list[str]:
        statuses = [pod["status"] for pod in scenario.items("pods")]
        return [status["message"] for status in statuses if status.get("reason") == "Evicted"]

    scenario.until(
        "the first is evicted and replaced", lambda: evicted() and len(scenario.items("pods")) > 1, timeout_s=20
    )
    assert evicted()[0] == 'Usage of EmptyDir volume "scratch" exceeds the limit "1Mi". '
    scenario.kubectl("delete", "replicaset", "full")


def test_two_pods_on_one_container_port(scenario: Scenario) -> None:
    """Each pod has a network of its own: two listen on 8080 side by side and both get Ready."""
    for name in ("first", "second"):
        _run(scenario, name, "exec /bin/server")
    scenario.kubectl("wait", "--for=condition=Ready", "pod/first", "pod/second", "--timeout=10s")
    addresses = {scenario.object("pod", name)["status"]["podIP"] for name in ("first", "second")}
    assert len(addresses) == 2
    scenario.kubectl("delete", "pod", "first", "second")
