"""What services should do on a node."""

from __future__ import annotations

from typing import Any

import pytest

from nodeagent.network.service_plan import Endpoint, plan_services


def service(**spec: Any) -> dict[str, Any]:
    full = {"clusterIP": "10.43.0.5", "ports": [{"name": "http", "port": 80, "nodePort": 30080}], **spec}
    return {"metadata": {"name": "web", "namespace": "default"}, "spec": full}


def one_slice(*endpoints: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "x", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": list(endpoints),
        **fields,
    }


def endpoint(ip: str, *, node: str = "a", **conditions: bool) -> dict[str, Any]:
    return {"addresses": [ip], "nodeName": node, "conditions": conditions}


def planned(service_: dict[str, Any], *slices: dict[str, Any], node_name: str = "a") -> Any:
    (port,) = plan_services([service_], slices, node_name=node_name).values()
    return port


def test_port_is_found_by_name() -> None:
    """A slice's port with the service port's name and protocol gives the endpoint's port."""
    assert planned(service(), one_slice(endpoint("10.42.0.2", ready=True))).endpoints == (Endpoint("10.42.0.2", 8080),)
    assert planned(service(), one_slice(endpoint("10.42.0.2"), ports=[{"name": "other", "port": 1}])).endpoints == ()
    udp = [{"name": "http", "port": 8080, "protocol": "UDP"}]
    assert planned(service(), one_slice(endpoint("10.42.0.2"), ports=udp)).endpoints == ()


def test_unready_endpoints_are_left_out() -> None:
    """Only ready endpoints serve; a missing condition counts as ready."""
    found = planned(service(), one_slice(endpoint("10.42.0.2", ready=False), endpoint("10.42.0.3")))
    assert [each.ip for each in found.endpoints] == ["10.42.0.3"]


def test_terminating_endpoints_serve_when_nothing_else_does() -> None:
    """Where no endpoint is ready, those that still serve while they terminate are used."""
    last = endpoint("10.42.0.2", ready=False, serving=True, terminating=True)
    assert [each.ip for each in planned(service(), one_slice(last)).endpoints] == ["10.42.0.2"]
    both = one_slice(last, endpoint("10.42.0.3", ready=True))
    assert [each.ip for each in planned(service(), both).endpoints] == ["10.42.0.3"]


@pytest.mark.parametrize(
    "spec",
    [
        {"clusterIP": "None"},
        {"clusterIP": ""},
        {"type": "ExternalName", "externalName": "x"},
        {"clusterIP": "10.43.0.10"},
    ],
)
def test_services_without_translation(spec: dict[str, Any]) -> None:
    """Headless, unallocated and named services, and those the node answers itself, are not translated."""
    assert plan_services([service(**spec)], [], node_name="a", own_addresses=["10.43.0.10"]) == {}


def test_node_port_only_where_asked() -> None:
    """A node port counts for NodePort and LoadBalancer services only."""
    assert planned(service(type="ClusterIP")).node_port == 0
    assert planned(service(type="NodePort")).node_port == 30080
    assert planned(service(type="LoadBalancer")).node_port == 30080


def test_local_policies() -> None:
    """A Local policy keeps its kind of traffic on this node's endpoints."""
    slices = one_slice(endpoint("10.42.0.2", node="a"), endpoint("10.42.1.2", node="b"))
    external = planned(service(type="NodePort", externalTrafficPolicy="Local"), slices)
    assert [each.ip for each in external.node_endpoints] == ["10.42.0.2"]
    assert len(external.endpoints) == 2
    internal = planned(service(type="NodePort", internalTrafficPolicy="Local"), slices)
    assert [each.ip for each in internal.endpoints] == ["10.42.0.2"]
    assert len(internal.node_endpoints) == 2


def test_affinity_timeout() -> None:
    """ClientIP affinity lasts three hours unless the service says otherwise."""
    assert planned(service()).affinity_s == 0
    assert planned(service(sessionAffinity="ClientIP")).affinity_s == 10800
    config = {"clientIP": {"timeoutSeconds": 60}}
    assert planned(service(sessionAffinity="ClientIP", sessionAffinityConfig=config)).affinity_s == 60


def test_external_ips_are_addresses_too() -> None:
    """externalIPs lead to the service like its cluster IP."""
    found = planned(service(externalIPs=["192.0.2.7"]))
    assert [each.ip for each in found.addresses] == ["10.43.0.5", "192.0.2.7"]


def test_other_namespaces_and_families_do_not_count() -> None:
    """Slices of another namespace or of IPv6 give no endpoints."""
    foreign = one_slice(endpoint("10.42.0.2"))
    foreign["metadata"]["namespace"] = "other"
    six = one_slice(endpoint("fd00::2"), addressType="IPv6")
    assert planned(service(), foreign, six).endpoints == ()
