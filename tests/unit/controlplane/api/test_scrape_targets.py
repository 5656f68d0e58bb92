"""What a Prometheus server is told to scrape, with the meta labels of its own Kubernetes discovery."""

from __future__ import annotations

from typing import Any

from flotilla.api.objects import KubeObject
from flotilla.api.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES

ANNOTATIONS = {"prometheus.io/scrape": "true", "prometheus.io/port": "8080"}


async def _targets(api: Any, role: str) -> list[KubeObject]:
    reply = await api.get(f"/prometheus/targets/{role}")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json")
    found: list[KubeObject] = reply.body
    return found


async def _pod(api: Any, name: str, **container: Any) -> None:
    metadata = {
        "name": name,
        "namespace": "default",
        "annotations": ANNOTATIONS,
        "labels": {"app.kubernetes.io/x": "y"},
    }
    spec = {"containers": [{"name": "app", "image": "app:1", **container}], "nodeName": "one"}
    await api.operations.create(PODS, {"metadata": metadata, "spec": spec}, manager="test")
    conditions = [{"type": "Ready", "status": "True"}]
    status = {"phase": "Running", "podIP": "10.42.0.7", "hostIP": "192.0.2.1", "conditions": conditions}
    path = f"/api/v1/namespaces/default/pods/{name}/status"
    patched = await api.ask("PATCH", path, {"status": status}, content_type="application/merge-patch+json")
    assert patched.status == 200
    await api.cache.barrier()


async def test_each_port_of_a_pod_is_a_target(api: Any) -> None:
    """A pod with an address is there with what relabelling goes by."""
    await _pod(api, "web", ports=[{"name": "http", "containerPort": 8080}, {"containerPort": 9000}])
    first, second = await _targets(api, "pod")
    assert (first["targets"], second["targets"]) == (["10.42.0.7:8080"], ["10.42.0.7:9000"])
    labels = first["labels"]
    expected = {
        "namespace": "default",
        "pod_name": "web",
        "pod_ip": "10.42.0.7",
        "pod_ready": "true",
        "pod_phase": "Running",
        "pod_node_name": "one",
        "pod_container_name": "app",
        "pod_container_port_name": "http",
        "pod_container_port_number": "8080",
        "pod_container_port_protocol": "TCP",
        "pod_annotation_prometheus_io_scrape": "true",
        "pod_annotationpresent_prometheus_io_port": "true",
        "pod_label_app_kubernetes_io_x": "y",
    }
    assert (
        expected.items() <= {name.removeprefix("__meta_kubernetes_"): value for name, value in labels.items()}.items()
    )


async def test_a_pod_without_ports_is_its_address(api: Any) -> None:
    """An annotated port need not be declared."""
    await _pod(api, "web")
    (group,) = await _targets(api, "pod")
    assert group["targets"] == ["10.42.0.7"]


async def test_nodes_services_and_endpoints(api: Any) -> None:
    """Each role has its targets, endpoints with the labels of their service and pod."""
    status = {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}
    await api.operations.create(NODES, {"metadata": {"name": "one"}, "status": status}, manager="test")
    await api.operations.create(
        SERVICES,
        {
            "metadata": {"name": "web", "namespace": "default", "annotations": ANNOTATIONS},
            "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}]},
        },
        manager="test",
    )
    await _pod(api, "web")
    reference = {"kind": "Pod", "name": "web", "namespace": "default"}
    await api.operations.create(
        ENDPOINT_SLICES,
        {
            "metadata": {
                "name": "web-1",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": "web"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.42.0.7"], "conditions": {"ready": True}, "targetRef": reference}],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        },
        manager="test",
    )
    await api.cache.barrier()
    (node,), (service,) = await _targets(api, "node"), await _targets(api, "service")
    assert node["labels"]["__meta_kubernetes_node_name"] == "one"
    assert service["targets"] == ["web.default.svc:80"]
    (endpoint,) = await _targets(api, "endpointslice")
    assert endpoint["targets"] == ["10.42.0.7:8080"]
    assert endpoint["labels"]["__meta_kubernetes_service_annotation_prometheus_io_scrape"] == "true"
    assert endpoint["labels"]["__meta_kubernetes_pod_name"] == "web"


async def test_another_role_is_not_found(api: Any) -> None:
    """A misspelt role is told, not answered with nothing."""
    assert (await api.get("/prometheus/targets/ingress")).status == 404
