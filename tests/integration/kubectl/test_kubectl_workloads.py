"""What users do to workloads: scale, autoscale, roll out, take back. The pods' readiness is written by the tests."""

from __future__ import annotations

import json
from typing import Any

from tests.integration.kubectl.lab import Kubectl, Running, until

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {nodeSelector: {place: nowhere}, containers: [{name: web, image: "busybox:1"}]}
"""
IMAGE = "jsonpath={.spec.template.spec.containers[0].image}"
READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}


def pods_get_ready(kubectl: Kubectl) -> None:
    """Make each pod ready as it comes, until all that the Deployment wants are."""
    path = f"/api/v1/namespaces/{kubectl.namespace}/pods"

    def all_ready() -> bool:
        for pod in kubectl.server.request("GET", path)["items"]:
            if (pod.get("status") or {}).get("phase") == "Pending":
                status = pod | {"status": READY}
                kubectl.server.replace(f"{path}/{pod['metadata']['name']}/status", status)
        deployment = kubectl.server.request("GET", f"/apis/apps/v1/namespaces/{kubectl.namespace}/deployments/web")
        return is_complete(deployment)

    until("the rollout is complete", all_ready)


def is_complete(deployment: dict[str, Any]) -> bool:
    status, wanted = deployment.get("status") or {}, deployment["spec"]["replicas"]
    counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
    return status.get("observedGeneration") == deployment["metadata"]["generation"] and counts == [wanted] * 3


def ends_well(waiting: Running) -> list[str]:
    done = waiting.finish()
    assert done.code == 0, done.err
    return done.out.splitlines()


def test_scale(kubectl: Kubectl) -> None:
    """The number of copies is set, if it and the version are what the user believes."""
    kubectl.apply(DEPLOYMENT)
    assert kubectl("scale deployment web --replicas=3") == "deployment.apps/web scaled\n"
    assert kubectl("get deployment web -o jsonpath={.spec.replicas}") == "3"
    refused = kubectl.fails("scale deployment web --current-replicas=2 --replicas=4")
    assert refused == "error: Expected replicas to be 2, was 3\n"
    assert kubectl("scale deployment web --current-replicas=3 --replicas=0") == "deployment.apps/web scaled\n"
    stale = kubectl.fails("scale deployment web --resource-version=1 --replicas=4")
    assert "Expected resource version to be 1, was" in stale
    assert (
        kubectl("scale deployment web --replicas=5 --dry-run=server") == "deployment.apps/web scaled (server dry run)\n"
    )
    assert kubectl("get deployment web -o jsonpath={.spec.replicas}") == "0"
    assert "The --replicas=COUNT flag is required" in kubectl.fails("scale deployment web --replicas=-3")
    kubectl.apply(DEPLOYMENT.replace("name: web, labels", "name: other, labels"))
    assert kubectl("scale deployment --all --replicas=0").count(" scaled\n") == 2
    name = kubectl("get replicasets -o name").splitlines()[0]
    assert kubectl(f"scale {name} --replicas=0") == f"{name} scaled\n"
    missing = kubectl.fails("scale deployment none --replicas=1")
    assert missing == (
        "error: no objects passed to scale\n"
        if kubectl.version == "1.31"
        else 'Error from server (NotFound): deployments.apps "none" not found\n'
    )


def test_scale_of_other_kinds(kubectl: Kubectl) -> None:
    """StatefulSets and ReplicationControllers have a scale too; ConfigMaps have none."""
    template = "{metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: busybox}]}}"
    kubectl.apply(
        "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: db}\n"
        f"spec: {{serviceName: db, replicas: 0, selector: {{matchLabels: {{a: b}}}}, template: {template}}}\n---\n"
        "apiVersion: v1\nkind: ReplicationController\nmetadata: {name: old}\n"
        f"spec: {{replicas: 0, selector: {{a: b}}, template: {template}}}\n"
    )
    assert kubectl("scale statefulset db --replicas=1") == "statefulset.apps/db scaled\n"
    assert kubectl("get statefulset db -o jsonpath={.spec.replicas}") == "1"
    assert kubectl("scale replicationcontroller old --replicas=1") == "replicationcontroller/old scaled\n"
    kubectl("create configmap settings")
    assert "could not find the requested resource" in kubectl.fails("scale configmap settings --replicas=1")


def test_autoscale(kubectl: Kubectl) -> None:
    """An autoscaler is made in the version that kubectl knows, and read in every version."""
    kubectl.apply(DEPLOYMENT)
    flag = "--cpu-percent=80" if kubectl.version == "1.31" else "--cpu=80%"
    assert kubectl(f"autoscale deployment web --min=2 --max=5 {flag}") == (
        "horizontalpodautoscaler.autoscaling/web autoscaled\n"
    )
    old = kubectl.json("get horizontalpodautoscalers.v1.autoscaling web")
    assert old["apiVersion"] == "autoscaling/v1"
    assert old["spec"]["targetCPUUtilizationPercentage"] == 80
    new = kubectl.json("get horizontalpodautoscalers.v2.autoscaling web")
    assert new["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    target = {"type": "Utilization", "averageUtilization": 80}
    assert new["spec"]["metrics"] == [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    kubectl(
        "patch horizontalpodautoscalers.v1.autoscaling web", "-p", '{"spec": {"targetCPUUtilizationPercentage": 60}}'
    )
    changed = kubectl.json("get horizontalpodautoscalers.v2.autoscaling web")["spec"]["metrics"]
    assert changed[0]["resource"]["target"]["averageUtilization"] == 60
    manifest = {"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "older"}}
    spec = {"scaleTargetRef": old["spec"]["scaleTargetRef"], "maxReplicas": 3}
    assert kubectl.apply(json.dumps(manifest | {"spec": spec})) == (
        "horizontalpodautoscaler.autoscaling/older created\n"
    )
    assert kubectl.apply(json.dumps(manifest | {"spec": spec})) == (
        "horizontalpodautoscaler.autoscaling/older unchanged\n"
    )


def test_rollout_status(kubectl: Kubectl) -> None:
    """It tells how far a rollout is, until it is complete."""
    kubectl.apply(DEPLOYMENT)
    with kubectl.started("rollout status deployment/web") as waiting:
        assert (
            waiting.line() == 'Waiting for deployment "web" rollout to finish: 0 of 2 updated replicas are available...'
        )
        pods_get_ready(kubectl)
        assert ends_well(waiting)[-1] == 'deployment "web" successfully rolled out'
    assert kubectl("rollout status deployment/web") == 'deployment "web" successfully rolled out\n'
    kubectl("set image deployment/web web=busybox:2")
    late = kubectl.run("rollout status deployment/web --timeout=1s")
    assert (late.code, late.err) == (1, "error: timed out waiting for the condition\n")
    assert late.out.endswith("1 out of 2 new replicas have been updated...\n")
    assert "Waiting for deployment" in kubectl("rollout status deployment/web --watch=false")


def test_rollout_history_and_undo(kubectl: Kubectl) -> None:
    """Revisions are numbered and told apart, and an older one is taken up again as the newest."""
    kubectl.apply(DEPLOYMENT)
    kubectl("annotate deployment web kubernetes.io/change-cause=first")
    pods_get_ready(kubectl)
    kubectl("set image deployment/web web=busybox:2")
    kubectl("annotate deployment web kubernetes.io/change-cause=second --overwrite")
    pods_get_ready(kubectl)

    def history() -> list[list[str]]:
        return [line.split() for line in kubectl.lines("rollout history deployment/web")[1:] if line]

    assert history() == [["REVISION", "CHANGE-CAUSE"], ["1", "first"], ["2", "second"]]
    second = kubectl("rollout history deployment/web --revision=2")
    assert second.startswith("deployment.apps/web with revision #2\nPod Template:\n")
    assert "Image:\tbusybox:2" in second
    assert kubectl("rollout undo deployment/web") == "deployment.apps/web rolled back\n"
    assert kubectl("get deployment web", "-o", IMAGE) == "busybox:1"
    until("the revision is numbered anew", lambda: [row[0] for row in history()[1:]] == ["2", "3"])
    pods_get_ready(kubectl)
    assert kubectl("rollout undo deployment/web --to-revision=2") == "deployment.apps/web rolled back\n"
    assert kubectl("get deployment web", "-o", IMAGE) == "busybox:2"
    missing = kubectl.fails("rollout undo deployment/web --to-revision=99")
    assert missing == "error: unable to find specified revision 99 in history\n"


def test_rollout_pause_and_restart(kubectl: Kubectl) -> None:
    """A paused Deployment collects changes; a restart is a change of its template."""
    kubectl.apply(DEPLOYMENT)
    pods_get_ready(kubectl)
    assert kubectl("rollout pause deployment/web") == "deployment.apps/web paused\n"
    assert kubectl.fails("rollout pause deployment/web") == 'error: deployments.apps "web" is already paused\n'
    kubectl("set image deployment/web web=busybox:5")
    assert kubectl.fails("rollout restart deployment/web") == (
        'error: deployments.apps "web" can\'t restart paused deployment (run rollout resume first)\n'
    )
    until("the change was seen", lambda: kubectl("get deployment web -o jsonpath={.status.observedGeneration}") == "3")
    assert kubectl("get replicasets -o name").count("\n") == 1
    assert kubectl("rollout resume deployment/web") == "deployment.apps/web resumed\n"
    until("there is a second ReplicaSet", lambda: kubectl("get replicasets -o name").count("\n") == 2)
    pods_get_ready(kubectl)
    assert kubectl("rollout restart deployment/web") == "deployment.apps/web restarted\n"
    until("there is a third ReplicaSet", lambda: kubectl("get replicasets -o name").count("\n") == 3)
    with kubectl.started("rollout status deployment/web --timeout=30s") as waiting:
        pods_get_ready(kubectl)
        assert ends_well(waiting)[-1] == 'deployment "web" successfully rolled out'
