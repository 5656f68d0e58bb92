"""helm waits for what it installs, runs a chart's hooks and tests as pods, and takes back what fails."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import KUBECTL_DIR, ROOT
from tests.e2e.scenario import Scenario

CHART = str(ROOT / "tests" / "charts" / "web")
VERSIONS = ("3.17", "4.1")
pytestmark = [pytest.mark.e2e, pytest.mark.root, pytest.mark.timeout(180)]


@dataclass(frozen=True, slots=True)
class Helm:
    """One helm, whose commands go to the scenario's namespace."""

    program: Path
    scenario: Scenario

    @property
    def all_or_nothing(self) -> str:
        return "--atomic" if self.program.name.startswith("helm-3") else "--rollback-on-failure"

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        namespace = f"--namespace={self.scenario.namespace}"
        return self.scenario.cluster.run(str(self.program), *arguments, namespace, check=check, timeout_s=90)

    def __call__(self, *arguments: str) -> str:
        return self.run(*arguments).stdout

    def fails(self, *arguments: str) -> str:
        """What helm prints on stderr while it fails."""
        done = self.run(*arguments, check=False)
        assert done.returncode != 0, f"succeeded: {done.stdout}"
        return done.stderr

    def history(self, release: str) -> list[tuple[int, str]]:
        """Revisions and their states."""
        found: list[dict[str, Any]] = json.loads(self("history", release, "--output=json"))
        return [(each["revision"], each["status"]) for each in found]


@pytest.fixture(params=VERSIONS)
def helm(request: pytest.FixtureRequest, scenario: Scenario) -> Helm:
    """helm in each version that the tests are run with."""
    program = KUBECTL_DIR / f"helm-{request.param}"
    if not program.exists():
        pytest.skip(f"{program} is missing: run deploy/fetch-kubectl")
    return Helm(program, scenario)


def test_a_release_with_its_pods(helm: Helm, scenario: Scenario) -> None:
    """helm waits for hooks and pods, tests the service from a pod, and leaves nothing behind."""
    helm("install", "web", CHART, "--wait", "--timeout=60s", "--set=podHooks=true,hookCommand=echo migrated")
    assert scenario.ready_replicas("web") == 2
    assert scenario.object("pod", "web-migrate")["status"]["phase"] == "Succeeded"
    assert scenario.kubectl("logs", "web-migrate") == "migrated\n"
    tested = helm("test", "web", "--logs", "--timeout=60s")
    assert "Succeeded" in tested
    assert "hello" in tested

    helm("upgrade", "web", CHART, "--wait", "--timeout=60s", "--reuse-values", "--set=greeting=bye")
    assert "bye" in helm("test", "web", "--logs", "--timeout=60s")
    helm("uninstall", "web", "--wait", "--timeout=60s", "--cascade=foreground")
    assert scenario.items("deployment,replicaset,service") == []


def test_an_upgrade_that_never_gets_ready_is_taken_back(helm: Helm, scenario: Scenario) -> None:
    """All or nothing: the old pods serve on while the new ones fail, and the release ends as it was before."""
    helm("install", "web", CHART, "--wait", "--timeout=60s", "--set=replicas=1")
    before = {pod["metadata"]["uid"] for pod in scenario.items("pod")}
    told = helm.fails(
        *("upgrade", "web", CHART, helm.all_or_nothing, "--timeout=5s"),
        "--set=replicas=1,greeting=no,probePath=/no-such-path",
    )
    assert "rolled back" in told
    assert helm.history("web") == [(1, "superseded"), (2, "failed"), (3, "deployed")]
    assert scenario.object("configmap", "web")["data"] == {"GREETING": "hello"}
    scenario.until("one pod is ready", lambda: scenario.ready_replicas("web") == 1, timeout_s=30)
    assert before & {pod["metadata"]["uid"] for pod in scenario.items("pod")}


def test_a_hook_that_fails_stops_the_release(helm: Helm, scenario: Scenario) -> None:
    """A migration that exits with an error keeps the upgrade from being made at all."""
    helm("install", "web", CHART, "--set=replicas=0")
    told = helm.fails(
        *("upgrade", "web", CHART, "--timeout=30s"), "--set=replicas=0,greeting=no,podHooks=true,hookCommand=exit 3"
    )
    assert "pre-upgrade hooks failed" in told
    assert scenario.object("configmap", "web")["data"] == {"GREETING": "hello"}
    assert scenario.object("pod", "web-migrate")["status"]["phase"] == "Failed"
    assert helm.history("web")[-1] == (2, "failed")
