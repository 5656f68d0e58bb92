"""Pods that come and go leave nothing behind: no file, descriptor, mount, link, cgroup or process.

``FLOTILLA_CHURN_ROUNDS`` makes it longer: 20 rounds are 200 pods.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from nodeagent.cgroups import detect
from tests.e2e.scenario import Scenario

pytestmark = [pytest.mark.e2e, pytest.mark.root]

ROUNDS = int(os.environ.get("FLOTILLA_CHURN_ROUNDS", "3"))
PODS = 10
DEADLINE_S = 30.0
GROWTH_BYTES = 12 << 20
WORKLOAD = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: blue}
---
apiVersion: v1
kind: Secret
metadata: {name: password}
stringData: {password: secret}
---
apiVersion: v1
kind: Service
metadata: {name: churn}
spec: {selector: {app: churn}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: churn}
spec:
  replicas: 0
  selector: {matchLabels: {app: churn}}
  template:
    metadata: {labels: {app: churn}}
    spec:
      volumes:
      - {name: settings, configMap: {name: settings}}
      - {name: password, secret: {secretName: password}}
      - {name: disk, emptyDir: {}}
      - {name: memory, emptyDir: {medium: Memory}}
      containers:
      - name: web
        image: flotilla.dev/sample:v1
        resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 64Mi}}
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
        volumeMounts:
        - {name: settings, mountPath: /settings}
        - {name: password, mountPath: /password}
        - {name: disk, mountPath: /disk}
        - {name: memory, mountPath: /memory}
      - name: crashes-once
        image: flotilla.dev/sample:v1
        command:
        - /bin/sh
        - -c
        - |
          trap "exit 0" TERM
          test -e /disk/once || { touch /disk/once; exit 1; }
          while :; do sleep 1 & wait $!; done
        volumeMounts: [{name: disk, mountPath: /disk}]
        readinessProbe: {exec: {command: ["test", "-e", "/disk/once"]}, periodSeconds: 1}
"""


def _holdings(scenario: Scenario, agent: int) -> dict[str, int]:
    """How many of everything the node holds."""
    cluster = scenario.cluster
    node = cluster.data_dir / "node"
    files = {
        str(directory.relative_to(root)): len(list(directory.rglob("*")))
        for root in (node, cluster.run_dir)
        for directory in root.iterdir()
        if directory.is_dir() and directory.name not in ("pki", "supervisor")
    }
    groups = detect().directories(f"/{cluster.cgroup_parent}")
    conmons = [path for path in Path("/proc").glob("[0-9]*/cmdline") if _is_conmon(path, str(cluster.run_dir))]
    return files | {
        "descriptors": len(os.listdir(f"/proc/{agent}/fd")),
        "threads": len(os.listdir(f"/proc/{agent}/task")),
        "mounts": Path("/proc/self/mountinfo").read_text(encoding="utf-8").count(str(cluster.data_dir.parent)),
        "links": len(cluster.run("ip", "-o", "link").stdout.splitlines()),
        "cgroups": sum(path.is_dir() for group in groups for path in group.rglob("*")),
        "conmons": len(conmons),
    }


def _more(now: dict[str, int], before: dict[str, int]) -> dict[str, tuple[int, int]]:
    """What has grown, as (before, now)."""
    return {name: (before.get(name, 0), count) for name, count in now.items() if count > before.get(name, 0)}


def _is_conmon(command_line: Path, marker: str) -> bool:
    try:
        words = command_line.read_bytes().split(b"\0")
    except OSError:
        return False
    return words[0].endswith(b"conmon") and any(marker.encode() in word for word in words)


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _round(scenario: Scenario) -> None:
    scenario.kubectl("scale", "deployment/churn", f"--replicas={PODS}")
    scenario.until("all pods are ready", lambda: scenario.ready_replicas("churn") == PODS, timeout_s=60)
    scenario.kubectl("scale", "deployment/churn", "--replicas=0")
    scenario.until("all pods are gone", lambda: not scenario.items("pods"), timeout_s=60)


def test_pods_come_and_go(scenario: Scenario) -> None:
    """After every round the node holds what it held after the first, and the agent's memory stays where it was."""
    scenario.until("no other pods", lambda: not scenario.cluster.get("pods", "-A")["items"], timeout_s=60)
    scenario.kubectl("apply", "-f", "-", stdin=WORKLOAD)
    agent = scenario.pid("agent")
    _round(scenario)
    scenario.until("quiet", lambda: _holdings(scenario, agent)["conmons"] == 0, timeout_s=30)
    before, memory = _holdings(scenario, agent), _resident_bytes(agent)
    began = time.monotonic()
    for _ in range(ROUNDS):
        _round(scenario)
    deadline = time.monotonic() + DEADLINE_S
    while left := _more(_holdings(scenario, agent), before):
        assert time.monotonic() < deadline, f"more than after the first round: {left}"
        time.sleep(0.2)
    growth = _resident_bytes(agent) - memory
    print(f"{ROUNDS * PODS} pods in {time.monotonic() - began:.0f} s, the agent's memory grew by {growth >> 10} KiB")
    assert growth < GROWTH_BYTES
