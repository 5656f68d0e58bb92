"""What a node has, what it keeps for itself, and what is left for pods.

    allocatable = capacity - system reserve - agent reserve - what the hard eviction thresholds keep free

as Kubernetes defines it ("Reserve Compute Resources for System Daemons"). Pods together are held to the capacity less
the reserves by the cgroup that all of them are in; the part above allocatable is where eviction works.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flotilla.api.objects import KubeObject
from flotilla.api.quantities import InvalidQuantityError, bytes_of, cpu_millis, format_cpu_millis
from nodeagent.cgroups.limits import UNLIMITED, Limits, shares_of
from nodeagent.pressure.thresholds import MEMORY_AVAILABLE, NODEFS_AVAILABLE, EvictionSettings

CPU, MEMORY, STORAGE, PODS, PROCESSES = "cpu", "memory", "ephemeral-storage", "pods", "pid"
MAXIMUM_PODS = 110
_RESERVABLE = (CPU, MEMORY, STORAGE, PROCESSES)


class InvalidReserveError(ValueError):
    """A reserve does not say what it should, or is more than the machine has."""


@dataclass(frozen=True, slots=True)
class Reserves:
    """Reserves by resource (``cpu`` in thousandths of a core, others in whole units), and how many pods may be here."""

    system: Mapping[str, int] = field(default_factory=dict)
    agent: Mapping[str, int] = field(default_factory=dict)
    maximum_pods: int = MAXIMUM_PODS

    def of(self, resource: str) -> int:
        return self.system.get(resource, 0) + self.agent.get(resource, 0)


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the machine has: thousandths of a core, bytes, bytes and process ids."""

    cpu_millis: int
    memory_bytes: int
    storage_bytes: int
    processes: int


def parse_reserve(text: str) -> dict[str, int]:
    """A reserve such as ``cpu=100m,memory=200Mi``. Raises InvalidReserveError."""
    found: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        resource, separator, amount = part.partition("=")
        if not separator or resource not in _RESERVABLE:
            raise InvalidReserveError(f"{part!r}: write RESOURCE=QUANTITY with one of {', '.join(_RESERVABLE)}")
        if resource in found:
            raise InvalidReserveError(f"{resource} is reserved twice")
        try:
            found[resource] = cpu_millis(amount) if resource == CPU else bytes_of(amount)
        except InvalidQuantityError as error:
            raise InvalidReserveError(f"{resource}: {error}") from error
        if found[resource] < 0:
            raise InvalidReserveError(f"{resource}: {amount} is negative")
    return found


def allocatable(capacity: Capacity, reserves: Reserves, eviction: EvictionSettings) -> dict[str, int]:
    """What pods may request together: ``cpu`` in thousandths of a core, ``memory`` and storage in bytes, ``pods``.

    Raises InvalidReserveError where nothing would be left.
    """
    kept = {
        CPU: (capacity.cpu_millis, reserves.of(CPU)),
        MEMORY: (
            capacity.memory_bytes,
            reserves.of(MEMORY) + eviction.hard_amount(MEMORY_AVAILABLE, capacity.memory_bytes),
        ),
        STORAGE: (
            capacity.storage_bytes,
            reserves.of(STORAGE) + eviction.hard_amount(NODEFS_AVAILABLE, capacity.storage_bytes),
        ),
    }
    for resource, (whole, reserved) in kept.items():
        if reserved >= whole > 0:
            unit = "m" if resource == CPU else " bytes"
            raise InvalidReserveError(f"{resource}: {reserved}{unit} are kept from pods, the machine has {whole}{unit}")
    return {resource: whole - reserved for resource, (whole, reserved) in kept.items()} | {PODS: reserves.maximum_pods}


def pods_limits(capacity: Capacity, reserves: Reserves) -> Limits:
    """The bounds of the cgroup that all pods are in; what is not reserved is not bounded."""
    memory, processes = reserves.of(MEMORY), reserves.of(PROCESSES)
    return Limits(
        cpu_shares=shares_of(capacity.cpu_millis - reserves.of(CPU)),
        memory_bytes=capacity.memory_bytes - memory if memory else UNLIMITED,
        pids=capacity.processes - processes if processes else UNLIMITED,
    )


def capacity_status(capacity: Capacity, reserves: Reserves) -> KubeObject:
    """``status.capacity`` of the Node."""
    return {
        CPU: format_cpu_millis(capacity.cpu_millis),
        MEMORY: f"{capacity.memory_bytes // 1024}Ki",
        STORAGE: f"{capacity.storage_bytes // 1024}Ki",
        PODS: str(reserves.maximum_pods),
    }


def allocatable_status(amounts: Mapping[str, int]) -> KubeObject:
    """``status.allocatable`` of the Node."""
    return {
        CPU: format_cpu_millis(amounts[CPU]),
        MEMORY: f"{amounts[MEMORY] // 1024}Ki",
        STORAGE: f"{amounts[STORAGE] // 1024}Ki",
        PODS: str(amounts[PODS]),
    }
