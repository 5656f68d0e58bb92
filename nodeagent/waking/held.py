"""Which service ports are held, and where their requests go once there is an endpoint: the file between two processes.

A connection arrives at the waker by destination translation; what it was meant for is asked of the kernel, and looked
up here by address and port, or by node port alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flotilla.api.objects import KubeObject
from nodeagent.network.service_plan import Endpoint, holds_requests, plan_services

WAKER_PORT = 10253
HELD_NAME = "held.json"
DOORBELL_NAME = "doorbell"


@dataclass(frozen=True, slots=True)
class HeldPort:
    """One port of a service that holds requests; ``endpoints`` are those that are ready now."""

    namespace: str
    service: str
    endpoints: tuple[Endpoint, ...]


Held = Mapping[str, HeldPort]
"""By ``<address>:<port>``, and ``:<port>`` for node ports."""


def held_ports(services: Iterable[KubeObject], slices: Iterable[KubeObject]) -> dict[str, HeldPort]:
    """Every TCP port of the services that hold requests; pure."""
    holding = [service for service in services if holds_requests(service)]
    if not holding:
        return {}
    found: dict[str, HeldPort] = {}
    for key, port in plan_services(holding, slices, node_name="").items():
        if port.protocol != "tcp":
            continue
        namespace, service = key.split("/")[:2]
        held = HeldPort(namespace, service, port.endpoints)
        for address in port.addresses:
            found[f"{address.ip}:{address.port}"] = held
        if port.node_port:
            found[f":{port.node_port}"] = held
    return found


def lookup(held: Held, ip: str, port: int) -> HeldPort | None:
    """The port that a connection to this address was meant for."""
    return held.get(f"{ip}:{port}") or held.get(f":{port}")


def write_held(path: Path, held: Held) -> bool:
    """Replace the file atomically; False where it already said the same. Raises OSError."""
    content = json.dumps(
        {
            where: [port.namespace, port.service, [[each.ip, each.port] for each in port.endpoints]]
            for where, port in held.items()
        },
        separators=(",", ":"),
        sort_keys=True,
    )
    try:
        if path.read_text() == content:
            return False
    except FileNotFoundError:
        if not held:
            return False
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    staged = path.with_suffix(".new")
    staged.write_text(content)
    staged.rename(path)
    return True


def read_held(path: Path) -> dict[str, HeldPort]:
    """What the file says. Raises OSError, ValueError, TypeError."""
    return {
        where: HeldPort(namespace, service, tuple(Endpoint(ip, port) for ip, port in endpoints))
        for where, (namespace, service, endpoints) in json.loads(path.read_text()).items()
    }
