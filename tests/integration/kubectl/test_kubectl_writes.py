"""What kubectl writes through subresources, and whose fields are whose afterwards."""

from __future__ import annotations

import json

from tests.integration.kubectl.lab import Kubectl

POD = """
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
  - name: web
    image: busybox:1
    resources: {requests: {cpu: 100m}}
"""


def entries(kubectl: Kubectl, name: str) -> dict[tuple[str, str, str], list[str]]:
    """The parts of a spec or a status that each manager owns, by its name, operation and subresource."""
    metadata = kubectl.json("get", name, "--show-managed-fields")["metadata"]
    return {
        (entry["manager"], entry["operation"], entry.get("subresource", "")): sorted(
            field for part in ("f:spec", "f:status") for field in entry["fieldsV1"].get(part, {}) if field != "."
        )
        for entry in metadata["managedFields"]
    }


def test_managers_are_shown_when_asked_for(kubectl: Kubectl) -> None:
    """``get -o yaml`` hides them, ``--show-managed-fields`` has those of users and of controllers alike."""
    kubectl("create deployment web --image=busybox:1 --replicas=1")
    assert "managedFields" not in kubectl("get deployment web -o yaml")
    found = entries(kubectl, "deployment/web")
    assert "f:replicas" in found[("kubectl-create", "Update", "")]
    kubectl("scale deployment web --replicas=2")
    found = entries(kubectl, "deployment/web")
    assert found[(kubectl.program.name, "Update", "scale")] == ["f:replicas"]
    assert "f:replicas" not in found[("kubectl-create", "Update", "")]
    pods = kubectl.json("get pods -l app=web --show-managed-fields")["items"]
    for pod in pods:
        assert "replicaset-controller" in {entry["manager"] for entry in pod["metadata"]["managedFields"]}


def test_a_debug_container_is_added(kubectl: Kubectl) -> None:
    """``debug`` adds them one by one; one beside no container is refused."""
    kubectl.apply(POD)
    kubectl("debug web --image=busybox:2 -c first --profile=general --attach=false -- sleep 1")
    kubectl("debug web --image=busybox:2 -c second --target=web --profile=general --attach=false -- sleep 1")
    found = kubectl.json("get pod web")["spec"]["ephemeralContainers"]
    assert [(each["name"], each.get("targetContainerName")) for each in found] == [("first", None), ("second", "web")]
    assert "targetContainerName" in kubectl.fails("debug web --image=busybox:2 --target=none --attach=false")


def test_a_pod_is_resized(newest_kubectl: Kubectl) -> None:
    """Through the subresource alone, which leaves everything else."""
    kubectl = newest_kubectl
    kubectl.apply(POD)
    sizes = {"name": "web", "image": "busybox:9", "resources": {"requests": {"cpu": "200m"}}}
    patch = json.dumps({"spec": {"containers": [sizes]}})
    kubectl("patch pod web --subresource=resize -p", patch)
    container = kubectl.json("get pod web")["spec"]["containers"][0]
    assert (container["image"], container["resources"]) == ("busybox:1", {"requests": {"cpu": "200m"}})
    direct = json.dumps({"spec": {"containers": [{"name": "web", "resources": {"requests": {"cpu": "1"}}}]}})
    assert "pod updates may not change fields other than" in kubectl.fails("patch pod web -p", direct)


def test_a_status_is_applied(newest_kubectl: Kubectl) -> None:
    """Its applier owns it under the subresource, and the spec of the same manifest stays as it was."""
    kubectl = newest_kubectl
    kubectl.apply(POD)
    status = POD.replace("busybox:1", "busybox:9") + "status: {reason: Tested}\n"
    kubectl.apply(status, "--server-side", "--subresource=status", "--field-manager=tester")
    found = kubectl.json("get pod web")
    assert found["status"]["reason"] == "Tested"
    assert found["spec"]["containers"][0]["image"] == "busybox:1"
    assert entries(kubectl, "pod/web")[("tester", "Apply", "status")] == ["f:reason"]
