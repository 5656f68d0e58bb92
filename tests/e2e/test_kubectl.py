"""kubectl in two versions, and ``flotilla``, do a user's everyday work against a real cluster."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.e2e, pytest.mark.root, pytest.mark.timeout(180)]

SERVICE = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
        - name: web
          image: flotilla.dev/sample:v1
          ports: [{name: http, containerPort: 8080}]
          resources: {requests: {cpu: 50m, memory: 16Mi}, limits: {cpu: 500m, memory: 64Mi}}
          readinessProbe: {httpGet: {path: /healthz, port: http}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 2
  maxReplicas: 4
  metrics:
    - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """A Deployment with its Service and autoscaler."""
    path = tmp_path / "service.yaml"
    path.write_text(SERVICE, encoding="utf-8")
    return path


def test_the_version_is_known(kubectl: Any) -> None:
    """``kubectl version`` shows the server's version."""
    assert "v1.35.0+flotilla" in kubectl("version").stdout


def test_a_service_from_apply_to_delete(kubectl: Any, namespace: str, manifest: Path) -> None:
    """apply, rollout status, get, describe, logs, scale, diff and delete all work and say what they should."""

    def run(*arguments: str, **options: Any) -> str:
        output: str = kubectl("-n", namespace, *arguments, **options).stdout
        return output

    assert "deployment.apps/web created" in run("apply", "-f", str(manifest))
    assert "successfully rolled out" in run("rollout", "status", "deploy/web", "--timeout=60s")
    assert "deployment.apps/web unchanged" in run("apply", "-f", str(manifest))
    pods = run("get", "pods", "-o", "wide")
    assert pods.count("Running") == 2
    assert pods.count("node-1") == 2
    everything = kubectl("get", "deploy,rs,svc,hpa", "-A").stdout
    for kind in (
        "deployment.apps/web",
        "replicaset.apps/web-",
        "service/web",
        "horizontalpodautoscaler.autoscaling/web",
    ):
        assert kind in everything
    description = run("describe", "pod", "-l", "app=web")
    for text in ("Node:             node-1/", "State:          Running", "Scheduled", "Started"):
        assert text in description
    assert run("describe", "service", "web").count(":8080") == 2
    assert "listens on port 8080" in run("logs", "deploy/web")
    run("delete", "hpa", "web")
    assert run("scale", "deploy/web", "--replicas=3").strip() == "deployment.apps/web scaled"
    assert "successfully rolled out" in run("rollout", "status", "deploy/web", "--timeout=60s")
    assert run("get", "deploy", "web", "-o", "jsonpath={.status.readyReplicas}") == "3"
    run("delete", "--ignore-not-found", "-f", str(manifest), timeout_s=90)
    run("wait", "--for=delete", "pod", "-l", "app=web", "--timeout=60s")
    assert run("get", "pods", "-o", "name") == ""


def test_server_side_apply_and_diff(kubectl: Any, namespace: str, manifest: Path) -> None:
    """Server-side apply creates and changes; diff shows a change before it is made and nothing afterwards."""
    kubectl("-n", namespace, "apply", "--server-side", "-f", str(manifest))
    kubectl("-n", namespace, "rollout", "status", "deploy/web", "--timeout=60s")
    assert kubectl("-n", namespace, "diff", "--server-side", "-f", str(manifest)).stdout == ""
    manifest.write_text(SERVICE.replace("maxReplicas: 4", "maxReplicas: 5"), encoding="utf-8")
    diff = kubectl("-n", namespace, "diff", "--server-side", "-f", str(manifest), check=False)
    assert diff.returncode == 1
    assert "+  maxReplicas: 5" in diff.stdout
    kubectl("-n", namespace, "apply", "--server-side", "-f", str(manifest))
    assert kubectl("-n", namespace, "diff", "--server-side", "-f", str(manifest)).stdout == ""


