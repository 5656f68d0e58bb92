"""The pages of a node, read through the API as any tool would, against a load that is known."""

from __future__ import annotations

import json
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.scenario import Scenario

pytestmark = [pytest.mark.e2e, pytest.mark.root]

MIB = 1 << 20
HOLD = "a=$(head -c 20000000 /dev/zero | tr '\\\\0' x)"
POD = f"""
apiVersion: v1
kind: Pod
metadata: {{name: load}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: flotilla.dev/sample:v1
    command: ["/bin/sh", "-c", "{HOLD}; head -c 5242880 /dev/urandom > /file; touch /ready; while :; do :; done"]
    readinessProbe: {{exec: {{command: [cat, /ready]}}, periodSeconds: 1}}
    resources: {{requests: {{cpu: 10m, memory: 8Mi}}, limits: {{cpu: 200m, memory: 256Mi}}}}
    volumeMounts: [{{name: scratch, mountPath: /scratch}}]
  volumes: [{{name: scratch, emptyDir: {{}}}}]
"""


def _page(scenario: Scenario, path: str) -> str:
    return scenario.kubectl("get", "--raw", f"/api/v1/nodes/node-1/proxy{path}")


def _series(scenario: Scenario, path: str) -> dict[tuple[str, str], float]:
    """Values of the pod's series by (name, container); the container of a pod's own is empty."""
    return {
        (sample.name, sample.labels.get("container", "")): sample.value
        for family in text_string_to_metric_families(_page(scenario, path))
        for sample in family.samples
        if sample.labels.get("pod") == "load" and sample.labels.get("namespace") == scenario.namespace
    }


def test_pages_show_a_known_load(scenario: Scenario) -> None:
    """CPU, memory, throttling, pressure, disk and limits of a busy container are what it is known to use."""
    scenario.kubectl("apply", "-f", "-", stdin=POD)
    scenario.kubectl("wait", "--for=condition=Ready", "pod/load", "--timeout=30s")
    scenario.until("it is sampled", lambda: _series(scenario, "/metrics/resource"), timeout_s=10)
    before, began_s = _series(scenario, "/metrics/cadvisor"), time.monotonic()
    scenario.until("three seconds pass", lambda: time.monotonic() - began_s >= 3, timeout_s=5)
    after = _series(scenario, "/metrics/cadvisor")
    passed_s = time.monotonic() - began_s

    def grown(name: str, container: str = "c") -> float:
        return after[name, container] - before[name, container]

    # Bounds are wide: on a busy machine the container waits for others, and is throttled less.
    for container in ("c", ""):
        assert 0.05 <= grown("container_cpu_usage_seconds_total", container) / passed_s <= 0.35
        assert 20e6 <= after["container_memory_working_set_bytes", container] <= 256 * MIB
    assert grown("container_cpu_cfs_throttled_periods_total") >= 1
    assert grown("container_cpu_cfs_throttled_seconds_total") > 0
    assert grown("container_pressure_cpu_waiting_seconds_total") > 0.2
    assert after["container_spec_cpu_quota", "c"] == 20_000
    assert after["container_spec_memory_limit_bytes", "c"] == 256 * MIB
    assert 5 * MIB <= after["container_fs_usage_bytes", "c"] <= 6 * MIB
    assert after["container_network_receive_packets_total", ""] >= 0
    _check_resource_page(scenario)
    _check_summary(scenario)
    scenario.kubectl("delete", "pod", "load")


def _check_resource_page(scenario: Scenario) -> None:
    found = _series(scenario, "/metrics/resource")
    assert 20e6 <= found["container_memory_working_set_bytes", "c"] <= 256 * MIB
    assert found["container_cpu_usage_seconds_total", "c"] > 0.15
    assert found["pod_cpu_usage_seconds_total", ""] >= found["container_cpu_usage_seconds_total", "c"] * 0.9
    assert found["container_start_time_seconds", "c"] <= time.time()


def _check_summary(scenario: Scenario) -> None:
    summary = json.loads(_page(scenario, "/stats/summary"))
    assert summary["node"]["nodeName"] == "node-1"
    assert summary["node"]["fs"]["capacityBytes"] > summary["node"]["fs"]["availableBytes"] > 0
    assert summary["node"]["rlimit"]["maxpid"] > summary["node"]["rlimit"]["curproc"] > 0
    pod = next(
        each
        for each in summary["pods"]
        if (each["podRef"]["namespace"], each["podRef"]["name"]) == (scenario.namespace, "load")
    )
    container = pod["containers"][0]
    assert 0.05e9 <= container["cpu"]["usageNanoCores"] <= 0.35e9
    assert 0 < container["memory"]["availableBytes"] < 256 * MIB
    assert 5 * MIB <= container["rootfs"]["usedBytes"] <= 6 * MIB
    assert pod["network"]["name"] == "eth0"
    assert [volume["name"] for volume in pod["volume"]] == ["scratch"]
    brief = json.loads(_page(scenario, "/stats/summary?only_cpu_and_memory=true"))
    assert "fs" not in brief["node"]


def test_pods_page_and_health(scenario: Scenario) -> None:
    """The node lists its pods with their statuses and says that it is healthy; other paths and nodes are not found."""
    scenario.kubectl("run", "seen", "--image=flotilla.dev/sample:v1", "--restart=Never")
    scenario.kubectl("wait", "--for=condition=Ready", "pod/seen", "--timeout=20s")
    pods = json.loads(_page(scenario, "/pods"))
    assert pods["kind"] == "PodList"
    phases = {each["metadata"]["name"]: each["status"]["phase"] for each in pods["items"]}
    assert phases["seen"] == "Running"
    assert _page(scenario, "/healthz") == "ok"
    assert "NotFound" in scenario.kubectl_fails("get", "--raw", "/api/v1/nodes/node-1/proxy/secrets")
    assert "not found" in scenario.kubectl_fails("get", "--raw", "/api/v1/nodes/other/proxy/healthz")
    ends = ("run", "over", "--image=flotilla.dev/sample:v1", "--restart=Never", "--command", "--", "true")
    scenario.kubectl_program(f"--namespace={scenario.namespace}", *ends)
    scenario.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/over", "--timeout=20s")
    pages = ("/metrics/cadvisor", "/metrics/resource", "/stats/summary", "/pods")
    scenario.until("all show it", lambda: all("seen" in _page(scenario, path) for path in pages), timeout_s=10)
    scenario.kubectl("delete", "pod", "seen", "over", "--now")
