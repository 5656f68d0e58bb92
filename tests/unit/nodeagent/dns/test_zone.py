"""From services to names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nodeagent.dns.records import ZoneRecords, read_zone
from nodeagent.dns.zone import write_zone, zone_records


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


def one_slice(name: str, *endpoints: dict[str, Any], port: str = "pg") -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": port, "port": 5432}],
        "endpoints": list(endpoints),
    }


def records(services: list[dict[str, Any]], *slices: dict[str, Any]) -> ZoneRecords:
    return zone_records(services, slices, domain="cluster.local")


def test_cluster_ip_service() -> None:
    """A service with a cluster IP has an address, its named ports and a pointer."""
    found = records([service("web", clusterIP="10.43.0.5", ports=[{"name": "http", "port": 80}, {"port": 81}])])
    assert found.addresses == {"web.default.svc.cluster.local": ["10.43.0.5"]}
    assert found.ports == {"_http._tcp.web.default.svc.cluster.local": [(80, "web.default.svc.cluster.local")]}
    assert found.pointers == {"10.43.0.5": "web.default.svc.cluster.local"}


def test_headless_service() -> None:
    """A headless service has its ready pods' addresses, one name for each pod, and ports for each."""
    slices = one_slice(
        "db",
        {"addresses": ["10.42.0.7"], "hostname": "db-0"},
        {"addresses": ["10.42.0.8"], "conditions": {"ready": True}},
        {"addresses": ["10.42.0.9"], "conditions": {"ready": False}},
    )
    found = records([service("db", clusterIP="None")], slices)
    name = "db.default.svc.cluster.local"
    assert found.addresses == {
        name: ["10.42.0.7", "10.42.0.8"],
        f"db-0.{name}": ["10.42.0.7"],
        f"10-42-0-8.{name}": ["10.42.0.8"],
    }
    assert found.ports == {f"_pg._tcp.{name}": [(5432, f"db-0.{name}"), (5432, f"10-42-0-8.{name}")]}
    assert found.pointers["10.42.0.7"] == f"db-0.{name}"


def test_unready_pods_on_request() -> None:
    """publishNotReadyAddresses names pods that are not ready."""
    unready = one_slice("db", {"addresses": ["10.42.0.9"], "conditions": {"ready": False}})
    found = records([service("db", clusterIP="None", publishNotReadyAddresses=True)], unready)
    assert found.addresses["db.default.svc.cluster.local"] == ["10.42.0.9"]


def test_external_name_is_an_alias() -> None:
    """An ExternalName service is an alias of the outside name."""
    found = records([service("ext", type="ExternalName", externalName="Example.COM.")])
    assert found.aliases == {"ext.default.svc.cluster.local": "example.com"}


def test_file_round_trip(tmp_path: Path) -> None:
    """The file says what the records say, and is written only when that changes."""
    path = tmp_path / "dns" / "zone.json"
    services = [service("web", clusterIP="10.43.0.5", ports=[{"name": "http", "port": 80}])]
    assert write_zone(path, services, [], domain="cluster.local")
    assert not write_zone(path, services, [], domain="cluster.local")
    assert read_zone(path) == records(services)
    assert write_zone(path, [], [], domain="cluster.local")
    assert [each.name for each in path.parent.iterdir()] == ["zone.json"]
