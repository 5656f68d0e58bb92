"""Which service ports are held, and what the waker is told of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nodeagent.network.service_plan import Endpoint, plan_services
from nodeagent.waking.held import HeldPort, held_ports, lookup, read_held, write_held

WAKER = Endpoint("10.43.0.10", 10253)


def _service(name: str = "web", *, hold: str = "true", **spec: Any) -> dict[str, Any]:
    port = {"name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP"}
    metadata = {"namespace": "default", "name": name, "annotations": {"flotilla.dev/hold-requests": hold}}
    return {"metadata": metadata, "spec": {"clusterIP": "10.43.1.1", "type": "NodePort", "ports": [port], **spec}}


def _slice(*addresses: str, name: str = "web", ready: bool = True) -> dict[str, Any]:
    endpoints = [{"addresses": [address], "conditions": {"ready": ready}} for address in addresses]
    metadata = {"namespace": "default", "name": name, "labels": {"kubernetes.io/service-name": name}}
    ports = [{"name": "http", "port": 8080, "protocol": "TCP"}]
    return {"metadata": metadata, "addressType": "IPv4", "endpoints": endpoints, "ports": ports}


def _endpoints(services: list[dict[str, Any]], slices: list[dict[str, Any]]) -> tuple[Endpoint, ...]:
    (port,) = plan_services(services, slices, node_name="one", waker=WAKER).values()
    assert port.node_endpoints == port.endpoints
    return port.endpoints


def test_a_port_without_endpoints_leads_to_the_waker() -> None:
    """A service that holds requests is not refused while nobody serves it."""
    assert _endpoints([_service()], []) == (WAKER,)
    assert _endpoints([_service()], [_slice("10.42.0.7")]) == (Endpoint("10.42.0.7", 8080),)


@pytest.mark.parametrize("hold", ["false", "", "yes"])
def test_other_services_are_refused_as_ever(hold: str) -> None:
    """Only who asks for it has requests held."""
    assert _endpoints([_service(hold=hold)], []) == ()
    assert held_ports([_service(hold=hold)], []) == {}


def test_the_waker_knows_every_way_to_a_port() -> None:
    """A held port is found by its address, by an external address, and by its node port whatever the address."""
    held = held_ports([_service(externalIPs=["192.0.2.7"])], [_slice("10.42.0.7")])
    port = HeldPort("default", "web", (Endpoint("10.42.0.7", 8080),))
    for ip, number in (("10.43.1.1", 80), ("192.0.2.7", 80), ("192.0.2.1", 30080)):
        assert lookup(held, ip, number) == port
    assert lookup(held, "10.43.1.1", 81) is None


def test_datagrams_are_not_held() -> None:
    """There is no connection to hold for UDP."""
    port = {"name": "dns", "port": 53, "protocol": "UDP"}
    assert held_ports([_service(ports=[port], type="ClusterIP")], []) == {}


def test_the_file_says_what_was_written(tmp_path: Path) -> None:
    """What the agent writes is what the waker reads, and it is written only where it differs."""
    path = tmp_path / "dns" / "held.json"
    assert not write_held(path, {})
    held = held_ports([_service()], [_slice("10.42.0.7", "10.42.0.8")])
    assert write_held(path, held)
    assert not write_held(path, held)
    assert read_held(path) == held
    assert write_held(path, {})
    assert read_held(path) == {}
