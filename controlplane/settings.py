"""What a server process is told at start. Every value has one place: the command line of ``flotilla server``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Addresses are ``host:port``, CIDRs IPv4 networks, times seconds; ``prometheus`` is a URL."""

    data_dir: Path
    pki_dir: Path
    etcd: tuple[str, ...]
    listen: str
    dispatcher_listen: str
    cluster_cidr: str
    service_cidr: str
    cluster_dns: str
    cluster_domain: str
    node_grace_s: float
    identity: str
    prometheus: str = ""
