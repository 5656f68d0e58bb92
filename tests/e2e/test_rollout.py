"""A rolling update from one image to another and back loses no request."""

from __future__ import annotations

import pytest

from tests.e2e.scenario import Scenario

pytestmark = [pytest.mark.e2e, pytest.mark.root]


@pytest.mark.timeout(180)
def test_rolling_update_fails_no_request(scenario: Scenario) -> None:
    """v1 to v2 and back under a client that asks 50 times a second: every request is answered."""
    scenario.apply_sample()
    scenario.kubectl("rollout", "status", "deploy/web", "--timeout=60s")
    with scenario.asking_client() as client:
        for version in ("v2", "v1"):
            scenario.kubectl("set", "image", "deploy/web", f"web=flotilla.dev/sample:{version}")
            scenario.kubectl("rollout", "status", "deploy/web", "--timeout=60s")
            client.wait_for_more(100)
        assert client.failures() == []
