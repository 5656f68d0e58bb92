"""The real helm, which applies charts from the client (3) or on the server (4), against the real server and etcd.

No agent runs, so nothing here waits for pods; ``tests/e2e/test_helm_releases.py`` does.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.kubectl.lab import DEADLINE_S, KUBECTL_DIR, Output, Server

CHART = Path(__file__).parents[2] / "charts" / "web"
VERSIONS = ("3.17", "4.1")
pytestmark = pytest.mark.etcd
newest = pytest.mark.parametrize("helm", VERSIONS[-1:], indirect=True)


@dataclass(frozen=True, slots=True)
class Helm:
    """One helm, whose commands go to ``namespace``."""

    program: Path
    kubeconfig: Path
    home: Path
    namespace: str

    @property
    def major(self) -> int:
        return int(self.program.name.removeprefix("helm-").split(".")[0])

    def run(self, *arguments: str) -> Output:
        done = subprocess.run(
            [str(self.program), *arguments, f"--namespace={self.namespace}"],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            env={"PATH": os.environ["PATH"], "HOME": str(self.home), "KUBECONFIG": str(self.kubeconfig)},
            check=False,
        )
        return Output(done.returncode, done.stdout, done.stderr)

    def __call__(self, *arguments: str) -> str:
        """The output of a command that has to succeed, without a warning of the server."""
        done = self.run(*arguments)
        assert done.code == 0, f"helm {' '.join(arguments)}: {done.out}{done.err}"
        assert "warnings.go" not in done.err, done.err
        return done.out

    def fails(self, *arguments: str) -> str:
        """The errors of a command that has to fail."""
        done = self.run(*arguments)
        assert done.code != 0, f"helm {' '.join(arguments)} succeeded: {done.out}"
        return done.err

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--output=json"))

    def history(self, release: str) -> list[tuple[int, str]]:
        """Revisions and their states."""
        return [(each["revision"], each["status"]) for each in self.json("history", release)]


@dataclass(frozen=True, slots=True)
class Objects:
    """What kubectl shows of the objects of a namespace."""

    kubeconfig: Path
    namespace: str

    def names(self, kinds: str, *arguments: str) -> set[str]:
        return set(self.run("get", kinds, "-o", "name", *arguments).split())

    def get(self, kind: str, name: str) -> Any:
        return json.loads(self.run("get", kind, name, "-o", "json"))

    def run(self, *arguments: str) -> str:
        program = KUBECTL_DIR / "kubectl-1.35"
        command = [str(program), f"--kubeconfig={self.kubeconfig}", f"--namespace={self.namespace}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=True).stdout


@pytest.fixture(params=VERSIONS)
def helm(request: pytest.FixtureRequest, server: Server, namespace: str, tmp_path: Path) -> Helm:
    """helm in each version; tests of what both do in the same way take one of them by ``newest``."""
    program = KUBECTL_DIR / f"helm-{request.param}"
    if not program.exists():
        pytest.skip(f"{program} is missing: run deploy/fetch-kubectl")
    return Helm(program, server.kubeconfig, tmp_path, namespace)


@pytest.fixture
def objects(server: Server, namespace: str) -> Objects:
    """What is in the test's namespace."""
    return Objects(server.kubeconfig, namespace)


def test_the_life_of_a_release(helm: Helm, objects: Objects) -> None:
    """install, upgrade, rollback and uninstall change the objects as the chart says, and history tells of each."""
    assert f"web serves hello in {helm.namespace}." in helm("install", "web", str(CHART))
    kinds = "deployment,service,configmap,secret,serviceaccount,horizontalpodautoscaler"
    made = objects.names(kinds, "-l", "app.kubernetes.io/instance=web")
    assert made == {"deployment.apps/web", "service/web", "configmap/web", "secret/web", "serviceaccount/web"}
    address = objects.get("service", "web")["spec"]["clusterIP"]

    helm("upgrade", "web", str(CHART), "--set=greeting=bye,replicas=3,autoscaling=true")
    assert objects.get("configmap", "web")["data"] == {"GREETING": "bye"}
    assert objects.get("deployment", "web")["spec"]["replicas"] == 3
    assert objects.get("service", "web")["spec"]["clusterIP"] == address
    assert objects.names("hpa") == {"horizontalpodautoscaler.autoscaling/web"}

    helm("rollback", "web", "1")
    assert objects.get("configmap", "web")["data"] == {"GREETING": "hello"}
    assert objects.get("deployment", "web")["spec"]["replicas"] == 2
    assert objects.names("hpa") == set()
    assert helm.history("web") == [(1, "superseded"), (2, "superseded"), (3, "deployed")]

    assert 'release "web" uninstalled' in helm("uninstall", "web")
    assert objects.names(kinds, "-l", "app.kubernetes.io/managed-by=Helm") == set()
    assert objects.names("secret") == set()
    assert "not found" in helm.fails("status", "web")


