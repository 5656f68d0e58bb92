"""The objects that the API benchmark works on, as they look in a cluster that is in use."""

from __future__ import annotations

import uuid
from typing import Any

from flotilla.api.objects import KubeObject

CREATED = "2026-11-24T08:00:00Z"
NODES = [f"benchmark-node-{number}" for number in range(100)]


def _owned(manager: str, fields: Any, *, subresource: str = "") -> KubeObject:
    entry = {"manager": manager, "operation": "Update", "apiVersion": "v1", "time": CREATED, "fieldsType": "FieldsV1"}
    return entry | {"fieldsV1": fields} | ({"subresource": subresource} if subresource else {})


def _key(name: str, value: str) -> str:
    return f'k:{{"{name}":"{value}"}}'


def _spec_fields() -> KubeObject:
    env: KubeObject = {_key("name", name): {".": {}, "f:name": {}, "f:value": {}} for name in ("MODE", "LISTEN")}
    container: KubeObject = {".": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {}, "f:env": {".": {}} | env}
    container |= {"f:ports": {".": {}, 'k:{"containerPort":8080,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}}}
    container |= {"f:resources": {".": {}, "f:limits": {".": {}, "f:memory": {}}, "f:requests": {".": {}, "f:cpu": {}}}}
    container |= {"f:readinessProbe": {".": {}, "f:httpGet": {".": {}, "f:path": {}, "f:port": {}}}}
    metadata: KubeObject = {"f:generateName": {}, "f:labels": {".": {}, "f:app": {}, "f:pod-template-hash": {}}}
    spec = {"f:containers": {'k:{"name":"web"}': container}, "f:restartPolicy": {}, "f:schedulerName": {}}
    return {"f:metadata": metadata, "f:spec": spec}


def _status_fields() -> KubeObject:
    types = ("ContainersReady", "Initialized", "PodReadyToStartContainers", "Ready")
    conditions: KubeObject = {_key("type", type_): {".": {}, "f:status": {}, "f:type": {}} for type_ in types}
    return {"f:status": {"f:conditions": conditions, "f:containerStatuses": {}, "f:phase": {}, "f:podIP": {}}}


def _conditions() -> list[KubeObject]:
    types = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    return [{"type": type_, "status": "True", "lastTransitionTime": CREATED} for type_ in types]


def _container() -> KubeObject:
    return {
        "name": "web",
        "image": "registry.example.com/team/web:1.42.0",
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": "MODE", "value": "production"}, {"name": "LISTEN", "value": ":8080"}],
        "ports": [{"containerPort": 8080, "protocol": "TCP"}],
        "resources": {"limits": {"memory": "128Mi"}, "requests": {"cpu": "50m", "memory": "64Mi"}},
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"}, "periodSeconds": 10},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "volumeMounts": [{"name": "token", "readOnly": True, "mountPath": "/var/run/secrets/kubernetes.io"}],
    }


def pod(number: int, namespace: str) -> KubeObject:
    """A running pod of a Deployment, 3 to 4 KB with its managedFields."""
    metadata = {
        "name": f"web-{number // 10:05}-{number:06}",
        "namespace": namespace,
        "generateName": f"web-{number // 10:05}-",
        "uid": str(uuid.UUID(int=number + 1)),
        "creationTimestamp": CREATED,
        "labels": {"app": f"web-{number // 10}", "pod-template-hash": "6d4cf56db6", "tier": "front"},
        "managedFields": [_owned("flotilla", _spec_fields()), _owned("agent", _status_fields(), subresource="status")],
    }
    spec = {
        "containers": [_container()],
        "nodeName": NODES[number % len(NODES)],
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "serviceAccountName": "default",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}],
        "volumes": [{"name": "token", "emptyDir": {}}],
    }
    state = {"running": {"startedAt": CREATED}}
    image = "registry.example.com/team/web@sha256:" + "0123456789abcdef" * 4
    container = {"name": "web", "ready": True, "started": True, "restartCount": 0, "state": state, "image": image}
    address = f"10.42.{number >> 8 & 255}.{number & 255}"
    status = {
        "phase": "Running",
        "qosClass": "Burstable",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "hostIP": "192.0.2.10",
        "startTime": CREATED,
        "conditions": _conditions(),
        "containerStatuses": [container | {"imageID": image, "containerID": f"flotilla://{uuid.UUID(int=number).hex}"}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


def config_map(name: str, namespace: str, *, size_bytes: int = 1000) -> KubeObject:
    """A ConfigMap with ``size_bytes`` of data."""
    metadata = {"name": name, "namespace": namespace, "uid": str(uuid.uuid4()), "creationTimestamp": CREATED}
    fields: KubeObject = {"f:data": {".": {}, "f:n": {}, "f:text": {}}}
    metadata_all = metadata | {"managedFields": [_owned("benchmark", fields)]}
    data = {"n": "0", "text": "x" * size_bytes}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata_all, "data": data}


def node(name: str) -> KubeObject:
    """A node that pods are on; nobody keeps a session for it, and since none has one no pod is evicted."""
    condition = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastTransitionTime": CREATED}
    metadata = {"name": name, "uid": str(uuid.uuid4()), "creationTimestamp": CREATED}
    capacity = {"cpu": "500", "memory": "500Gi", "pods": "1000"}
    status = {"capacity": capacity, "allocatable": capacity, "conditions": [condition | {"message": ""}]}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {}, "status": status}


def namespace(name: str) -> KubeObject:
    metadata = {"name": name, "uid": str(uuid.uuid4()), "creationTimestamp": CREATED}
    metadata_all = metadata | {"labels": {"kubernetes.io/metadata.name": name}}
    spec = {"finalizers": ["kubernetes"]}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": metadata_all,
        "spec": spec,
        "status": {"phase": "Active"},
    }
