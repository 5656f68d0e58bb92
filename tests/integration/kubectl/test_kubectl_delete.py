"""``kubectl delete`` and ``kubectl wait``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.integration.kubectl.lab import Kubectl, Output, until

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: busybox}]}
"""
CONFIG_MAPS = "".join(
    f"---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{set: {set_}}}}}\n"
    for name, set_ in (("one", "odd"), ("two", "even"), ("three", "odd"))
)


def deleted(kubectl: Kubectl, kind: str, name: str, how: str = "deleted") -> str:
    """The line that says that something was deleted; since 1.34 it names the namespace."""
    where = "" if kubectl.version == "1.31" else f" from {kubectl.namespace} namespace"
    return f'{kind} "{name}" {how}{where}\n'


def with_dependents(kubectl: Kubectl) -> None:
    """A Deployment with its ReplicaSet and pod."""
    kubectl.apply(DEPLOYMENT)
    until("there is a pod", lambda: kubectl("get pods -l app=web -o name"))


def owners(kubectl: Kubectl, kind: str) -> list[Any]:
    items = kubectl.json(f"get {kind} -l app=web")["items"]
    return [item["metadata"].get("ownerReferences") for item in items]


def test_delete(kubectl: Kubectl) -> None:
    """Objects are deleted by name, by label, by file and all of a kind."""
    kubectl.apply(CONFIG_MAPS)
    assert kubectl("delete configmap one") == deleted(kubectl, "configmap", "one")
    assert kubectl.fails("delete configmap one") == 'Error from server (NotFound): configmaps "one" not found\n'
    assert kubectl("delete configmap one --ignore-not-found") == ""
    assert kubectl("delete configmaps -l set=even") == deleted(kubectl, "configmap", "two")
    assert kubectl.run("delete configmaps -l set=even").out == "No resources found\n"
    tried = kubectl("delete configmap/three --dry-run=server")
    assert tried == deleted(kubectl, "configmap", "three").replace("\n", " (server dry run)\n")
    assert kubectl("get configmap three -o name") == "configmap/three\n"
    kubectl.apply(CONFIG_MAPS)
    assert kubectl("delete -f -", stdin=CONFIG_MAPS).count("deleted") == 3
    kubectl.apply(CONFIG_MAPS)
    assert kubectl("delete configmaps --all -o name").split() == [
        f"configmap/{name}" for name in ("kube-root-ca.crt", "one", "three", "two")
    ]
    kubectl.apply(CONFIG_MAPS)
    assert kubectl("delete configmaps --field-selector=metadata.name=two") == deleted(kubectl, "configmap", "two")
    kubectl("delete configmap one three --now")


def test_cascades(kubectl: Kubectl) -> None:
    """Dependents go first, afterwards or not at all."""
    with_dependents(kubectl)
    assert kubectl("delete deployment web --cascade=foreground") == deleted(kubectl, "deployment.apps", "web")
    assert kubectl("get replicasets,pods -l app=web -o name") == ""
    with_dependents(kubectl)
    kubectl("delete deployment web --cascade=orphan")
    until("the ReplicaSet has no owner", lambda: owners(kubectl, "replicasets") == [None])
    (owner,) = owners(kubectl, "pods")
    assert owner[0]["kind"] == "ReplicaSet"
    kubectl.apply(DEPLOYMENT)
    until("the ReplicaSet is adopted", lambda: owners(kubectl, "replicasets") != [None])
    assert kubectl("get replicasets -l app=web -o name").count("\n") == 1
    kubectl("delete deployment web --cascade=background --wait=false")
    until("nothing is left", lambda: kubectl("get replicasets,pods -l app=web -o name") == "")


def test_finalizers(kubectl: Kubectl) -> None:
    """An object stays until its finalizers are gone; kubectl waits for that, or for as long as it is told to."""
    kubectl.apply(CONFIG_MAPS)
    kubectl("patch configmap one --type=merge", "-p", '{"metadata": {"finalizers": ["example.com/hold"]}}')
    late = kubectl.run("delete configmap one --timeout=1s")
    assert late.code == 1
    assert "timed out waiting for the condition on configmaps/one" in late.err
    assert kubectl("get configmap one -o jsonpath={.metadata.deletionTimestamp}")
    with kubectl.started("delete configmap one") as waiting:
        assert waiting.line() == deleted(kubectl, "configmap", "one").rstrip()
        kubectl("patch configmap one --type=merge", "-p", '{"metadata": {"finalizers": null}}')
        assert waiting.finish().code == 0
    assert kubectl("get configmap one --ignore-not-found") == ""