@newest
def test_releases_are_shown(helm: Helm) -> None:
    """list, status, history and get show what is installed, with the state of its objects."""
    helm("install", "web", str(CHART), "--set=greeting=hi", "--description=first")
    listed = helm.json("list")
    assert [(each["name"], each["revision"], each["status"], each["chart"]) for each in listed] == [
        ("web", "1", "deployed", "web-1.2.3")
    ]
    assert helm.json("list", "--filter=^other$") == []
    status = helm.json("status", "web")
    assert status["info"]["status"] == "deployed"
    assert status["info"]["description"] == "first"
    assert helm.json("get", "values", "web") == {"greeting": "hi"}
    assert "GREETING" in helm("get", "manifest", "web")
    assert "web-pre-upgrade" in helm("get", "hooks", "web")
    assert "serves hi" in helm("get", "notes", "web")
    assert helm.json("get", "metadata", "web")["appVersion"] == "v1"


@newest
def test_the_objects_of_a_release_are_tables(helm: Helm) -> None:
    """status shows each object as kubectl would, and the pods that belong to them."""
    helm("install", "web", str(CHART))
    shown = helm("status", "web", *([] if helm.major > 3 else ["--show-resources"]))
    rows = [line.split() for line in shown.splitlines()]
    assert ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"] in rows
    assert ["NAME", "TYPE", "DATA", "AGE"] in rows
    assert ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"] in rows
    assert ["==>", "v1/Pod(related)"] in rows


def test_hooks_come_and_go(helm: Helm, objects: Objects) -> None:
    """Each hook is made at its moment, replaced at the next, and deleted where its policy says so."""
    helm("install", "web", str(CHART))
    installed = objects.names("configmap") - {"configmap/kube-root-ca.crt", "configmap/web"}
    assert installed == {"configmap/web-pre-install", "configmap/web-post-install"}
    first = objects.get("configmap", "web-pre-install")["metadata"]["uid"]

    for revision in ("2", "3"):
        helm("upgrade", "web", str(CHART))
        assert objects.get("configmap", "web-pre-upgrade")["data"] == {"revision": revision}
    assert objects.get("configmap", "web-pre-install")["metadata"]["uid"] == first
    helm("rollback", "web")
    helm("upgrade", "web", str(CHART), "--no-hooks")
    assert objects.get("configmap", "web-post-upgrade")["data"] == {"revision": "3"}
    helm("uninstall", "web", "--wait")
    assert "configmap/web-pre-delete" in objects.names("configmap")
    assert "configmap/web" not in objects.names("configmap")


def test_what_the_server_refuses_fails_the_release(helm: Helm, objects: Objects) -> None:
    """The server's reason is told and kept in the history; the next good upgrade goes through."""
    reason = "spec.ports[0].port: Invalid value: 99999: must be between 1 and 65535, inclusive"
    helm("install", "web", str(CHART))
    assert reason in helm.fails("upgrade", "web", str(CHART), "--set=broken=port,greeting=no")
    assert helm.history("web") == [(1, "deployed"), (2, "failed")]
    helm("upgrade", "web", str(CHART), "--set=greeting=yes", "--history-max=2")
    assert helm.history("web")[-1] == (3, "deployed")
    assert objects.get("configmap", "web")["data"] == {"GREETING": "yes"}
    assert reason in helm.fails("install", "other", str(CHART), "--set=broken=port")
    assert [state for _, state in helm.history("other")] == ["failed"]


def test_a_failed_upgrade_is_rolled_back_at_once(helm: Helm, objects: Objects) -> None:
    """Where the user asked for all or nothing, the release ends as it was before."""
    helm("install", "web", str(CHART))
    option = "--atomic" if helm.major == 3 else "--rollback-on-failure"
    arguments = ["--set=broken=port,greeting=no,replicas=0", option, "--timeout=20s"]
    if helm.major > 3:
        arguments.append("--wait=hookOnly")
    helm("upgrade", "web", str(CHART), "--set=replicas=0")
    helm.fails("upgrade", "web", str(CHART), *arguments)
    assert objects.get("configmap", "web")["data"] == {"GREETING": "hello"}
    assert helm.history("web")[-2:] == [(3, "failed"), (4, "deployed")]


