"""``kubectl describe``: objects, what belongs to them, and their events."""

from __future__ import annotations

import re

from tests.integration.kubectl.lab import Kubectl, until

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      nodeSelector: {place: nowhere}
      containers:
      - name: web
        image: busybox
        command: [sleep, "9"]
        ports: [{name: http, containerPort: 80}]
        env:
        - {name: A, value: "1"}
        - {name: FROM, valueFrom: {configMapKeyRef: {name: settings, key: a}}}
        resources: {requests: {cpu: 100m, memory: 32Mi}, limits: {cpu: 200m}}
        livenessProbe: {httpGet: {path: /healthz, port: http}}
        volumeMounts: [{name: settings, mountPath: /etc/settings}]
      volumes: [{name: settings, configMap: {name: settings}}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: "1"}
---
apiVersion: v1
kind: Secret
metadata: {name: hidden}
stringData: {password: secret}
"""


def has(text: str, *lines: str) -> None:
    """Each line is there, however many blanks are between its words."""
    shown = [" ".join(line.split()) for line in text.splitlines()]
    assert [line for line in lines if line not in shown] == [], text


def test_workloads(kubectl: Kubectl) -> None:
    """A Deployment, its ReplicaSet and its pod: templates, counts, conditions, owners and events."""
    kubectl.apply(MANIFEST)
    until("an event of the scheduler", lambda: "FailedScheduling" in kubectl("get events"))
    deployment = kubectl("describe deployment web")
    has(
        deployment,
        "Name: web",
        f"Namespace: {kubectl.namespace}",
        "Selector: app=web",
        "Replicas: 1 desired | 1 updated | 1 total | 0 available | 1 unavailable",
        "StrategyType: RollingUpdate",
        "RollingUpdateStrategy: 25% max unavailable, 25% max surge",
        "Labels: app=web",
        "Port: 80/TCP" if kubectl.version == "1.31" else "Port: 80/TCP (http)",
        "Liveness: http-get http://:http/healthz delay=0s timeout=1s period=10s #success=1 #failure=3",
        "FROM: <set to the key 'a' of config map 'settings'> Optional: false",
        "/etc/settings from settings (rw)",
        "Available False MinimumReplicasUnavailable",
        "OldReplicaSets: <none>",
    )
    assert re.search(r"NewReplicaSet: +web-\w+ \(1/1 replicas created\)", deployment)
    assert re.search(r"Normal +ScalingReplicaSet +\S+ .*Scaled up replica set web-\w+ from 0 to 1", deployment)
    replica_set = kubectl("describe rs -l app=web")
    has(replica_set, "Controlled By: Deployment/web", "Pods Status: 0 Running / 1 Waiting / 0 Succeeded / 0 Failed")
    assert re.search(r"Normal +SuccessfulCreate .*Created pod: web-\w+-\w+", replica_set)
    pod = kubectl("describe pod -l app=web")
    has(pod, "Node: <none>", "Status: Pending", "QoS Class: Burstable", "Node-Selectors: place=nowhere", "cpu: 100m")
    assert re.search(r"Controlled By: +ReplicaSet/web-\w+", pod)
    assert re.search(r"Warning +FailedScheduling", pod)
    assert "PodScheduled " in pod


def test_services(kubectl: Kubectl) -> None:
    """A Service with its addresses, ports and endpoints, and the slices themselves."""
    kubectl.apply(MANIFEST)
    address = kubectl("get service web -o jsonpath={.spec.clusterIP}")
    has(
        kubectl("describe service web"),
        "Type: NodePort",
        f"IP: {address}",
        f"IPs: {address}",
        "Port: http 80/TCP",
        "TargetPort: http/TCP",
        "Session Affinity: None",
        "External Traffic Policy: Cluster",
        "Internal Traffic Policy: Cluster",
        "Endpoints:",
    )
    until("there is a slice", lambda: kubectl("get endpointslices -o name -l kubernetes.io/service-name=web"))
    has(kubectl("describe endpointslice -l kubernetes.io/service-name=web"), "AddressType: IPv4", "Ports: <unset>")


def test_data(kubectl: Kubectl) -> None:
    """A ConfigMap shows its data, a Secret only how much there is."""
    kubectl.apply(MANIFEST)
    has(kubectl("describe configmap settings"), "a:", "----", "BinaryData")
    secret = kubectl("describe secret hidden")
    has(secret, "Type: Opaque", "password: 6 bytes")


def test_namespaces(kubectl: Kubectl) -> None:
    """A namespace shows its state, quotas and limits."""
    name = kubectl.namespace
    has(kubectl(f"describe namespace {name}"), f"Name: {name}", "Status: Active", "No resource quota.")
    kubectl("create quota most --hard=pods=5,requests.cpu=2")
    kubectl.apply(
        "apiVersion: v1\nkind: LimitRange\nmetadata: {name: limits}\n"
        "spec: {limits: [{type: Container, default: {cpu: 500m}, max: {cpu: '1'}}]}\n"
    )
    has(
        kubectl("describe quota most"),
        "Name: most",
        "Resource Used Hard",
    )
    shown = kubectl(f"describe namespace {name}")
    has(shown, "Resource Quotas", "Resource Limits")
    assert re.search(r"Container +cpu +- +1 +500m +500m +-", shown)


def test_nodes(kubectl: Kubectl) -> None:
    """A node shows its conditions, capacity, taints and the pods that are bound to it with what they ask for."""
    name = f"{kubectl.namespace}-node"
    kubectl.server.request("POST", "/api/v1/nodes", {"metadata": {"name": name}, "spec": {"unschedulable": True}})
    try:
        kubectl.set_status("node", name, {"capacity": {"cpu": "4"}, "allocatable": {"cpu": "2", "memory": "1Gi"}})
        kubectl.apply(
            f"apiVersion: v1\nkind: Pod\nmetadata: {{name: bound}}\nspec:\n  nodeName: {name}\n"
            "  containers: [{name: main, image: busybox, resources: {requests: {cpu: 500m, memory: 64Mi}}}]\n"
        )
        shown = kubectl(f"describe node {name}")
        has(shown, f"Name: {name}", "Roles: <none>", "Unschedulable: true", "Non-terminated Pods: (1 in total)")
        has(shown, "cpu 500m (25%) 0 (0%)", "memory 64Mi (6%) 0 (0%)")
        assert re.search(rf"{kubectl.namespace} +bound +500m \(25%\)", shown)
    finally:
        kubectl.run("delete pod bound --grace-period=0 --force")
        kubectl(f"delete node {name}")


def test_autoscalers(kubectl: Kubectl) -> None:
    """An autoscaler shows its target, metrics, conditions and events."""
    kubectl.apply(MANIFEST)
    flag = "--cpu-percent=50" if kubectl.version == "1.31" else "--cpu=50%"
    kubectl(f"autoscale deployment web --min=1 --max=3 {flag}")
    until("it was judged", lambda: kubectl("get hpa web -o jsonpath={.status.conditions}"))
    shown = kubectl("describe hpa web")
    has(shown, "Reference: Deployment/web", "Min replicas: 1", "Max replicas: 3")
    assert "resource cpu on pods  (as a percentage of request):  <unknown> / 50%" in shown
    assert "AbleToScale" in shown


def test_several(kubectl: Kubectl) -> None:
    """Several kinds, names by prefix, everything of a kind, and no events where none are wanted."""
    kubectl.apply(MANIFEST)
    assert len(re.findall("^Name:  ", kubectl("describe deployment,service"), re.MULTILINE)) == 2
    assert kubectl("describe deployment we").startswith("Name:                   web\n")
    assert "Events:" not in kubectl("describe deployment web --show-events=false")
    assert kubectl.fails("describe deployment none") == (
        'Error from server (NotFound): deployments.apps "none" not found\n'
    )


def test_events(kubectl: Kubectl) -> None:
    """``kubectl events`` lists the events of a namespace and of one object, by type, and goes on watching."""
    kubectl.apply(MANIFEST)
    until("an event of the scheduler", lambda: "FailedScheduling" in kubectl("get events"))
    assert kubectl.table("events")[0] == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    of_one = kubectl("events --for=deployment/web --no-headers")
    assert "ScalingReplicaSet" in of_one
    assert "FailedScheduling" not in of_one
    assert {line.split()[1] for line in kubectl.lines("events --types=Warning --no-headers")} == {"Warning"}
    assert "FailedScheduling" in kubectl("events --all-namespaces")
    by_field = kubectl("get events --field-selector=reason=ScalingReplicaSet,involvedObject.name=web -o name")
    assert by_field.count("event/") == 1
    assert kubectl("get events.events.k8s.io -o name").count("event.events.k8s.io/web") >= 3
