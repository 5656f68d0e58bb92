"""What a Prometheus server is to scrape, in the form of its ``http_sd_configs``: ``/prometheus/targets/<role>``.

Prometheus finds targets in this API by ``kubernetes_sd_configs`` as well, but some builds (Debian's) leave that out.
Roles and meta labels are those of that mechanism, so that the same relabelling rules work with either: ``node``,
``pod``, ``service``, ``endpointslice``.
Source: Prometheus 2.42, discovery/kubernetes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from controlplane.store.cache import Cache, Entry
from flotilla.api.conditions import get_condition
from flotilla.api.objects import KubeObject, annotations_of
from flotilla.api.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES

PATH = "/prometheus/targets"
_META = "__meta_kubernetes_"
_NOT_IN_LABELS = re.compile(r"[^a-zA-Z0-9_]", re.ASCII)
_AGENT_PORT = 10250
_SERVICE_LABEL = "kubernetes.io/service-name"

Labels = dict[str, str]


def scrape_targets(cache: Cache, role: str) -> list[KubeObject] | None:
    """The target groups of a role; None if there is no such role."""
    read = _ROLES.get(role)
    return None if read is None else list(read(cache))


def _nodes(cache: Cache) -> Iterator[KubeObject]:
    for entry in cache.list(NODES):
        status = entry.obj.get("status") or {}
        addresses = {each["type"]: each["address"] for each in status.get("addresses") or ()}
        endpoint = (status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}
        host = addresses.get("InternalIP") or addresses.get("Hostname") or entry.name
        labels = _described(entry, "node") | {f"{_META}node_name": entry.name, "instance": entry.name}
        for kind, address in addresses.items():
            labels[f"{_META}node_address_{_sanitized(kind)}"] = address
        yield _group([_address(host, endpoint.get("Port") or _AGENT_PORT)], labels)


def _pods(cache: Cache) -> Iterator[KubeObject]:
    for entry in cache.list(PODS):
        ip = (entry.obj.get("status") or {}).get("podIP")
        if not ip:
            continue
        common = _pod_labels(entry)
        for container in entry.obj["spec"]["containers"]:
            own = common | {
                f"{_META}pod_container_name": container["name"],
                f"{_META}pod_container_image": container.get("image") or "",
                f"{_META}pod_container_init": "false",
            }
            for port in container.get("ports") or ():
                yield _group([_address(ip, port["containerPort"])], own | _container_port(port))
            if not container.get("ports"):
                yield _group([ip], own)


def _services(cache: Cache) -> Iterator[KubeObject]:
    for entry in cache.list(SERVICES):
        spec = entry.obj["spec"]
        labels = _described(entry, "service") | {
            f"{_META}namespace": entry.namespace,
            f"{_META}service_name": entry.name,
            f"{_META}service_type": spec.get("type") or "ClusterIP",
            f"{_META}service_cluster_ip": spec.get("clusterIP") or "",
        }
        for port in spec.get("ports") or ():
            number = {f"{_META}service_port_number": str(port["port"])}
            named = {f"{_META}service_port_name": port.get("name") or ""}
            protocol = {f"{_META}service_port_protocol": port.get("protocol") or "TCP"}
            host = f"{entry.name}.{entry.namespace}.svc"
            yield _group([_address(host, port["port"])], labels | number | named | protocol)


def _endpoint_slices(cache: Cache) -> Iterator[KubeObject]:
    for entry in cache.list(ENDPOINT_SLICES):
        name = entry.labels.get(_SERVICE_LABEL, "")
        service = cache.get(SERVICES, entry.namespace, name)
        common = {f"{_META}namespace": entry.namespace, f"{_META}endpointslice_name": entry.name}
        if service is not None:
            common |= _described(service, "service") | {f"{_META}service_name": service.name}
        for endpoint in entry.obj.get("endpoints") or ():
            ready = (endpoint.get("conditions") or {}).get("ready")
            own = common | {f"{_META}endpointslice_endpoint_conditions_ready": "false" if ready is False else "true"}
            reference = endpoint.get("targetRef") or {}
            if reference.get("kind") == "Pod" and (pod := cache.get(PODS, entry.namespace, reference["name"])):
                own |= _pod_labels(pod)
            for address in endpoint["addresses"]:
                for port in entry.obj.get("ports") or ():
                    if port.get("port"):
                        of_port = {f"{_META}endpointslice_port_name": port.get("name") or ""}
                        yield _group([_address(address, port["port"])], own | of_port)


_ROLES: Mapping[str, Callable[[Cache], Iterator[KubeObject]]] = {
    "node": _nodes,
    "pod": _pods,
    "service": _services,
    "endpointslice": _endpoint_slices,
}


def _pod_labels(entry: Entry) -> Labels:
    status = entry.obj.get("status") or {}
    ready = get_condition(entry.obj, "Ready") or {}
    labels = _described(entry, "pod") | {
        f"{_META}namespace": entry.namespace,
        f"{_META}pod_name": entry.name,
        f"{_META}pod_ip": status.get("podIP") or "",
        f"{_META}pod_ready": (ready.get("status") or "unknown").lower(),
        f"{_META}pod_phase": status.get("phase") or "",
        f"{_META}pod_node_name": entry.node,
        f"{_META}pod_host_ip": status.get("hostIP") or "",
        f"{_META}pod_uid": entry.uid,
    }
    for owner in entry.obj["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            labels |= {f"{_META}pod_controller_kind": owner["kind"], f"{_META}pod_controller_name": owner["name"]}
    return labels


def _container_port(port: Mapping[str, Any]) -> Labels:
    return {
        f"{_META}pod_container_port_name": port.get("name") or "",
        f"{_META}pod_container_port_number": str(port["containerPort"]),
        f"{_META}pod_container_port_protocol": port.get("protocol") or "TCP",
    }


def _described(entry: Entry, role: str) -> Labels:
    """Labels and annotations of the object, each with a mark that it is there."""
    labels: Labels = {}
    for what, values in (("label", entry.labels), ("annotation", annotations_of(entry.obj))):
        for name, value in values.items():
            labels[f"{_META}{role}_{what}_{_sanitized(name)}"] = value
            labels[f"{_META}{role}_{what}present_{_sanitized(name)}"] = "true"
    return labels


def _sanitized(name: str) -> str:
    return _NOT_IN_LABELS.sub("_", name)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _group(targets: list[str], labels: Labels) -> KubeObject:
    return {"targets": targets, "labels": labels}
