"""Static pods as a user of the API sees them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, until
from tests.e2e.scenario import Scenario

pytestmark = [pytest.mark.root, pytest.mark.etcd, pytest.mark.e2e]

MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {{app: static}}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {{name: main, image: "flotilla.dev/sample:v1", command: [/bin/sh, -c, "echo {word}; sleep 1000"]}}
"""


@pytest.fixture
def manifest_name(cluster: Cluster, namespace: str) -> Iterator[str]:
    """The name of a manifest that is gone after the test."""
    yield namespace
    (cluster.data_dir / "manifests" / f"{namespace}.yaml").unlink(missing_ok=True)


def test_a_static_pod_is_seen_read_and_entered(scenario: Scenario, manifest_name: str) -> None:
    """Its mirror shows its status, logs and shell; deleting the mirror ends nothing and brings it back."""
    name, path = "static-node-1", scenario.cluster.data_dir / "manifests" / f"{manifest_name}.yaml"
    path.write_text(MANIFEST.format(name="static", namespace=scenario.namespace, word="first"))

    def pod() -> Any:
        found = scenario.items("pods")
        return found[0] if found and found[0]["status"].get("phase") == "Running" else None

    shown = until(pod, what="the mirror pod")
    assert shown["metadata"]["name"] == name
    assert shown["metadata"]["ownerReferences"][0]["kind"] == "Node"
    annotations = shown["metadata"]["annotations"]
    assert annotations["kubernetes.io/config.mirror"] == annotations["kubernetes.io/config.hash"]
    assert annotations["kubernetes.io/config.source"] == "file"
    until(lambda: scenario.kubectl("logs", name) == "first\n", what="the log")
    entered = scenario.kubectl_program("exec", f"--namespace={scenario.namespace}", name, "--", "echo", "hello")
    assert entered.stdout == "hello\n"
    assert "Started container main" in scenario.kubectl("describe", "pod", name)
    started = shown["status"]["containerStatuses"][0]["containerID"]
    scenario.kubectl("delete", "pod", name)
    again = until(lambda: (found := pod()) and found["metadata"]["uid"] != shown["metadata"]["uid"] and found)
    assert again["status"]["containerStatuses"][0]["containerID"] == started
    path.write_text(MANIFEST.format(name="static", namespace=scenario.namespace, word="second"))
    # The mirror goes and comes with the change: at any moment there may be none.
    logs = ("logs", f"--namespace={scenario.namespace}", name)
    until(lambda: scenario.kubectl_program(*logs, check=False).stdout == "second\n")
    path.write_text("apiVersion: v1\nkind: Pod\nmetadata: {name: static}\nspec: {container: []}\n")

    def told() -> bool:
        events = json.loads(scenario.cluster.flotilla("get", "events", "-n", "default", "-o", "json").stdout)["items"]
        return any(
            f'{path.name}: document 1: Pod/static: unknown field "spec.container"' in event["message"]
            for event in events
            if event["reason"] == "InvalidManifest" and event["involvedObject"]["kind"] == "Node"
        )

    until(told, what="the event about the manifest")
    assert scenario.kubectl("logs", name) == "second\n"
    path.unlink()
    until(lambda: not scenario.items("pods"), what="the pod's end")
