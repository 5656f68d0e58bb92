"""Data that outlives pods: claims on the built-in class, with kubectl, on a whole cluster."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from tests.e2e.scenario import Scenario

pytestmark = [pytest.mark.e2e, pytest.mark.root, pytest.mark.timeout(180)]

CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 100Mi}}
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {runAsUser: 1000, runAsGroup: 1000, fsGroup: 2000}
  containers:
  - name: main
    image: flotilla.dev/sample:v1
    command: [sleep, "1000"]
    volumeMounts: [{name: data, mountPath: /data}]
  volumes:
  - name: data
    SOURCE
"""
BY_CLAIM = "persistentVolumeClaim: {claimName: data}"
READ_ONLY = "persistentVolumeClaim: {claimName: data, readOnly: true}"
EPHEMERAL = """ephemeral:
      volumeClaimTemplate:
        metadata: {labels: {of: a-pod}}
        spec:
          accessModes: [ReadWriteOnce]
          resources: {requests: {storage: 1Mi}}"""


def pod(name: str, source: str = BY_CLAIM) -> str:
    return POD.replace("NAME", name).replace("SOURCE", source)


def run_pod(scenario: Scenario, name: str, source: str = BY_CLAIM) -> None:
    scenario.kubectl("apply", "-f", "-", stdin=pod(name, source))
    scenario.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=30s")


def directory_of(scenario: Scenario, volume: str) -> Path:
    """Where the node keeps the data."""
    handle: str = scenario.object("pv", volume)["spec"]["csi"]["volumeHandle"]
    return scenario.cluster.data_dir / "node" / "local-volumes" / handle


def in_pod(scenario: Scenario, name: str, script: str) -> str:
    return scenario.kubectl_program("exec", "-n", scenario.namespace, name, "--", "sh", "-c", script).stdout


def test_data_survives_what_it_should(scenario: Scenario) -> None:
    """A claim waits for its pod, holds its data over pods, agent and server, and takes it along when it goes."""
    assert re.search(
        r"^local-path \(default\) +flotilla\.dev/local-path +Delete +WaitForFirstConsumer +true +",
        scenario.kubectl("get", "sc"),
        re.MULTILINE,
    )
    assert "Warning" not in scenario.kubectl("apply", "-f", "-", stdin=CLAIM)
    assert scenario.object("pvc", "data")["spec"]["storageClassName"] == "local-path"
    scenario.until(
        "the claim says what it waits for",
        lambda: "WaitForFirstConsumer" in scenario.kubectl("describe", "pvc", "data"),
        timeout_s=10,
    )
    run_pod(scenario, "first")
    in_pod(scenario, "first", "echo precious >/data/file")
    volume = scenario.object("pvc", "data")["spec"]["volumeName"]
    columns = rf"^data +Bound +{volume} +100Mi +RWO +local-path +<unset> "
    assert re.search(columns, scenario.kubectl("get", "pvc"), re.MULTILINE)
    columns = rf"^{volume} +100Mi +RWO +Delete +Bound +{scenario.namespace}/data +local-path +<unset> "
    assert re.search(columns, scenario.kubectl("get", "pv"), re.MULTILINE)
    described = scenario.kubectl("describe", "pv", volume)
    assert re.search(r"Driver: +local-path\.flotilla\.dev", described)
    assert re.search(r"Used By: +first", scenario.kubectl("describe", "pvc", "data"))
    kept = directory_of(scenario, volume) / "file"
    assert (kept.read_text(), kept.stat().st_uid, kept.stat().st_gid) == ("precious\n", 1000, 2000)

    scenario.kubectl("delete", "pod", "first")
    for role in ("agent", "server"):
        os.kill(scenario.pid(role), signal.SIGKILL)
    scenario.until("the API is back", lambda: scenario.try_kubectl("get", "pvc"), timeout_s=20)
    run_pod(scenario, "second", READ_ONLY)
    assert in_pod(scenario, "second", "cat /data/file") == "precious\n"
    assert "Read-only file system" in in_pod(scenario, "second", "touch /data/other 2>&1 || true")

    scenario.kubectl("patch", "pvc", "data", "-p", '{"spec":{"resources":{"requests":{"storage":"1Gi"}}}}')
    resized = "--for=jsonpath={.status.capacity.storage}=1Gi"
    scenario.kubectl("wait", resized, "pvc/data", "--timeout=10s")

    scenario.kubectl("delete", "pvc", "data", "--wait=false")
    assert re.search(r"^data +Terminating ", scenario.kubectl("get", "pvc"), re.MULTILINE)
    assert kept.exists()
    scenario.kubectl("delete", "pod", "second")
    scenario.kubectl("wait", "--for=delete", "pvc/data", f"pv/{volume}", "--timeout=20s")
    assert not kept.parent.exists()


def test_images_as_volumes(scenario: Scenario) -> None:
    """A pod sees the files of another image, and can neither change nor start them."""
    run_pod(scenario, "reader", "image: {reference: flotilla.dev/sample:v1}")
    assert in_pod(scenario, "reader", "ls /data/bin/sh") == "/data/bin/sh\n"
    refused = in_pod(scenario, "reader", "touch /data/x 2>&1 || true; /data/bin/sh -c id 2>&1 || true")
    assert "Read-only file system" in refused
    assert "Permission denied" in refused


def test_retained_volumes_and_claims_of_a_pods_own(scenario: Scenario) -> None:
    """What is to be retained stays with its data; the claim of a pod's own goes with the pod, and its data too."""
    name = f"keep-{scenario.namespace}"
    scenario.kubectl(
        "apply",
        "-f",
        "-",
        stdin=f"""
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {{name: {name}}}
provisioner: flotilla.dev/local-path
reclaimPolicy: Retain
volumeBindingMode: Immediate
""",
    )
    scenario.kubectl("apply", "-f", "-", stdin=CLAIM.replace("spec:", f"spec:\n  storageClassName: {name}"))
    scenario.kubectl("wait", "--for=jsonpath={.status.phase}=Bound", "pvc/data", "--timeout=10s")
    run_pod(scenario, "first")
    run_pod(scenario, "second", EPHEMERAL)
    in_pod(scenario, "first", "echo precious >/data/file")
    in_pod(scenario, "second", "echo scratch >/data/file")
    own = scenario.object("pvc", "second-data")
    kept = scenario.object("pvc", "data")["spec"]["volumeName"]
    assert own["metadata"]["labels"] == {"of": "a-pod"}
    gone = directory_of(scenario, own["spec"]["volumeName"])
    assert (gone / "file").read_text() == "scratch\n"
    scenario.kubectl("delete", "pod", "first", "second")
    scenario.kubectl("delete", "pvc", "data")
    scenario.kubectl("wait", "--for=delete", f"pv/{own['spec']['volumeName']}", "--timeout=20s")
    assert not gone.exists()
    scenario.kubectl("wait", "--for=jsonpath={.status.phase}=Released", f"pv/{kept}", "--timeout=10s")
    data = directory_of(scenario, kept)
    scenario.kubectl("delete", "pv", kept, "--timeout=10s")
    scenario.kubectl("delete", "sc", name)
    assert (data / "file").read_text() == "precious\n"
