"""What services should do on this node, computed from Services and EndpointSlices; pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from flotilla.api.objects import KubeObject, annotations_of, labels_of, name_of, namespace_of

_SERVICE_NAME = "kubernetes.io/service-name"
_HOLD_REQUESTS = "flotilla.dev/hold-requests"
_DEFAULT_AFFINITY_S = 10800
_NODE_PORT_TYPES = ("NodePort", "LoadBalancer")


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    ip: str
    port: int


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of one service. ``node_endpoints`` serve its node port; ``affinity_s`` is 0 without affinity."""

    key: str
    protocol: str
    addresses: tuple[Endpoint, ...]
    node_port: int
    endpoints: tuple[Endpoint, ...]
    node_endpoints: tuple[Endpoint, ...]
    affinity_s: int


@dataclass(frozen=True, slots=True)
class _Candidate:
    endpoint: Endpoint
    ready: bool
    serving: bool
    local: bool


def holds_requests(service: KubeObject) -> bool:
    """Whether requests to the service wait for an endpoint where there is none."""
    return annotations_of(service).get(_HOLD_REQUESTS) == "true"


def plan_services(
    services: Iterable[KubeObject],
    slices: Iterable[KubeObject],
    *,
    node_name: str,
    own_addresses: Sequence[str] = (),
    waker: Endpoint | None = None,
) -> dict[str, ServicePort]:
    """Every service port that is to be translated, by its key.

    A port without endpoints of a service that holds requests leads to ``waker``, if there is one.
    Services whose cluster IP is in ``own_addresses`` are answered by this node itself and left out, as are headless
    ones and those that are only a name.
    """
    by_service: defaultdict[tuple[str, str], list[KubeObject]] = defaultdict(list)
    for each in slices:
        if each.get("addressType", "IPv4") == "IPv4":
            by_service[namespace_of(each), labels_of(each).get(_SERVICE_NAME, "")].append(each)
    ports: dict[str, ServicePort] = {}
    for service in services:
        spec = service["spec"]
        cluster_ip = spec.get("clusterIP") or ""
        if spec.get("type") == "ExternalName" or cluster_ip in ("", "None", *own_addresses):
            continue
        own_slices = by_service[namespace_of(service), name_of(service)]
        for port in spec.get("ports") or ():
            planned = _service_port(service, port, own_slices, node_name=node_name)
            if waker is not None and holds_requests(service) and _is_idle(planned):
                planned = replace(planned, endpoints=(waker,), node_endpoints=(waker,), affinity_s=0)
            ports[planned.key] = planned
    return ports


def _is_idle(port: ServicePort) -> bool:
    return port.protocol == "tcp" and not port.endpoints and not port.node_endpoints


def _service_port(
    service: KubeObject, port: KubeObject, slices: Sequence[KubeObject], *, node_name: str
) -> ServicePort:
    spec = service["spec"]
    protocol = port.get("protocol") or "TCP"
    candidates = list(_candidates(slices, port.get("name") or "", protocol, node_name))
    internal_local = spec.get("internalTrafficPolicy") == "Local"
    external_local = spec.get("externalTrafficPolicy") == "Local"
    addresses = [spec["clusterIP"], *(spec.get("externalIPs") or ())]
    return ServicePort(
        key=f"{namespace_of(service)}/{name_of(service)}/{port.get('name') or ''}/{protocol.lower()}/{port['port']}",
        protocol=protocol.lower(),
        addresses=tuple(Endpoint(address, port["port"]) for address in addresses),
        node_port=(port.get("nodePort") or 0) if spec.get("type") in _NODE_PORT_TYPES else 0,
        endpoints=_usable(candidates, only_local=internal_local),
        node_endpoints=_usable(candidates, only_local=external_local),
        affinity_s=_affinity_s(spec),
    )


def _affinity_s(spec: KubeObject) -> int:
    if spec.get("sessionAffinity") != "ClientIP":
        return 0
    config = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
    timeout_s: int = config.get("timeoutSeconds") or _DEFAULT_AFFINITY_S
    return timeout_s


def _candidates(slices: Iterable[KubeObject], name: str, protocol: str, node_name: str) -> Iterator[_Candidate]:
    for each in slices:
        number = _port_number(each, name, protocol)
        for endpoint in (each.get("endpoints") or ()) if number else ():
            conditions = endpoint.get("conditions") or {}
            ready = conditions.get("ready") is not False
            serving = conditions.get("serving", ready) is not False
            if endpoint.get("addresses"):
                local = not node_name or endpoint.get("nodeName") == node_name
                yield _Candidate(Endpoint(endpoint["addresses"][0], number), ready, serving, local)


def _port_number(each: KubeObject, name: str, protocol: str) -> int:
    for port in each.get("ports") or ():
        if (port.get("name") or "") == name and (port.get("protocol") or "TCP") == protocol:
            number: int = port.get("port") or 0
            return number
    return 0


def _usable(candidates: Sequence[_Candidate], *, only_local: bool) -> tuple[Endpoint, ...]:
    """Ready endpoints; where there is none, those that still serve while they terminate, as kube-proxy does."""
    eligible = [candidate for candidate in candidates if candidate.local or not only_local]
    ready = {candidate.endpoint for candidate in eligible if candidate.ready}
    return tuple(sorted(ready or {candidate.endpoint for candidate in eligible if candidate.serving}))
