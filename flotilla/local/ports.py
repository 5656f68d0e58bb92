"""Ports that the cluster needs and someone else has: found before the start, reported with their owner."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Collection
from dataclasses import dataclass

from flotilla.local.settings import LocalSettings

_OWNER = re.compile(r'\("(?P<name>[^"]+)",pid=(?P<pid>\d+)')


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening TCP socket; ``pid`` is 0 where the kernel doesn't tell (another namespace's process)."""

    port: int
    address: str
    name: str
    pid: int

    def __str__(self) -> str:
        owner = f"{self.name} (pid {self.pid})" if self.pid else "a process of another namespace"
        return f"port {self.port} is taken by {owner}, listening on {self.address}"


def needed_ports(settings: LocalSettings) -> dict[int, str]:
    """Each TCP port of the cluster and the option of ``up`` that moves it."""
    ports = {
        settings.api_port: "--api-port",
        settings.dispatcher_port: "--dispatcher-port",
        settings.agent_metrics_port: "--agent-metrics-port",
    }
    if not settings.etcd:
        ports |= {settings.etcd_port: "--etcd-port", settings.etcd_peer_port: "--etcd-peer-port"}
    if settings.prometheus:
        ports[settings.prometheus_port] = "--prometheus-port"
    return ports


def listeners(ports: Collection[int]) -> list[Listener]:
    """Who listens on any of ``ports``, by ``ss`` (iproute2). Raises OSError where it is missing."""
    output = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    return [found for line in output.splitlines() if (found := parse_listener(line)) and found.port in ports]


def parse_listener(line: str) -> Listener | None:
    """One line of ``ss -Hltnp``; None for what is not a listening socket."""
    fields = line.split()
    if len(fields) < 5 or fields[0] != "LISTEN":
        return None
    address, _, port = fields[3].rpartition(":")
    if not port.isdigit():
        return None
    owner = _OWNER.search(line)
    name, pid = (owner["name"], int(owner["pid"])) if owner else ("", 0)
    return Listener(int(port), address, name, pid)