def test_grace(kubectl: Kubectl) -> None:
    """A pod on a node is given time to end; ``--now`` leaves a second, force leaves none."""
    node = f"{kubectl.namespace}-node"
    kubectl.server.request("POST", "/api/v1/nodes", {"metadata": {"name": node}, "spec": {"unschedulable": True}})
    try:
        _graces(kubectl, node)
    finally:
        kubectl(f"delete node {node}")


def _graces(kubectl: Kubectl, node: str) -> None:
    for name in ("one", "two", "three"):
        kubectl(f"run {name} --image=busybox", f'--overrides={{"spec": {{"nodeName": "{node}"}}}}')
    grace = "jsonpath={.metadata.deletionGracePeriodSeconds}"
    kubectl("delete pod one --wait=false")
    assert kubectl("get pod one", "-o", grace) == "30"
    kubectl("delete pod one --grace-period=5 --wait=false")
    assert kubectl("get pod one", "-o", grace) == "5"
    assert "Terminating" in kubectl("get pod one")
    kubectl("delete pod two --now --wait=false")
    assert kubectl("get pod two", "-o", grace) == "1"
    forced = kubectl.run("delete pod one two three --grace-period=0 --force")
    assert forced.out.count("force deleted") == 3
    assert "Immediate deletion does not wait for confirmation" in forced.err
    assert kubectl("get pods -o name") == ""


def test_namespaces_are_emptied(kubectl: Kubectl) -> None:
    """Deleting a namespace deletes what is in it, and kubectl waits for both."""
    name = f"{kubectl.namespace}-other"
    kubectl(f"create namespace {name}")
    kubectl.apply(CONFIG_MAPS + "---" + DEPLOYMENT, "-n", name)
    assert kubectl(f"delete namespace {name}") == f'namespace "{name}" deleted\n'
    assert kubectl(f"get namespace {name} --ignore-not-found") == ""
    refused = kubectl.fails(f"create configmap late -n {name}")
    assert refused == f'error: failed to create configmap: namespaces "{name}" not found\n'
    protected = kubectl.fails("delete namespace default")
    assert protected == (
        'Error from server (Forbidden): namespaces "default" is forbidden: this namespace may not be deleted\n'
    )


def meanwhile(kubectl: Kubectl, command: str, change: Callable[[], object]) -> Output:
    """Start a command that waits, make the change that it waits for, and see how it ends."""
    with kubectl.started(command) as waiting:
        change()
        return waiting.finish()


def test_wait(kubectl: Kubectl) -> None:
    """``wait`` ends when a condition, a value, a creation or a deletion comes true."""
    kubectl("run one --image=busybox")
    status: dict[str, Any] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    met = meanwhile(
        kubectl, "wait --for=condition=Ready pod/one --timeout=30s", lambda: kubectl.set_status("pod", "one", status)
    )
    assert (met.code, met.out) == (0, "pod/one condition met\n")
    assert kubectl("wait --for=jsonpath='{.status.phase}'=Running pod/one") == "pod/one condition met\n"
    assert kubectl("wait --for=jsonpath='{.status.phase}' pod --all") == "pod/one condition met\n"
    created = meanwhile(
        kubectl, "wait --for=create configmap/late --timeout=30s", lambda: kubectl("create configmap late")
    )
    assert (created.code, created.out) == (0, "configmap/late condition met\n")
    gone = meanwhile(kubectl, "wait --for=delete pod/one --timeout=30s", lambda: kubectl("delete pod one --now"))
    assert (gone.code, gone.out) in ((0, "pod/one condition met\n"), (0, ""))


def test_wait_that_fails(kubectl: Kubectl) -> None:
    """It says what did not come true in time, and what is not there."""
    kubectl("run one --image=busybox")
    late = kubectl.fails("wait --for=condition=Ready pod/one --timeout=1s")
    assert late == "error: timed out waiting for the condition on pods/one\n"
    missing = kubectl.fails("wait --for=condition=Ready pod/none --timeout=1s")
    assert missing == 'Error from server (NotFound): pods "none" not found\n'
    assert kubectl("wait --for=delete pod/none --timeout=1s") == ""
