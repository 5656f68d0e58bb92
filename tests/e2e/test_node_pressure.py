"""A node with a small disk and little memory for pods: what it offers, who goes when it runs out, how it recovers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from flotilla.api.objects import KubeObject
from flotilla.api.quantities import bytes_of
from nodeagent.metrics.machine import total_memory_bytes
from tests.directories import passable_directory
from tests.e2e.cluster import KUBECTL_VERSIONS, Kubectl, find_kubectl, new_cluster
from tests.e2e.scenario import Scenario

pytestmark = [pytest.mark.e2e, pytest.mark.root]

MIB = 1 << 20
PODS_MIB = 600
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  nodeName: node-1
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: flotilla.dev/sample:v1
    command: ["/bin/sh", "-c", "{command}; exec sleep 1000"]
    resources: {{requests: {requests}}}
    volumeMounts: [{{name: scratch, mountPath: /scratch}}]
  volumes: [{{name: scratch, emptyDir: {{{medium}}}}}]
"""


@pytest.fixture(scope="module")
def small(sample_archive: Path) -> Iterator[Scenario]:
    """A cluster whose node has a disk of 1200 MiB and leaves 600 MiB of memory to pods."""
    program = find_kubectl(KUBECTL_VERSIONS[0])
    if os.geteuid() != 0 or program is None:
        pytest.skip("needs root and kubectl")
    with passable_directory() as directory:
        image, disk = directory / "disk.img", directory / "disk"
        disk.mkdir(mode=0o711)
        with image.open("wb") as file:
            file.truncate(1200 * MIB)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, disk], check=True)
        cluster = new_cluster(disk)
        cluster.network.create()
        reserved = total_memory_bytes() - PODS_MIB * MIB
        options = [
            f"--system-reserved=memory={reserved}",
            "--kube-reserved=cpu=100m",
            "--eviction-hard=memory.available<100Mi,nodefs.available<300Mi",
            "--eviction-pressure-transition-period=2s",
            "--max-pods=20",
        ]
        try:
            passed_on = [f"--agent-option={option}" for option in options]
            cluster.flotilla("up", "--no-prometheus", *cluster.options, *passed_on, timeout_s=150)
            cluster.flotilla("image", "load", str(sample_archive), f"--node-dir={cluster.data_dir / 'node'}")
            yield Scenario(cluster, Kubectl(cluster, program, KUBECTL_VERSIONS[0]), "default")
        finally:
            cluster.down("--purge")
            cluster.network.delete()
            subprocess.run(["umount", disk], check=True)


def _start(scenario: Scenario, name: str, command: str = "true", *, requests: str = "{}", medium: str = "") -> None:
    manifest = POD.format(name=name, command=command, requests=requests, medium=medium)
    scenario.kubectl("apply", "-f", "-", stdin=manifest)


def _evicted(scenario: Scenario, name: str) -> KubeObject:
    """The pod once it has failed as one that was evicted."""
    pod: KubeObject = scenario.until(
        f"{name} is evicted",
        lambda: found if (found := scenario.object("pod", name))["status"]["phase"] == "Failed" else None,
        timeout_s=20,
    )
    assert pod["status"]["reason"] == "Evicted"
    return pod


def _condition(scenario: Scenario, kind: str) -> str:
    conditions = scenario.object("node", "node-1")["status"]["conditions"]
    return str(next(each["status"] for each in conditions if each["type"] == kind))


def _taints(scenario: Scenario) -> set[str]:
    return {taint["key"] for taint in scenario.object("node", "node-1")["spec"].get("taints") or ()}


def test_allocatable_is_less_than_capacity(small: Scenario) -> None:
    """The Node offers what reserves and hard thresholds leave, and a pod that asks for more stays pending."""
    status = small.object("node", "node-1")["status"]
    capacity, allocatable = status["capacity"], status["allocatable"]
    assert allocatable["memory"] == f"{(PODS_MIB - 100) * 1024}Ki"
    assert (allocatable["cpu"], allocatable["pods"]) == (f"{int(capacity['cpu']) * 1000 - 100}m", "20")
    disk = bytes_of(capacity["ephemeral-storage"])
    assert bytes_of(allocatable["ephemeral-storage"]) == disk - 300 * MIB
    requests = f"{{ephemeral-storage: {disk - 200 * MIB}}}"
    manifest = POD.format(name="large", command="true", requests=requests, medium="").replace("nodeName: node-1", "")
    small.kubectl("apply", "-f", "-", stdin=manifest)
    message = small.until(
        "it is said why",
        lambda: (
            [each.get("message") for each in small.object("pod", "large")["status"].get("conditions", ())] or [""]
        )[0],
        timeout_s=10,
    )
    assert message == "0/1 nodes are available: 1 Insufficient ephemeral-storage."
    small.kubectl("delete", "pod", "large")


def test_memory_pressure(small: Scenario) -> None:
    """The pod that used most is evicted before the kernel kills one; the condition and its taint come and go."""
    _start(small, "modest", requests="{memory: 64Mi}")
    small.kubectl("wait", "--for=condition=Ready", "pod/modest", "--timeout=20s")
    _start(small, "hog", "head -c 545259520 /dev/zero > /scratch/file", medium="medium: Memory")
    message = _evicted(small, "hog")["status"]["message"]
    assert message.startswith("The node was low on resource: memory. Threshold quantity: 100Mi, available: ")
    assert "Container c was using " in message
    assert "Reason:           Evicted" in small.kubectl("describe", "pod", "hog")
    small.until("the condition is gone", lambda: _condition(small, "MemoryPressure") == "False", timeout_s=15)
    small.until("the taint is gone", lambda: not _taints(small), timeout_s=10)
    events = {(event["reason"], event["involvedObject"]["kind"]) for event in small.items("events")}
    assert {("Evicted", "Pod"), ("EvictionThresholdMet", "Node"), ("NodeHasInsufficientMemory", "Node")} <= events
    assert small.object("pod", "modest")["status"]["phase"] == "Running"
    assert small.container_status("modest")["restartCount"] == 0
    small.kubectl("delete", "pod", "hog", "modest")


def test_disk_pressure(small: Scenario) -> None:
    """The pod that has most on the disk is evicted; a pod that comes meanwhile is refused, and later ones run."""
    _start(small, "bystander")
    small.kubectl("wait", "--for=condition=Ready", "pod/bystander", "--timeout=20s")
    _start(small, "filler", "head -c 891289600 /dev/zero > /scratch/file")
    small.until("the disk is short", lambda: _condition(small, "DiskPressure") == "True", timeout_s=30)
    small.until("it is tainted", lambda: "node.kubernetes.io/disk-pressure" in _taints(small), timeout_s=10)
    _start(small, "late", requests="{memory: 1Mi}")
    assert _evicted(small, "late")["status"]["message"] == "The node had condition: [DiskPressure]. "
    message = _evicted(small, "filler")["status"]["message"]
    assert message.startswith("The node was low on resource: ephemeral-storage. Threshold quantity: 300Mi, available: ")
    small.until("the taint is gone", lambda: not _taints(small), timeout_s=15)
    _start(small, "later")
    small.kubectl("wait", "--for=condition=Ready", "pod/later", "pod/bystander", "--timeout=20s")
    small.kubectl("delete", "pod", "bystander", "filler", "late", "later")
