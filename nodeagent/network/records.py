"""Which pod holds which address and which range of user ids, on disk, so that a restarted agent finds it.

One small file for each pod, written before anything is made for it and again once it is complete. The directory lies
under the run directory: both live as long as the namespaces that carry them, until the next boot. A range is chosen by
the address, so that agents that share a machine, whose pods have different addresses, take different ranges.
"""

from __future__ import annotations

import ipaddress
import json
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from nodeagent.isolation.ranges import choose_range

Network = ipaddress.IPv4Network
_RESERVED_FIRST = 2  # the network's own address and the gateway


class AddressesExhaustedError(Exception):
    """Every address of the node's pod CIDR is in use."""


@dataclass(frozen=True, slots=True)
class HostPort:
    """A port of the node that leads to a pod's: ``host_ip`` empty for all of the node's addresses."""

    host_port: int
    container_port: int
    protocol: str = "TCP"
    host_ip: str = ""


@dataclass(frozen=True, slots=True)
class PodRecord:
    """What was allocated for a pod; ``ready`` once everything had been made.

    ``first_id`` is the first of its users' ids on the node, 0 for a pod with the node's users.
    """

    uid: str
    ip: str
    host_ports: tuple[HostPort, ...] = ()
    ready: bool = False
    first_id: int = 0


class PodRecords:
    """The records of all pods on the node; any thread may use it. Freed addresses are reused last."""

    def __init__(self, directory: Path, network: Network) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._network = network
        self._guard = threading.Lock()
        for unfinished in directory.glob("*.new"):
            unfinished.unlink()
        self._records = {record.uid: record for record in read_records(directory)}
        self._next = _RESERVED_FIRST

    def all(self) -> dict[str, PodRecord]:
        with self._guard:
            return dict(self._records)

    def get(self, uid: str) -> PodRecord | None:
        with self._guard:
            return self._records.get(uid)

    def allocate(self, uid: str, host_ports: Sequence[HostPort], *, own_users: bool = False) -> PodRecord:
        """The pod's record, with a free address if it had none, and a free range if it gets users of its own.

        Raises :class:`AddressesExhaustedError`, RangesExhaustedError.
        """
        with self._guard:
            known = self._records.get(uid)
            ip = known.ip if known else self._free_address()
            first_id = (known.first_id if known else 0) or self._free_range(ip) if own_users else 0
            record = PodRecord(uid, ip, tuple(host_ports), first_id=first_id)
            self._write(record)
            return record

    def complete(self, record: PodRecord) -> None:
        with self._guard:
            self._write(replace(record, ready=True))

    def incomplete(self, record: PodRecord) -> None:
        """Note that not all of what was made is there any more."""
        with self._guard:
            self._write(replace(record, ready=False))

    def release(self, uid: str) -> None:
        """Forget the pod; idempotent."""
        with self._guard:
            self._records.pop(uid, None)
            (self._directory / f"{uid}.json").unlink(missing_ok=True)

    def _free_range(self, ip: str) -> int:
        taken = {record.first_id for record in self._records.values()}
        return choose_range(taken, preferred=int(ipaddress.IPv4Address(ip)))

    def _free_address(self) -> str:
        taken = {record.ip for record in self._records.values()}
        size = self._network.num_addresses - 1  # the last one is the broadcast address
        for step in range(size - _RESERVED_FIRST):
            offset = _RESERVED_FIRST + (self._next - _RESERVED_FIRST + step) % (size - _RESERVED_FIRST)
            address = str(self._network[offset])
            if address not in taken:
                self._next = offset + 1
                return address
        raise AddressesExhaustedError(f"no free address in {self._network}: {len(taken)} in use")

    def _write(self, record: PodRecord) -> None:
        self._records[record.uid] = record
        staged = self._directory / f"{record.uid}.new"
        staged.write_text(json.dumps(asdict(record)))
        staged.rename(self._directory / f"{record.uid}.json")


def read_records(directory: Path) -> list[PodRecord]:
    """The records in ``directory``; none where it does not exist."""
    records = []
    for path in directory.glob("*.json"):
        document = json.loads(path.read_bytes())
        document["host_ports"] = tuple(HostPort(**port) for port in document["host_ports"])
        records.append(PodRecord(**document))
    return records
