"""A node that is asked to shut down, as a user of the API sees it."""

from __future__ import annotations

from typing import Any

import pytest

from flotilla.api.conditions import get_condition
from tests.e2e.cluster import until
from tests.e2e.scenario import Scenario

pytestmark = [pytest.mark.root, pytest.mark.etcd, pytest.mark.e2e]

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 600
      containers: [{name: main, image: "flotilla.dev/sample:v1", command: [/bin/sleep, "1000"]}]
"""


def test_a_node_shuts_down_and_comes_back(scenario: Scenario) -> None:
    """Pods end with the documented reason, the node is not ready, and when the shutdown is cancelled new pods run."""
    cluster, run_dir = scenario.cluster, f"--run-dir={scenario.cluster.run_dir}"
    scenario.kubectl("apply", "-f", "-", stdin=DEPLOYMENT)

    def pods(phase: str) -> list[Any]:
        return [pod for pod in scenario.items("pods") if pod["status"].get("phase") == phase]

    until(lambda: pods("Running"), what="the running pod")
    cluster.flotilla(
        "node", "shutdown", run_dir, "--shutdown-grace-period=1s", "--shutdown-grace-period-critical-pods=0"
    )
    try:
        (failed,) = until(lambda: pods("Failed"), what="the ended pod")
        assert failed["status"]["reason"] == "Terminated"
        assert failed["status"]["message"] == "Pod was terminated in response to imminent node shutdown."
        ready = get_condition(cluster.get("node", "node-1"), "Ready")
        assert ready is not None
        assert (ready["status"], ready["reason"], ready["message"]) == (
            "False",
            "NodeShutdown",
            "node is shutting down",
        )
        assert until(lambda: pods("Pending"), what="the pod in its place")
    finally:
        cluster.flotilla("node", "shutdown", run_dir, "--cancel")
    until(lambda: pods("Running"), what="the pod in its place, running")
