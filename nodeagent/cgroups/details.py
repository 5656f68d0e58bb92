"""What a cgroup's files say beyond the counters of every second; read when somebody asks for them.

Version 1 tells times in ticks and limits as huge numbers, version 2 in microseconds and as ``max``; both come out in
the same units here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from nodeagent.cgroups.layout import HYBRID, UNIFIED, CgroupLayout
from nodeagent.cgroups.limits import UNLIMITED, Limits

_NS_PER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_NO_LIMIT_BYTES = 1 << 60


@dataclass(frozen=True, slots=True)
class CgroupDetails:
    """One reading; 0 where the machine does not count. ``limits`` are those in force."""

    cpu_user_ns: int = 0
    cpu_system_ns: int = 0
    memory_peak_bytes: int = 0
    memory_limit_hits: int = 0
    memory_mapped_bytes: int = 0
    swap_bytes: int = 0
    page_faults: int = 0
    major_page_faults: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    reads: int = 0
    writes: int = 0
    processes: int = 0
    limits: Limits = field(default_factory=Limits)


def read_details(layout: CgroupLayout, path: str) -> CgroupDetails:
    """The cgroup's details; all zeros for one that is gone."""
    return _read_v1(layout, path) if layout.version == 1 else _read_v2(layout.directory(UNIFIED, path))


def pressure_directory(layout: CgroupLayout, path: str) -> Path | None:
    """Where the cgroup's ``*.pressure`` files are: only version 2 has them, on a hybrid machine beside version 1."""
    if layout.version == 2:
        return layout.directory(UNIFIED, path)
    return layout.directory(HYBRID, path) if HYBRID in layout.mounts else None


def _text(directory: Path, name: str) -> str:
    try:
        return (directory / name).read_text(encoding="ascii")
    except OSError:
        return ""


def _number(directory: Path, name: str, *, otherwise: int = 0) -> int:
    text = _text(directory, name).strip()
    return int(text) if text.lstrip("-").isdigit() else otherwise


def _flat(text: str) -> dict[str, int]:
    """A flat-keyed file; lines of another form are left out."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _bounded(value: int) -> int:
    return UNLIMITED if value <= 0 or value >= _NO_LIMIT_BYTES else value


def _read_v1(layout: CgroupLayout, path: str) -> CgroupDetails:
    def at(controller: str) -> Path:
        return layout.directory(controller, path) if controller in layout.mounts else Path("/nonexistent")

    memory, cpu = at("memory"), at("cpu")
    times, detail = _flat(_text(at("cpuacct"), "cpuacct.stat")), _flat(_text(memory, "memory.stat"))
    volumes = _flat_of_devices(_text(at("blkio"), "blkio.throttle.io_service_bytes_recursive"))
    counts = _flat_of_devices(_text(at("blkio"), "blkio.throttle.io_serviced_recursive"))
    return CgroupDetails(
        cpu_user_ns=times.get("user", 0) * _NS_PER_TICK,
        cpu_system_ns=times.get("system", 0) * _NS_PER_TICK,
        memory_peak_bytes=_number(memory, "memory.max_usage_in_bytes"),
        memory_limit_hits=_number(memory, "memory.failcnt"),
        memory_mapped_bytes=detail.get("total_mapped_file", 0),
        swap_bytes=detail.get("total_swap", 0),
        page_faults=detail.get("total_pgfault", 0),
        major_page_faults=detail.get("total_pgmajfault", 0),
        read_bytes=volumes.get("Read", 0),
        written_bytes=volumes.get("Write", 0),
        reads=counts.get("Read", 0),
        writes=counts.get("Write", 0),
        processes=len(_text(memory, "cgroup.procs").split()),
        limits=Limits(
            cpu_shares=_number(cpu, "cpu.shares"),
            cpu_quota_us=_number(cpu, "cpu.cfs_quota_us", otherwise=UNLIMITED),
            memory_bytes=_bounded(_number(memory, "memory.limit_in_bytes")),
            pids=_number(at("pids"), "pids.max", otherwise=UNLIMITED),
        ),
    )


def _flat_of_devices(text: str) -> dict[str, int]:
    """The sums over all devices of a blkio file's ``MAJOR:MINOR OPERATION NUMBER`` lines."""
    sums: dict[str, int] = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 3:
            sums[fields[1]] = sums.get(fields[1], 0) + int(fields[2])
    return sums


def _read_v2(directory: Path) -> CgroupDetails:
    times, detail = _flat(_text(directory, "cpu.stat")), _flat(_text(directory, "memory.stat"))
    io: dict[str, int] = {}
    for line in _text(directory, "io.stat").splitlines():
        for name, _, value in (pair.partition("=") for pair in line.split()[1:]):
            io[name] = io.get(name, 0) + int(value)
    quota = _text(directory, "cpu.max").split()
    weight = _number(directory, "cpu.weight", otherwise=1)
    return CgroupDetails(
        cpu_user_ns=times.get("user_usec", 0) * 1000,
        cpu_system_ns=times.get("system_usec", 0) * 1000,
        memory_peak_bytes=_number(directory, "memory.peak"),
        memory_limit_hits=_flat(_text(directory, "memory.events")).get("max", 0),
        memory_mapped_bytes=detail.get("file_mapped", 0),
        swap_bytes=_number(directory, "memory.swap.current"),
        page_faults=detail.get("pgfault", 0),
        major_page_faults=detail.get("pgmajfault", 0),
        read_bytes=io.get("rbytes", 0),
        written_bytes=io.get("wbytes", 0),
        reads=io.get("rios", 0),
        writes=io.get("wios", 0),
        processes=len(_text(directory, "cgroup.procs").split()),
        limits=Limits(
            cpu_shares=2 + (weight - 1) * 262_142 // 9_999,
            cpu_quota_us=int(quota[0]) if quota and quota[0].isdigit() else UNLIMITED,
            memory_bytes=_bounded(_number(directory, "memory.max", otherwise=UNLIMITED)),
            pids=_number(directory, "pids.max", otherwise=UNLIMITED),
        ),
    )
