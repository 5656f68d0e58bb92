"""The zone file's content. Names in it are lower case, without a final dot.

Apart from :mod:`nodeagent.dns.zone`, so that the DNS process loads nothing that only the agent needs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ZoneRecords:
    """Everything that the cluster's names say: addresses (A), aliases (CNAME), ports (SRV) and pointers (PTR)."""

    domain: str
    addresses: dict[str, list[str]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    ports: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    pointers: dict[str, str] = field(default_factory=dict)


def read_zone(path: Path) -> ZoneRecords:
    """The records in a zone file. Raises OSError, ValueError."""
    document = json.loads(path.read_bytes())
    ports = {name: [(port, target) for port, target in entries] for name, entries in document["ports"].items()}
    return ZoneRecords(document["domain"], document["addresses"], document["aliases"], ports, document["pointers"])
