"""The state of objects as series, under the names that dashboards know."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from flotilla.api.objects import KubeObject
from flotilla.api.resources import DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS, NODES, PODS

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def _series(api: Any) -> Series:
    reply = await api.get("/metrics/state")
    assert reply.status == 200
    families = text_string_to_metric_families(reply.body)
    return {(each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples}


def _value(series: Series, name: str, **labels: str) -> float | None:
    found = [value for (each, own), value in series.items() if each == name and set(labels.items()) <= own]
    assert len(found) <= 1, found
    return found[0] if found else None


async def test_objects_show_as_kube_state_metrics_shows_them(api: Any) -> None:
    """Pods with restarts and requests, deployments and autoscalers with replicas, nodes with conditions."""
    container: KubeObject = {"name": "app", "image": "app:1", "resources": {"requests": {"cpu": "250m"}}}
    spec: KubeObject = {"containers": [container], "nodeName": "one"}
    pod = {"metadata": {"name": "web-1", "namespace": "default"}, "spec": spec}
    await api.operations.create(PODS, pod, manager="test")
    statuses = [{"name": "app", "restartCount": 3, "ready": True, "image": "app:1", "imageID": ""}]
    status = {"phase": "Running", "podIP": "10.42.0.7", "containerStatuses": statuses}
    path = "/api/v1/namespaces/default/pods/web-1/status"
    await api.ask("PATCH", path, {"status": status}, content_type="application/merge-patch+json")
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    deployment = {"replicas": 4, "selector": {"matchLabels": labels}, "template": template}
    metadata = {"name": "web", "namespace": "default"}
    await api.operations.create(DEPLOYMENTS, {"metadata": metadata, "spec": deployment}, manager="test")
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    scaler = {"metadata": metadata, "spec": {"scaleTargetRef": reference, "minReplicas": 2, "maxReplicas": 9}}
    await api.operations.create(HORIZONTAL_POD_AUTOSCALERS, scaler, manager="test")
    conditions = [{"type": "Ready", "status": "True"}]
    node = {"metadata": {"name": "one"}, "status": {"conditions": conditions, "allocatable": {"memory": "2Ki"}}}
    await api.operations.create(NODES, node, manager="test")
    await api.cache.barrier()
    series = await _series(api)
    assert _value(series, "kube_pod_info", pod="web-1", node="one", pod_ip="10.42.0.7") == 1
    assert _value(series, "kube_pod_status_phase", pod="web-1", phase="Running") == 1
    assert _value(series, "kube_pod_container_status_restarts_total", pod="web-1", container="app") == 3
    assert _value(series, "kube_pod_container_resource_requests", resource="cpu", unit="core") == 0.25
    assert _value(series, "kube_deployment_spec_replicas", deployment="web") == 4
    assert _value(series, "kube_horizontalpodautoscaler_spec_max_replicas", horizontalpodautoscaler="web") == 9
    assert _value(series, "kube_namespace_status_phase", namespace="default", phase="Active") == 1


async def test_labels_are_escaped(api: Any) -> None:
    """No name or reason can break the format."""
    pod = {"metadata": {"name": "p", "namespace": "default"}, "spec": {"containers": [{"name": "a", "image": "a:1"}]}}
    await api.operations.create(PODS, pod, manager="test")
    waiting = {"waiting": {"reason": 'a "quoted"\n\\reason'}}
    statuses = [{"name": "a", "restartCount": 0, "ready": False, "image": "a:1", "imageID": "", "state": waiting}]
    path = "/api/v1/namespaces/default/pods/p/status"
    body = {"status": {"containerStatuses": statuses}}
    await api.ask("PATCH", path, body, content_type="application/merge-patch+json")
    await api.cache.barrier()
    series = await _series(api)
    assert _value(series, "kube_pod_container_status_waiting_reason", reason='a "quoted"\n\\reason') == 1
