"""Nodes, with what runs on them, and Services, with where they lead."""

from __future__ import annotations

from flotilla.api.objects import KubeObject
from flotilla.api.quantities import bytes_of, cpu_millis
from flotilla.cli.client import Client
from flotilla.cli.describing.generic import conditions, metadata
from flotilla.cli.describing.sheet import Sheet

MEBIBYTE = 1024**2


def describe_node(sheet: Sheet, client: Client, node: KubeObject) -> None:
    spec, status = node["spec"], node.get("status") or {}
    metadata(sheet, node)
    sheet.add("Created", node["metadata"].get("creationTimestamp"))
    taints = spec.get("taints") or ()
    sheet.add("Taints", [f"{each['key']}={each.get('value', '')}:{each['effect']}" for each in taints])
    sheet.add("Unschedulable", str(bool(spec.get("unschedulable"))).lower())
    sheet.maybe("Pod CIDR", spec.get("podCIDR"))
    conditions(sheet, node)
    sheet.add("Addresses", [f"{each['type']} {each['address']}" for each in status.get("addresses") or ()])
    sheet.add("Capacity", status.get("capacity") or {})
    sheet.add("Allocatable", status.get("allocatable") or {})
    with sheet.section("System Info"):
        for key, value in (status.get("nodeInfo") or {}).items():
            sheet.maybe(key, value)
    _pods_of_node(sheet, client, node)


def _pods_of_node(sheet: Sheet, client: Client, node: KubeObject) -> None:
    selector = f"spec.nodeName={node['metadata']['name']},status.phase!=Succeeded,status.phase!=Failed"
    pods = client.get("/api/v1/pods", {"fieldSelector": selector}).get("items") or []
    rows, totals = [], [0, 0, 0, 0]
    for pod in pods:
        sums = [_total(pod, field, resource) for resource in ("cpu", "memory") for field in ("requests", "limits")]
        totals = [total + value for total, value in zip(totals, sums, strict=True)]
        rows.append([pod["metadata"]["namespace"], pod["metadata"]["name"], *_shown(sums)])
    with sheet.section(f"Pods ({len(pods)})"):
        sheet.table(
            ["Namespace", "Name", "CPU Requests", "CPU Limits", "Memory Requests", "Memory Limits"],
            [*rows, ["", "all together", *_shown(totals)]] if rows else [],
        )


def _total(pod: KubeObject, field: str, resource: str) -> int:
    convert = cpu_millis if resource == "cpu" else bytes_of
    containers = pod["spec"]["containers"]
    return sum(convert(((each.get("resources") or {}).get(field) or {}).get(resource, 0)) for each in containers)


def _shown(sums: list[int]) -> list[str]:
    return [f"{sums[0]}m", f"{sums[1]}m", f"{sums[2] // MEBIBYTE}Mi", f"{sums[3] // MEBIBYTE}Mi"]


def describe_service(sheet: Sheet, client: Client, service: KubeObject) -> None:
    spec = service["spec"]
    metadata(sheet, service)
    sheet.add("Selector", spec.get("selector") or {})
    sheet.add("Type", spec.get("type"))
    sheet.add("IP", spec.get("clusterIP"))
    sheet.maybe("External Name", spec.get("externalName"))
    endpoints = _endpoints(client, service)
    for port in spec.get("ports") or ():
        protocol = port.get("protocol", "TCP")
        name = port.get("name") or "<unset>"
        sheet.add("Port", f"{name} {port['port']}/{protocol} to {port.get('targetPort', port['port'])}")
        sheet.maybe("NodePort", f"{port['nodePort']}/{protocol}" if port.get("nodePort") else "")
        sheet.add("Endpoints", ", ".join(endpoints.get(port.get("name") or "", ())))
    sheet.add("Session Affinity", spec.get("sessionAffinity"))
    sheet.maybe("Internal Traffic Policy", spec.get("internalTrafficPolicy"))
    sheet.maybe("External Traffic Policy", spec.get("externalTrafficPolicy"))


def _endpoints(client: Client, service: KubeObject) -> dict[str, list[str]]:
    """``address:port`` of the ready endpoints by the name of the service's port."""
    meta = service["metadata"]
    path = f"/apis/discovery.k8s.io/v1/namespaces/{meta['namespace']}/endpointslices"
    slices = client.get(path, {"labelSelector": f"kubernetes.io/service-name={meta['name']}"}).get("items") or []
    found: dict[str, list[str]] = {}
    for each in slices:
        ready = [
            address
            for endpoint in each.get("endpoints") or ()
            if (endpoint.get("conditions") or {}).get("ready", True)
            for address in endpoint["addresses"]
        ]
        for port in each.get("ports") or ():
            found.setdefault(port.get("name") or "", []).extend(f"{address}:{port['port']}" for address in ready)
    return found