@contextmanager
def _watching(command: list[str], cluster: Any) -> Iterator[Iterator[str]]:
    """The names in the lines that a watch prints, without the ConfigMap that every namespace has."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=cluster.environment()) as watch:
        assert watch.stdout is not None
        try:
            yield (name for line in watch.stdout if (name := line.split()[0]) != "kube-root-ca.crt")
        finally:
            watch.kill()


def test_a_watch_shows_changes(kubectl: Any, namespace: str, manifest: Path) -> None:
    """``get -w`` prints what is there, then each change as it comes."""
    kubectl("-n", namespace, "create", "configmap", "first")
    command = kubectl.cluster.command(str(kubectl.program), "-n", namespace, "get", "configmaps", "-w", "--no-headers")
    with _watching(command, kubectl.cluster) as names:
        assert next(names) == "first"
        kubectl("-n", namespace, "create", "configmap", "second")
        assert next(names) == "second"


def test_logs_are_followed(kubectl: Any, namespace: str) -> None:
    """``logs -f`` prints what a container has written and what it writes then, until it ends."""
    script = "echo one; sleep 1; echo two"
    kubectl(
        "-n",
        namespace,
        "run",
        "talker",
        "--image=flotilla.dev/sample:v1",
        "--restart=Never",
        "--command",
        "--",
        "sh",
        "-c",
        script,
    )
    kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/talker", "--timeout=30s")
    assert kubectl("-n", namespace, "logs", "-f", "talker").stdout == "one\ntwo\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("replicas: 2", "replicas: -1"), "spec.replicas"),
        (("replicas: 2", "replicsa: 2"), 'unknown field "spec.replicsa"'),
        (("replicas: 2", 'replicas: "two"'), "replicas"),
        (("metadata: {name: web}", "metadata: {name: Web}"), "metadata.name"),
        (("image: flotilla.dev/sample:v1", "command: [x]"), "image"),
        (("matchLabels: {app: web}", "matchLabels: {app: other}"), "selector"),
    ],
)
def test_bad_input_is_refused_precisely(kubectl: Any, namespace: str, change: tuple[str, str], message: str) -> None:
    """A mistake is refused with the field it is in, and nothing is stored."""
    deployment = SERVICE.split("---")[0].replace(*change)
    result = kubectl("-n", namespace, "apply", "-f", "-", stdin=deployment, check=False)
    assert result.returncode == 1
    assert message in result.stderr
    assert kubectl("-n", namespace, "get", "deploy", "-o", "name").stdout == ""


class TestFlotilla:
    """The same with ``flotilla``."""

    def test_a_service_from_apply_to_delete(self, cluster: Any, namespace: str, manifest: Path, e2e: Any) -> None:
        """apply, get, describe, logs, scale, top and delete work and say what they should."""

        def run(*arguments: str) -> str:
            output: str = cluster.flotilla(arguments[0], "-n", namespace, *arguments[1:]).stdout
            return output

        assert "deployment.apps/web created" in run("apply", "-f", str(manifest))
        e2e.until(lambda: "2/2" in run("get", "deploy", "web"), what="two ready replicas")
        assert run("apply", "-f", str(manifest)).count("unchanged") == 3
        pods = run("get", "pods", "-o", "wide")
        assert pods.count("Running") == 2
        assert pods.count("node-1") == 2
        assert "horizontalpodautoscaler.autoscaling/web" in cluster.flotilla("get", "deploy,rs,svc,hpa", "-A").stdout
        name = json.loads(run("get", "pods", "-o", "json"))["items"][0]["metadata"]["name"]
        description = run("describe", "pod", name)
        assert "Running" in description
        assert "Scheduled" in description
        assert "listens on port 8080" in run("logs", name)
        assert run("logs", "deploy/web", "--tail", "1").count("listens on port 8080") == 2
        assert run("describe", "svc", "web").count(":8080") == 2
        e2e.until(lambda: name in cluster.flotilla("top", "pods", "-n", namespace, check=False).stdout, what="samples")
        run("delete", "hpa", "web")
        run("scale", "deploy/web", "--replicas", "3")
        e2e.until(lambda: "3/3" in run("get", "deploy", "web"), what="three ready replicas")
        run("delete", "-f", str(manifest))
        e2e.until(lambda: run("get", "pods", "-o", "name") == "", what="no pods")

    def test_a_watch_shows_changes(self, cluster: Any, namespace: str) -> None:
        """``get -w`` prints each change below the columns of the list."""
        command = cluster.command(
            str(ROOT / ".venv" / "bin" / "flotilla"), "get", "cm", "-n", namespace, "-w", "--no-headers"
        )
        config_map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\n"
        cluster.flotilla("apply", "-n", namespace, "-f", "-", stdin=config_map % "first")
        with _watching(command, cluster) as names:
            assert next(names) == "first"
            cluster.flotilla("apply", "-n", namespace, "-f", "-", stdin=config_map % "second")
            assert next(names) == "second"

    def test_bad_input_names_file_object_and_field(self, cluster: Any, namespace: str, tmp_path: Path) -> None:
        """The message has the file, the document's number, the object and the field; the exit code is 1."""
        path = tmp_path / "bad.yaml"
        path.write_text(SERVICE.replace("replicas: 2", "replicas: -1"), encoding="utf-8")
        result = cluster.flotilla("apply", "-n", namespace, "-f", str(path), check=False)
        assert result.returncode == 1
        assert f"{path}: document 1: Deployment/web: Error from server (Invalid)" in result.stderr
        assert "spec.replicas" in result.stderr
        assert "service/web created" in result.stdout

    def test_get_pods_is_quick(self, cluster: Any) -> None:
        """``flotilla get pods`` starts and answers in a quarter of a second: the best of five, on a busy machine."""
        command = cluster.command(str(ROOT / ".venv" / "bin" / "flotilla"), "get", "pods", "-A")
        durations = []
        for _ in range(5):
            started_s = time.monotonic()
            subprocess.run(command, env=cluster.environment(), check=True, capture_output=True)
            durations.append(time.monotonic() - started_s)
        assert min(durations) < 0.25
