"""Eviction thresholds and reserves as they are written, and what they mean."""

from __future__ import annotations

import pytest

from nodeagent.cgroups.limits import UNLIMITED, Limits
from nodeagent.pressure.thresholds import (
    MEMORY_AVAILABLE,
    NODEFS_AVAILABLE,
    Amount,
    InvalidThresholdError,
    Threshold,
    parse_settings,
)
from nodeagent.reserves import (
    Capacity,
    InvalidReserveError,
    Reserves,
    allocatable,
    allocatable_status,
    capacity_status,
    parse_reserve,
    pods_limits,
)

GIB = 1 << 30
MIB = 1 << 20
MACHINE = Capacity(4000, 16 * GIB, 100 * GIB, 32_768)


def test_thresholds_as_written() -> None:
    """Quantities, percentages, soft ones with their grace and what is reclaimed beyond are read by signal."""
    settings = parse_settings(
        hard="memory.available<500Mi, nodefs.available<10%",
        soft="memory.available<1Gi",
        soft_grace="memory.available=1m30s",
        minimum_reclaim="nodefs.available=1Gi",
        maximum_grace_s=60,
    )
    assert settings.thresholds == (
        Threshold(MEMORY_AVAILABLE, Amount(500 * MIB)),
        Threshold(NODEFS_AVAILABLE, Amount(share=0.1), minimum_reclaim=Amount(GIB)),
        Threshold(MEMORY_AVAILABLE, Amount(GIB), grace_s=90.0, hard=False),
    )
    assert settings.hard_amount(NODEFS_AVAILABLE, 200) == 20
    assert settings.hard_amount("pid.available", 200) == 0


def test_defaults_are_the_kubelets() -> None:
    """Without options the thresholds are those that Kubernetes documents."""
    found = {each.signal: each.amount.of(1000) for each in parse_settings().thresholds if each.amount.share}
    assert found == {
        "nodefs.available": 100,
        "nodefs.inodesFree": 50,
        "imagefs.available": 150,
        "imagefs.inodesFree": 50,
    }


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"hard": "memory.free<1Gi"}, "memory.available"),
        ({"hard": "memory.available=1Gi"}, "SIGNAL<VALUE"),
        ({"hard": "memory.available<1Gi,memory.available<2Gi"}, "twice"),
        ({"hard": "memory.available<lots"}, "neither a quantity nor a percentage"),
        ({"hard": "nodefs.available<100%"}, "less than 100%"),
        ({"hard": "nodefs.available<-1"}, "negative"),
        ({"soft": "memory.available<1Gi"}, "memory.available=1m30s"),
        ({"soft_grace": "memory.available=1m"}, "without a soft threshold"),
        ({"soft": "memory.available<1Gi", "soft_grace": "memory.available=soon"}, "1m30s"),
    ],
)
def test_wrong_thresholds_are_named(options: dict[str, str], named: str) -> None:
    """What can't be meant is refused, with the part and the form that would do."""
    with pytest.raises(InvalidThresholdError, match=named):
        parse_settings(**options)  # type: ignore[arg-type]


def test_allocatable_is_what_reserves_and_hard_thresholds_leave() -> None:
    """Each resource loses its reserves; memory and disk also what hard thresholds keep free."""
    reserves = Reserves(
        parse_reserve("cpu=500m,memory=1Gi,ephemeral-storage=10Gi,pid=1000"), parse_reserve("cpu=100m,memory=512Mi"), 50
    )
    settings = parse_settings(hard="memory.available<100Mi,nodefs.available<10%")
    left = allocatable(MACHINE, reserves, settings)
    assert left == {
        "cpu": 3400,
        "memory": 16 * GIB - GIB - 512 * MIB - 100 * MIB,
        "ephemeral-storage": 80 * GIB,
        "pods": 50,
    }
    assert capacity_status(MACHINE, reserves)["cpu"] == "4"
    assert allocatable_status(left) == {
        "cpu": "3400m",
        "memory": f"{left['memory'] // 1024}Ki",
        "ephemeral-storage": f"{80 * GIB // 1024}Ki",
        "pods": "50",
    }
    assert pods_limits(MACHINE, reserves) == Limits(
        cpu_shares=3400 * 1024 // 1000, memory_bytes=16 * GIB - GIB - 512 * MIB, pids=31_768
    )


def test_nothing_reserved_bounds_nothing() -> None:
    """Pods together are bounded only where something is reserved."""
    assert pods_limits(MACHINE, Reserves()) == Limits(cpu_shares=4096, memory_bytes=UNLIMITED, pids=UNLIMITED)


@pytest.mark.parametrize("text", ["cpu", "gpu=1", "memory=x", "memory=1Gi,memory=1Gi", "memory=-1"])
def test_wrong_reserves_are_refused(text: str) -> None:
    """A reserve that can't be read does not count as none."""
    with pytest.raises(InvalidReserveError):
        parse_reserve(text)


def test_reserving_all_is_refused() -> None:
    """A node that would have nothing for pods says so at its start."""
    with pytest.raises(InvalidReserveError, match=r"memory: .* are kept from pods"):
        allocatable(MACHINE, Reserves({"memory": 16 * GIB}), parse_settings())
