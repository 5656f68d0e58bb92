"""kubectl on pods that run: rollouts, waiting, evictions, usage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.root, pytest.mark.timeout(180)]

Run = Callable[..., str]
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: web
          image: flotilla.dev/sample:v1
          ports: [{name: http, containerPort: 8080}]
          resources: {requests: {cpu: 20m, memory: 16Mi}}
          readinessProbe: {httpGet: {path: /healthz, port: http}, periodSeconds: 1}
"""
ROLLED_OUT = 'deployment "web" successfully rolled out\n'
STATUS = "rollout status deployment/web --timeout=60s"


@pytest.fixture
def run(kubectl: Any, namespace: str) -> Run:
    """Runs a command line of kubectl in the test's namespace and returns what it prints."""

    def run_line(line: str, **options: Any) -> str:
        output: str = kubectl("-n", namespace, *line.split(), **options).stdout
        return output

    return run_line


@pytest.fixture
def web(run: Run) -> None:
    """Two ready pods of a Deployment."""
    assert run("apply -f -", stdin=DEPLOYMENT) == "deployment.apps/web created\n"
    assert run(STATUS).endswith(ROLLED_OUT)


@pytest.fixture
def open_node(run: Run) -> Iterator[str]:
    """The node, which takes pods again afterwards."""
    yield "node-1"
    run("uncordon node-1")


def _value(run: Run, what: str, path: str) -> str:
    return run(f"get {what} -o jsonpath={{{path}}}")


@pytest.mark.usefixtures("web")
def test_rollouts(run: Run) -> None:
    """Changes are rolled out, taken back, restarted, and held back while paused."""
    first = set(run("get pods -l app=web -o name").split())
    run("set env deployment/web COLOUR=blue")
    assert run(STATUS).endswith(ROLLED_OUT)
    _until(lambda: not first & set(run("get pods -l app=web -o name").split()), what="the old pods have gone")
    assert [line.split()[0] for line in run("rollout history deployment/web").splitlines()[2:] if line] == ["1", "2"]
    assert run("rollout undo deployment/web") == "deployment.apps/web rolled back\n"
    assert run(STATUS).endswith(ROLLED_OUT)
    assert run("set env deployment/web --list").count("COLOUR") == 0
    assert len(run("get replicasets -o name").split()) == 2
    assert run("rollout restart deployment/web") == "deployment.apps/web restarted\n"
    assert run(STATUS).endswith(ROLLED_OUT)
    run("rollout pause deployment/web")
    run("set env deployment/web COLOUR=red")
    assert len(run("get replicasets -o name").split()) == 3
    run("rollout resume deployment/web")
    assert run(STATUS).endswith(ROLLED_OUT)
    assert len(run("get replicasets -o name").split()) == 4
    assert _value(run, "deployment web", ".status.availableReplicas") == "2"


@pytest.mark.usefixtures("web")
def test_a_rollout_that_can_not_succeed(run: Run, kubectl: Any, namespace: str) -> None:
    """Its status fails once the deadline has passed, and the old pods go on serving."""
    deadline = '{"spec":{"progressDeadlineSeconds":2}}'
    run(f"patch deployment web -p {deadline}")
    run("set image deployment/web web=127.0.0.1:9/nothing:v0")
    failed = kubectl("-n", namespace, *STATUS.split(), check=False)
    assert failed.returncode == 1
    assert failed.stderr == 'error: deployment "web" exceeded its progress deadline\n'
    assert _value(run, "deployment web", ".status.availableReplicas") == "2"
    reasons = ("ImagePullBackOff", "ErrImagePull")
    _until(lambda: any(reason in run("get pods") for reason in reasons), what="the reason of the failure")


def test_waiting(run: Run) -> None:
    """``wait`` sees pods get ready, workloads available, values come true and pods gone."""
    run("apply -f -", stdin=DEPLOYMENT)
    assert run("wait --for=create pod -l app=web --timeout=30s").count("condition met") >= 1
    assert run("wait --for=condition=Available deployment/web --timeout=60s") == "deployment.apps/web condition met\n"
    assert run("wait --for=condition=Ready pod -l app=web --timeout=60s").count("condition met") == 2
    assert run("wait --for=jsonpath={.status.readyReplicas}=2 deployment/web --timeout=60s").count("met") == 1
    run("delete deployment web --wait=false")
    run("wait --for=delete pod -l app=web --timeout=60s")
    assert run("get pods -l app=web -o name") == ""


