"""From Services and EndpointSlices to the cluster's DNS names, and to the file that the DNS process reads.

Names follow the Kubernetes DNS specification 1.1.0.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from flotilla.api.objects import KubeObject, labels_of, name_of, namespace_of
from nodeagent.dns.records import ZoneRecords

_SERVICE_NAME = "kubernetes.io/service-name"


def zone_records(services: Iterable[KubeObject], slices: Iterable[KubeObject], *, domain: str) -> ZoneRecords:
    """The records of all services; pure."""
    by_service: defaultdict[tuple[str, str], list[KubeObject]] = defaultdict(list)
    for each in slices:
        if each.get("addressType", "IPv4") == "IPv4":
            by_service[namespace_of(each), labels_of(each).get(_SERVICE_NAME, "")].append(each)
    records = ZoneRecords(domain)
    for service in services:
        spec = service["spec"]
        name = f"{name_of(service)}.{namespace_of(service)}.svc.{domain}".lower()
        if spec.get("type") == "ExternalName":
            records.aliases[name] = spec["externalName"].rstrip(".").lower()
        elif spec.get("clusterIP") == "None":
            _add_headless(records, name, service, by_service[namespace_of(service), name_of(service)])
        elif spec.get("clusterIP"):
            _add_cluster_ip(records, name, spec)
    return records


def _add_cluster_ip(records: ZoneRecords, name: str, spec: KubeObject) -> None:
    records.addresses[name] = [spec["clusterIP"]]
    records.pointers[spec["clusterIP"]] = name
    for port in spec.get("ports") or ():
        if port.get("name"):
            records.ports.setdefault(_port_name(port, name), []).append((port["port"], name))


def _add_headless(records: ZoneRecords, name: str, service: KubeObject, slices: Iterable[KubeObject]) -> None:
    unready_too = bool(service["spec"].get("publishNotReadyAddresses"))
    addresses: set[str] = set()
    for each in slices:
        for address, host in _endpoints(each, unready_too=unready_too):
            target = f"{host}.{name}"
            addresses.add(address)
            records.addresses.setdefault(target, [])
            if address not in records.addresses[target]:
                records.addresses[target].append(address)
            records.pointers[address] = target
            for port in each.get("ports") or ():
                if port.get("name") and port.get("port"):
                    entries = records.ports.setdefault(_port_name(port, name), [])
                    if (port["port"], target) not in entries:
                        entries.append((port["port"], target))
    if addresses:
        records.addresses[name] = sorted(addresses)


def _endpoints(each: KubeObject, *, unready_too: bool) -> Iterator[tuple[str, str]]:
    """Address and host label of every endpoint that may be named."""
    for endpoint in each.get("endpoints") or ():
        if unready_too or (endpoint.get("conditions") or {}).get("ready") is not False:
            for address in (endpoint.get("addresses") or ())[:1]:
                yield address, (endpoint.get("hostname") or address.replace(".", "-")).lower()


def _port_name(port: KubeObject, name: str) -> str:
    return f"_{port['name']}._{port.get('protocol') or 'TCP'}.{name}".lower()


def write_zone(path: Path, services: Iterable[KubeObject], slices: Iterable[KubeObject], *, domain: str) -> bool:
    """Replace the zone file atomically; False where it already said the same. Raises OSError."""
    content = json.dumps(asdict(zone_records(services, slices, domain=domain)), separators=(",", ":"), sort_keys=True)
    try:
        if path.read_text() == content:
            return False
    except FileNotFoundError:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    staged = path.with_suffix(".new")
    staged.write_text(content)
    staged.rename(path)
    return True
