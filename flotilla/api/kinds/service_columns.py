"""Service, Endpoints and EndpointSlice: their table columns."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flotilla.api.kinds.columns import AGE, NAME, NONE, UNSET, column, map_text, spec_of, status_of
from flotilla.api.objects import KubeObject

_MOST_SHOWN = 3


def _ingress(service: Mapping[str, Any]) -> list[str]:
    entries = (status_of(service).get("loadBalancer") or {}).get("ingress") or ()
    return [entry.get("ip") or entry.get("hostname") or "" for entry in entries]


def _external_address(service: KubeObject, now: datetime) -> str:
    spec = spec_of(service)
    given = list(spec.get("externalIPs") or ())
    match spec.get("type"):
        case "ExternalName":
            return spec.get("externalName") or NONE
        case "LoadBalancer":
            return ",".join([*_ingress(service), *given]) or "<pending>"
    return ",".join(given) or NONE


def _port_text(port: Mapping[str, Any]) -> str:
    node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port')}{node_port}/{port.get('protocol', 'TCP')}"


def _ports(service: KubeObject, now: datetime) -> str:
    return ",".join(_port_text(port) for port in spec_of(service).get("ports") or ()) or NONE


def _endpoints(endpoints: KubeObject, now: datetime) -> str:
    found = []
    for subset in endpoints.get("subsets") or ():
        ports = subset.get("ports") or ()
        for address in subset.get("addresses") or ():
            found += [f"{address.get('ip')}:{port.get('port')}" for port in ports] or [address.get("ip")]
    shown = ",".join(found[:_MOST_SHOWN])
    if len(found) > _MOST_SHOWN:
        return f"{shown} + {len(found) - _MOST_SHOWN} more..."
    return shown or NONE


def _limited(texts: list[str]) -> str:
    shown = ",".join(texts[:_MOST_SHOWN])
    return f"{shown} + {len(texts) - _MOST_SHOWN} more..." if len(texts) > _MOST_SHOWN else shown or UNSET


def _slice_ports(slice_: KubeObject, now: datetime) -> str:
    return _limited([str(port.get("port") or port.get("name") or "*") for port in slice_.get("ports") or ()])


def _slice_endpoints(slice_: KubeObject, now: datetime) -> str:
    return _limited([each for endpoint in slice_.get("endpoints") or () for each in endpoint.get("addresses") or ()])


SERVICE_COLUMNS = (
    NAME,
    column("Type", lambda obj, now: spec_of(obj).get("type", ""), description="How the Service is exposed."),
    column(
        "Cluster-IP", lambda obj, now: spec_of(obj).get("clusterIP") or NONE, description="Its address in the cluster."
    ),
    column("External-IP", _external_address, description="Where it is reached from outside."),
    column("Port(s)", _ports, description="Its ports, node ports and protocols."),
    AGE,
    column(
        "Selector",
        lambda obj, now: map_text(spec_of(obj).get("selector")),
        description="The labels of the pods that it leads to.",
        wide=True,
    ),
)
ENDPOINTS_COLUMNS = (NAME, column("Endpoints", _endpoints, description="Addresses and ports that are ready."), AGE)
SLICE_COLUMNS = (
    NAME,
    column("AddressType", lambda obj, now: obj.get("addressType", ""), description="The type of the addresses."),
    column("Ports", _slice_ports, description="The ports of every endpoint."),
    column("Endpoints", _slice_endpoints, description="The addresses."),
    AGE,
)