@pytest.mark.usefixtures("web")
def test_a_node_is_drained(run: Run, kubectl: Any, namespace: str, open_node: str) -> None:
    """Pods are evicted one by one as their budget allows, and come back once the node takes pods again."""
    drain = f"drain {open_node} --pod-selector=app=web --ignore-daemonsets"
    run("create poddisruptionbudget web --selector=app=web --min-available=2")
    _until(lambda: _value(run, "pdb web", ".status.currentHealthy") == "2", what="two healthy pods")
    refused = kubectl("-n", namespace, *drain.split(), "--timeout=1s", check=False)
    assert refused.returncode == 1
    assert "Cannot evict pod as it would violate the pod's disruption budget." in refused.stderr
    assert _value(run, "deployment web", ".status.readyReplicas") == "2"
    run("delete pdb web")
    drained = run(f"{drain} --timeout=60s")
    assert drained.count(f"evicting pod {namespace}/web-") == 2
    assert drained.endswith(f"node/{open_node} drained\n")
    assert run("get pods -l app=web --field-selector=status.phase=Running -o name") == ""
    assert "SchedulingDisabled" in run(f"get node {open_node}")
    assert run(f"uncordon {open_node}") == f"node/{open_node} uncordoned\n"
    assert run(STATUS).endswith(ROLLED_OUT)


@pytest.mark.usefixtures("web")
def test_usage(run: Run, kubectl: Any, namespace: str) -> None:
    """``top`` shows what pods, their containers and nodes use."""
    top = ("-n", namespace, "top", "pods", "--no-headers")
    _until(lambda: kubectl(*top, check=False).stdout.count("\n") == 2, what="samples of both pods")
    assert run("top pods --sum -l app=web").splitlines()[0].split() == ["NAME", "CPU(cores)", "MEMORY(bytes)"]
    assert run("top pods --containers --sort-by=memory").splitlines()[0].split()[:2] == ["POD", "NAME"]
    heading, row = (line.split() for line in run("top nodes").splitlines())
    assert [word.rstrip("%") for word in heading[:2]] == ["NAME", "CPU(cores)"]
    assert row[0] == "node-1"


@pytest.mark.usefixtures("web")
def test_what_happened(run: Run) -> None:
    """Events, descriptions and the wide table tell the life of a pod, its node too."""
    pod = run("get pods -l app=web -o name").split()[0]
    expected = {"Scheduled", "Created", "Started"}
    _until(lambda: expected <= set(run(f"events --for={pod} --no-headers").split()), what="the pod's events")
    row = run(f"get {pod} -o wide --no-headers").split()
    assert row[1:4] == ["1/1", "Running", "0"]
    assert row[5:] == [_value(run, pod, ".status.podIP"), "node-1", "<none>", "<none>"]
    node = run("describe node node-1")
    assert pod.removeprefix("pod/") in node
    assert run(f"delete {pod}").startswith(f'pod "{pod.removeprefix("pod/")}" deleted')
    assert run(STATUS).endswith(ROLLED_OUT)


def test_a_pod_that_fails(run: Run) -> None:
    """The table says why a pod does not run: its exit, or that it fails again and again."""
    for name, policy in (("once", "Never"), ("again", "Always")):
        run(f"run {name} --image=flotilla.dev/sample:v1 --restart={policy} --command -- sh -c false")
    run("wait --for=jsonpath={.status.phase}=Failed pod/once --timeout=30s")
    assert run("get pod once --no-headers").split()[1:3] == ["0/1", "Error"]
    _until(lambda: "CrashLoopBackOff" in run("get pod again"), what="the back-off")
    backing_off = "Back-off restarting failed container"
    _until(lambda: backing_off in run("describe pod again"), what="the back-off's event")


def _until(condition: Callable[[], bool], *, what: str, timeout_s: float = 30.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.05)
