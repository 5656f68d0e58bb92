"""A service whose workload is at zero answers all the same: its first requests wait until there is somebody."""

from __future__ import annotations

import json
import re
import sys

import pytest

from tests.e2e.cluster import ROOT
from tests.e2e.scenario import Scenario

pytestmark = [pytest.mark.e2e, pytest.mark.root]

AT_ONCE = 100
ASK = """
import concurrent.futures, json, sys, time, urllib.request

def ask(_):
    began = time.monotonic()
    with urllib.request.urlopen(sys.argv[1], timeout=30) as reply:
        return reply.status, reply.read().decode(), time.monotonic() - began

count = int(sys.argv[2])
with concurrent.futures.ThreadPoolExecutor(count) as pool:
    print(json.dumps(list(pool.map(ask, range(count)))))
"""


def _ask(scenario: Scenario, url: str, count: int) -> list[tuple[int, str, float]]:
    """Status, body and seconds of each of ``count`` requests made at the same moment."""
    answers = json.loads(scenario.cluster.run(sys.executable, "-c", ASK, url, str(count)).stdout)
    return [(status, body, seconds) for status, body, seconds in answers]


@pytest.mark.timeout(180)
def test_first_requests_wait_and_are_answered(scenario: Scenario) -> None:
    """At zero, one request and then a hundred at once are answered by a replica that they started; none is lost."""
    manifest = (ROOT / "manifests" / "scale-to-zero.yaml").read_text(encoding="utf-8")
    manifest = re.sub(r"stabilizationWindowSeconds: \d+", "stabilizationWindowSeconds: 3", manifest)
    scenario.kubectl("apply", "-f", "-", stdin=re.sub(r"\n\s+nodePort: \d+", "", manifest))
    spec = scenario.object("service", "seldom")["spec"]
    by_address, by_node_port = f"http://{spec['clusterIP']}/", f"http://127.0.0.1:{spec['ports'][0]['nodePort']}/"
    for url, count in ((by_node_port, 1), (by_address, AT_ONCE)):
        scenario.until("there is no replica", lambda: not scenario.items("pods"), timeout_s=90)
        answers = _ask(scenario, url, count)
        assert {status for status, _, _ in answers} == {200}
        assert all(body.startswith("Hello from seldom-") for _, body, _ in answers)
        assert min(seconds for _, _, seconds in answers) < 1.0
    described = scenario.kubectl("describe", "hpa", "seldom")
    assert "reason: requests wait for it" in described
    scenario.until("it rests again", lambda: not scenario.items("pods"), timeout_s=90)
    conditions = scenario.object("hpa", "seldom")["status"]["conditions"]
    assert {"ScaledToZero": "True"}.items() <= {each["type"]: each["status"] for each in conditions}.items()
