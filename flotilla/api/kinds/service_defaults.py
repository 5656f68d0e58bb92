"""Service: defaults, and what an update keeps of the addresses and ports that were allocated before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.kinds.metadata import keep_status
from flotilla.api.kinds.pod_defaults import fill
from flotilla.api.objects import KubeObject

_AFFINITY_TIMEOUT_S = 10800
_WITH_NODE_PORTS = ("NodePort", "LoadBalancer")
_ADDRESS_FIELDS = ("clusterIP", "clusterIPs")
_FAMILY_FIELDS = ("ipFamilies", "ipFamilyPolicy")


def has_cluster_ip(spec: Mapping[str, Any]) -> bool:
    """Whether the Service is of a type with an address of its own; headless ones count, their address is ``None``."""
    return spec.get("type") != "ExternalName"


def has_node_ports(spec: Mapping[str, Any]) -> bool:
    """Whether the Service's ports are opened on every node."""
    kind = spec.get("type")
    return kind == "NodePort" or (kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False)


def default_service(service: KubeObject) -> None:
    """Fill a Service; addresses and node ports are allocated elsewhere."""
    spec = service.setdefault("spec", {})
    fill(spec, "type", "ClusterIP")
    fill(spec, "sessionAffinity", "None")
    if spec["sessionAffinity"] == "ClientIP":
        client = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        client.setdefault("timeoutSeconds", _AFFINITY_TIMEOUT_S)
    elif spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    for port in spec.get("ports") or ():
        fill(port, "protocol", "TCP")
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port")
    if has_cluster_ip(spec):
        fill(spec, "internalTrafficPolicy", "Cluster")
        fill(spec, "ipFamilyPolicy", "SingleStack")
        spec["ipFamilies"] = spec.get("ipFamilies") or ["IPv4"]
        _mirror_cluster_ip(spec)
    if spec["type"] in _WITH_NODE_PORTS or spec.get("externalIPs"):
        fill(spec, "externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)


def _mirror_cluster_ip(spec: KubeObject) -> None:
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]
    elif spec.get("clusterIPs") and not spec.get("clusterIP"):
        spec["clusterIP"] = spec["clusterIPs"][0]


def _keep_node_ports(spec: KubeObject, was: Mapping[str, Any]) -> None:
    old = {(port.get("port"), port.get("protocol")): port.get("nodePort") for port in was.get("ports") or ()}
    taken = {port.get("nodePort") for port in spec.get("ports") or ()}
    for port in spec.get("ports") or ():
        before = old.get((port.get("port"), port.get("protocol")))
        if not port.get("nodePort") and before and before not in taken:
            port["nodePort"] = before


def _keep_allocations(spec: KubeObject, was: Mapping[str, Any]) -> None:
    """An update that doesn't mention an allocated value keeps it, so that manifests can be replaced as written."""
    if has_cluster_ip(spec) and has_cluster_ip(was) and not spec.get("clusterIP"):
        for field in _ADDRESS_FIELDS:
            if was.get(field):
                spec[field] = was[field]
    if has_node_ports(spec) and has_node_ports(was):
        _keep_node_ports(spec, was)


def _drop_what_the_type_lost(spec: KubeObject, was: Mapping[str, Any]) -> None:
    """A change of type takes along what only the old type had, unless the update set it itself."""
    if has_cluster_ip(was) and not has_cluster_ip(spec):
        for field in (*_ADDRESS_FIELDS, *_FAMILY_FIELDS):
            if spec.get(field) == was.get(field):
                spec.pop(field, None)
        if spec.get("internalTrafficPolicy") == was.get("internalTrafficPolicy"):
            spec.pop("internalTrafficPolicy", None)
    if has_node_ports(was) and not has_node_ports(spec):
        old = {port.get("nodePort") for port in was.get("ports") or ()}
        for port in spec.get("ports") or ():
            if port.get("nodePort") in old:
                port.pop("nodePort", None)
    if was.get("type") in _WITH_NODE_PORTS and spec.get("type") not in _WITH_NODE_PORTS and not spec.get("externalIPs"):
        spec.pop("externalTrafficPolicy", None)
    if was.get("type") == "LoadBalancer" and spec.get("type") != "LoadBalancer":
        for field in ("allocateLoadBalancerNodePorts", "loadBalancerClass", "healthCheckNodePort"):
            if spec.get(field) == was.get(field):
                spec.pop(field, None)


def prepare_service_update(service: KubeObject, old: KubeObject) -> None:
    """Carry over status and allocations; ``service`` is defaulted."""
    keep_status(service, old)
    spec, was = service["spec"], old["spec"]
    _keep_allocations(spec, was)
    _drop_what_the_type_lost(spec, was)
