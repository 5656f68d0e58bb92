"""The Python clients read what a running container writes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.e2e.scenario import Scenario

READER = Path(__file__).with_name("read_logs.py")
CLIENTS = ("kubernetes", "kr8s", "lightkube")
POD = """
apiVersion: v1
kind: Pod
metadata: {name: talker}
spec:
  terminationGracePeriodSeconds: 0
  restartPolicy: Never
  containers:
  - {name: main, image: "flotilla.dev/sample:v1", command: [sh, -c, "echo one; sleep 1; echo two"]}
"""
pytestmark = [pytest.mark.e2e, pytest.mark.root]


def test_logs_are_followed_to_their_end(scenario: Scenario) -> None:
    """Each client gets every line, the first one also those that come while it listens, and then the end."""
    scenario.kubectl("apply", "-f", "-", stdin=POD)
    scenario.kubectl("wait", "--for=condition=Ready", "pod/talker", "--timeout=30s")
    read = scenario.cluster.run(sys.executable, str(READER), scenario.namespace, "talker")
    assert read.stdout.splitlines() == [f"{client}: {line}" for client in CLIENTS for line in ("one", "two")]
