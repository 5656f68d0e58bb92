"""A hostile pod in a running cluster: the network of others, the control plane's ports, and who its root is outside."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from nodeagent.isolation.ranges import FIRST_ID, RANGE_SIZE, RANGES
from tests.benchmarks.processes import first_process_of
from tests.e2e.cluster import NODE_ADDRESS
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
"""
GATEWAY = "10.42.0.1"
PRIVATE_PORTS = {"etcd": 6445, "etcd's peers": 6446, "the agent": 10250, "Prometheus": 9490}


def _run(scenario: Scenario, name: str, command: str = "sleep 1000") -> None:
    scenario.kubectl("apply", "-f", "-", stdin=POD.format(name=name, command=command))


def _wait(scenario: Scenario, *names: str) -> None:
    scenario.kubectl("wait", "--for=condition=Ready", "--timeout=30s", *(f"pod/{name}" for name in names))


def _try(scenario: Scenario, command: str, *, pod: str = "hostile") -> str:
    """What a command prints in a pod, the hostile one if nothing is said, whether it fails or not."""
    where = (f"--namespace={scenario.namespace}", pod)
    return scenario.kubectl_program("exec", *where, "--", "sh", "-c", f"({command}) 2>&1 || true").stdout.strip()


def _pid(scenario: Scenario, name: str) -> int:
    return first_process_of(scenario.object("pod", name)["metadata"]["uid"])


def _address(scenario: Scenario, name: str) -> str:
    found: str = scenario.object("pod", name)["status"]["podIP"]
    return found


def test_the_network_of_another_pod(scenario: Scenario) -> None:
    """What listens on another pod's loopback can't be reached, and its address can't be taken."""
    _run(scenario, "victim", "echo hush > /tmp/index.html; httpd -f -p 127.0.0.1:9999 -h /tmp")
    _run(scenario, "hostile")
    _wait(scenario, "victim", "hostile")
    address = _address(scenario, "victim")
    assert _try(scenario, "wget -q -O - http://127.0.0.1:9999/", pod="victim") == "hush"
    for host in (address, "127.0.0.1"):
        assert "hush" not in _try(scenario, f"wget -q -T 2 -O - http://{host}:9999/")
    assert "Operation not permitted" in _try(scenario, f"ip addr add {address}/32 dev eth0")
    assert "Operation not permitted" in _try(scenario, f"ip route add {address}/32 dev lo")
    assert "assign requested address" in _try(scenario, f"httpd -f -p {address}:80")


@pytest.mark.parametrize("port", PRIVATE_PORTS.values(), ids=PRIVATE_PORTS.keys())
def test_ports_of_the_control_plane(scenario: Scenario, port: int) -> None:
    """Nothing of the control plane or the agent listens where a pod could connect, by whatever address of the node."""
    _run(scenario, "hostile")
    _wait(scenario, "hostile")
    for host in (GATEWAY, NODE_ADDRESS, "127.0.0.1"):
        assert _try(scenario, f"nc -w 2 {host} {port} </dev/null && echo connected").splitlines()[-1] != "connected"


def test_root_is_nobody_outside(scenario: Scenario) -> None:
    """A pod that asks for nothing has users of its own: no id of its processes and files is anybody's on the node."""
    _run(scenario, "hostile", "touch /made; sleep 1000")
    _wait(scenario, "hostile")
    assert _try(scenario, "id -u") == "0"
    pid = _pid(scenario, "hostile")
    first = Path(f"/proc/{pid}").stat().st_uid
    assert FIRST_ID <= first < FIRST_ID + RANGES * RANGE_SIZE
    assert Path(f"/proc/{pid}/uid_map").read_text().split() == ["0", str(first), str(RANGE_SIZE)]
    run = scenario.container_status("hostile")["containerID"].partition("//")[2]
    made = scenario.cluster.data_dir / "node" / "rootfs" / run / "upper" / "made"
    assert made.stat().st_uid == first
    assert not [each for each in scenario.items("events") if each["reason"] == "HostUsers"]


def test_hosts_users_by_wish(scenario: Scenario) -> None:
    """``hostUsers: true`` gives a pod the node's users."""
    manifest = POD.format(name="shared", command="sleep 1000").replace("spec:", "spec:\n  hostUsers: true")
    scenario.kubectl("apply", "-f", "-", stdin=manifest)
    _wait(scenario, "shared")
    assert Path(f"/proc/{_pid(scenario, 'shared')}").stat().st_uid == 0


def test_directories_of_the_node_are_closed(scenario: Scenario) -> None:
    """Volumes, logs and what is secret can be entered by the node's root alone."""
    data, run = scenario.cluster.data_dir / "node", scenario.cluster.run_dir
    _run(scenario, "hostile")
    _wait(scenario, "hostile")
    for directory in (data / "pods", data / "logs", run / "private", run / "pods"):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
