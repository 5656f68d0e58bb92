"""Cluster addresses and node ports of Services: taken from what no other Service has.

What is taken is read from the cache; what this server has just given out and the cache does not show yet is remembered
here, so that two Services created at once never share an address. As in Kubernetes, addresses are drawn at random from
the upper part of the network first, which leaves the lower part to addresses that users choose themselves.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from controlplane.store.cache import Cache
from flotilla.api.errors import FieldError, invalid
from flotilla.api.kinds.service_defaults import has_cluster_ip, has_node_ports
from flotilla.api.objects import KubeObject, resource_version_of, uid_of
from flotilla.api.resources import SERVICES

HEADLESS = "None"
_Taken = Mapping[Any, str]


@dataclass(slots=True, eq=False)
class _Given:
    """A Service whose addresses the cache may not show yet; ``revision`` is 0 until it is stored."""

    service: KubeObject
    revision: int = 0


class ServiceAddresses:
    """The allocator of one server. ``network`` is the service CIDR, ``node_ports`` the range of node ports."""

    def __init__(self, cache: Cache, *, network: str = "10.43.0.0/16", node_ports: range = range(30000, 32768)) -> None:
        self._cache = cache
        self._network = ipaddress.IPv4Network(network)
        self._node_ports = node_ports
        self._given: set[_Given] = set()

    def assign(self, service: KubeObject) -> None:
        """Fill in what a defaulted ``service`` needs and does not have. Invalid if it asks for what another one has."""
        spec = service["spec"]
        taken_addresses, taken_ports = self._taken(uid_of(service))
        errors = self._assign_address(spec, taken_addresses)
        errors += self._assign_ports(spec, taken_ports)
        if errors:
            raise invalid("Service", service["metadata"].get("name") or "", errors)

    @contextmanager
    def held(self, service: KubeObject) -> Iterator[None]:
        """Keep what ``assign`` has just given while the Service is being stored, and until the cache shows it."""
        given = _Given(service)
        self._given.add(given)
        try:
            yield
        except BaseException:
            self._given.discard(given)
            raise
        given.revision = resource_version_of(service)

    def _taken(self, own_uid: str) -> tuple[dict[str, str], dict[tuple[int, str], str]]:
        addresses: dict[str, str] = {}
        ports: dict[tuple[int, str], str] = {}
        for uid, spec in self._others(own_uid):
            if spec.get("clusterIP") not in (None, "", HEADLESS):
                addresses[spec["clusterIP"]] = uid
            for port in spec.get("ports") or ():
                if port.get("nodePort"):
                    ports[port["nodePort"], port.get("protocol") or "TCP"] = uid
        return addresses, ports

    def _others(self, own_uid: str) -> Iterator[tuple[str, KubeObject]]:
        self._given = {given for given in self._given if not 0 < given.revision <= self._cache.revision}
        for entry in self._cache.list(SERVICES):
            if entry.uid != own_uid:
                yield entry.uid, entry.obj.get("spec") or {}
        for given in self._given:
            if uid_of(given.service) != own_uid:
                yield uid_of(given.service), given.service.get("spec") or {}

    def _assign_address(self, spec: KubeObject, taken: _Taken) -> list[FieldError]:
        if not has_cluster_ip(spec):
            return []
        wanted = spec.get("clusterIP") or next(iter(spec.get("clusterIPs") or ()), "")
        fault = self._address_fault(wanted, taken) if wanted and wanted != HEADLESS else ""
        if fault:
            return [
                FieldError("spec.clusterIPs", f'Invalid value: ["{wanted}"]: failed to allocate IP {wanted}: {fault}')
            ]
        address = wanted or self._free_address(taken)
        if not address:
            return [FieldError("spec.clusterIP", f"Internal error: no free address is left in {self._network}")]
        spec["clusterIP"] = address
        spec["clusterIPs"] = [address]
        return []

    def _address_fault(self, wanted: str, taken: _Taken) -> str:
        try:
            address = ipaddress.IPv4Address(wanted)
        except ValueError:
            return "not a valid IPv4 address"
        if address not in self._network:
            return f"the provided IP ({wanted}) is not in the valid range. The range of valid IPs is {self._network}"
        return "provided IP is already allocated" if wanted in taken else ""

    def _free_address(self, taken: _Taken) -> str:
        size = self._network.num_addresses
        lower = min(max(16, size // 16), 256)
        first = int(self._network.network_address)

        def address(offset: int) -> str:
            return str(ipaddress.IPv4Address(first + offset))

        return _draw(range(lower, size - 1), address, taken) or _draw(range(2, lower), address, taken) or ""

    def _assign_ports(self, spec: KubeObject, taken: Mapping[tuple[int, str], str]) -> list[FieldError]:
        if not has_node_ports(spec):
            return []
        errors: list[FieldError] = []
        own = {port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")}
        for index, port in enumerate(spec.get("ports") or ()):
            wanted = port.get("nodePort")
            if wanted:
                fault = self._port_fault(wanted, port.get("protocol") or "TCP", taken)
                if fault:
                    errors.append(FieldError(f"spec.ports[{index}].nodePort", f"Invalid value: {wanted}: {fault}"))
                continue
            used = {number for number, _ in taken} | own
            free = _draw(self._node_ports, int, used)
            if free is None:
                errors.append(FieldError(f"spec.ports[{index}].nodePort", "Internal error: no free node port is left"))
                continue
            port["nodePort"] = free
            own.add(free)
        return errors

    def _port_fault(self, wanted: int, protocol: str, taken: Mapping[tuple[int, str], str]) -> str:
        if wanted not in self._node_ports:
            bounds = f"{self._node_ports.start}-{self._node_ports.stop - 1}"
            return f"provided port is not in the valid range. The range of valid ports is {bounds}"
        return "provided port is already allocated" if (wanted, protocol) in taken else ""


def _draw(choices: range, value_of: Callable[[int], Any], taken: Iterable[Any]) -> Any:
    if not choices:
        return None
    start = random.randrange(len(choices))
    for step in range(len(choices)):
        value = value_of(choices[(start + step) % len(choices)])
        if value not in taken:
            return value
    return None