def test_changes_by_others_survive_an_upgrade(helm: Helm, objects: Objects) -> None:
    """What somebody else added stays; what the chart sets is set again."""
    helm("install", "web", str(CHART))
    objects.run("label", "service", "web", "team=blue")
    objects.run("annotate", "deployment", "web", "note=kept")
    helm("upgrade", "web", str(CHART), "--set=greeting=bye")
    assert objects.get("service", "web")["metadata"]["labels"]["team"] == "blue"
    deployment = objects.get("deployment", "web")
    assert deployment["metadata"]["annotations"]["note"] == "kept"
    assert deployment["spec"]["template"]["spec"]["containers"][0]["envFrom"] == [
        {"configMapRef": {"name": "web"}},
        {"secretRef": {"name": "web"}},
    ]


def test_objects_of_others_are_left_alone(helm: Helm, objects: Objects) -> None:
    """An object that no release owns stops an installation, until the user says that it may be taken."""
    objects.run("create", "configmap", "web", "--from-literal=GREETING=mine")
    assert "cannot be imported into the current release" in helm.fails("install", "web", str(CHART))
    assert objects.get("configmap", "web")["data"] == {"GREETING": "mine"}
    arguments = ["--force-conflicts"] if helm.major > 3 else []
    helm("install", "web", str(CHART), "--replace", "--take-ownership", *arguments)
    taken = objects.get("configmap", "web")
    assert taken["data"] == {"GREETING": "hello"}
    assert taken["metadata"]["annotations"]["meta.helm.sh/release-name"] == "web"


def test_the_server_is_asked_while_rendering(helm: Helm, objects: Objects) -> None:
    """Templates see what is in the cluster, its version and its kinds; a rehearsal changes nothing."""
    helm("install", "web", str(CHART), "--set=password=first")
    helm("upgrade", "web", str(CHART), "--set=password=second")
    assert objects.get("secret", "web")["data"] == {"PASSWORD": "Zmlyc3Q="}
    ask = ["--validate"] if helm.major == 3 else ["--dry-run=server"]
    rendered = helm("template", "web", str(CHART), *ask, "--set=autoscaling=true")
    assert "kind: HorizontalPodAutoscaler" in rendered
    before = objects.names("all,configmap,secret")
    assert "bye" in helm("upgrade", "web", str(CHART), "--dry-run=server", "--set=greeting=bye")
    assert "serves hello" in helm("install", "other", str(CHART), "--dry-run=server")
    assert objects.names("all,configmap,secret") == before
    assert 'no matches for kind "Deploiment"' in helm.fails("template", "web", str(CHART), *ask, "--set=broken=kind")


@newest
def test_kept_history_and_reused_values(helm: Helm, objects: Objects) -> None:
    """Values may be kept from one upgrade to the next, and an uninstalled release may keep its history."""
    helm("upgrade", "--install", "web", str(CHART), "--set=greeting=one")
    helm("upgrade", "web", str(CHART), "--reuse-values", "--set=replicas=1")
    assert objects.get("configmap", "web")["data"] == {"GREETING": "one"}
    assert objects.get("deployment", "web")["spec"]["replicas"] == 1
    helm("uninstall", "web", "--keep-history", "--cascade=foreground", "--wait")
    assert objects.names("deployment,replicaset,pod") == set()
    assert helm.history("web")[-1] == (2, "uninstalled")
    helm("rollback", "web", "1")
    assert objects.get("deployment", "web")["spec"]["replicas"] == 2


@newest
def test_charts_are_checked_before_use(helm: Helm) -> None:
    """lint passes the chart and refuses values that its schema does not allow."""
    assert "0 chart(s) failed" in helm("lint", str(CHART))
    assert "greeting" in helm.run("lint", str(CHART), "--set=greeting=1").out
    assert "replicas" in helm.fails("install", "web", str(CHART), "--set=replicas=many")


def test_a_chart_brings_its_kind(helm: Helm, objects: Objects) -> None:
    """The definition is made first and stays; objects of it are made, changed, shown and taken away."""
    chart = str(CHART.with_name("fleet"))
    helm("install", "boat", chart)
    assert objects.get("ship", "boat")["spec"] == {"crew": 3, "name": "nameless"}
    objects.run("patch", "ship", "boat", "--type=merge", "--patch", '{"spec":{"name":"Argo"}}')
    helm("upgrade", "boat", chart, "--set=crew=50")
    assert objects.get("ship", "boat")["spec"] == {"crew": 50, "name": "Argo"}
    assert "spec.crew" in helm.fails("upgrade", "boat", chart, "--set=crew=0")
    helm("rollback", "boat", "1")
    assert objects.run("get", "ships", "--no-headers").split()[:2] == ["boat", "3"]
    helm("uninstall", "boat")
    assert objects.names("ships") == set()
