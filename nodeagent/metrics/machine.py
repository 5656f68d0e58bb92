"""Counters of the whole machine, from /proc (proc(5))."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_NS_PER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_PRESSURES = ("cpu", "memory", "io")


@dataclass(frozen=True, slots=True)
class MachineSample:
    """Cumulative CPU time of all processors that was not idle, and memory in use less inactive page cache."""

    cpu_usage_ns: int
    memory_working_set_bytes: int


class MachineReader:
    """Keeps the files open: reading them costs a tenth of opening them."""

    def __init__(self) -> None:
        self._stat = os.open("/proc/stat", os.O_RDONLY | os.O_CLOEXEC)
        self._memory = os.open("/proc/meminfo", os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self._stat)
        os.close(self._memory)

    def read(self) -> MachineSample:
        # user nice system idle iowait irq softirq steal; guest time is part of user already.
        ticks = [int(field) for field in os.pread(self._stat, 256, 0).split(b"\n", 1)[0].split()[1:9]]
        memory = memory_bytes(os.pread(self._memory, 2048, 0).decode())
        used = memory["MemTotal"] - memory["MemFree"] - memory.get("Inactive(file)", 0)
        return MachineSample((sum(ticks) - ticks[3] - ticks[4]) * _NS_PER_TICK, used)


def memory_bytes(text: str) -> dict[str, int]:
    """The figures of /proc/meminfo in bytes; what was cut off at the end is left out."""
    figures = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[2] == "kB":
            figures[fields[0].rstrip(":")] = int(fields[1]) * 1024
    return figures


def process_counts() -> tuple[int, int]:
    """How many tasks the machine has, and how many it may have."""
    running = int(Path("/proc/loadavg").read_text(encoding="ascii").split()[3].split("/")[1])
    limits = (Path("/proc/sys/kernel/pid_max"), Path("/proc/sys/kernel/threads-max"))
    return running, min(int(limit.read_text(encoding="ascii")) for limit in limits)


def total_memory_bytes() -> int:
    return memory_bytes(Path("/proc/meminfo").read_text())["MemTotal"]


@dataclass(frozen=True, slots=True)
class Pressure:
    """One line of a pressure file: percentages of the last 10, 60 and 300 seconds, and the time stalled in all."""

    avg10: float
    avg60: float
    avg300: float
    total_s: float


def pressures(directory: Path, *, suffix: str = "") -> dict[tuple[str, str], Pressure]:
    """How long some or all tasks have waited, by (resource, ``some`` or ``full``); empty without PSI.

    ``directory`` is /proc/pressure, or a version 2 cgroup with ``suffix`` ``.pressure``.
    """
    found = {}
    for resource in _PRESSURES:
        try:
            lines = (directory / f"{resource}{suffix}").read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            kind, *figures = line.split()
            values = [float(figure.partition("=")[2]) for figure in figures]
            avg10, avg60, avg300 = values[:3] if len(values) == 4 else (0.0, 0.0, 0.0)
            found[resource, kind] = Pressure(avg10, avg60, avg300, values[-1] / 1e6)
    return found


@dataclass(frozen=True, slots=True)
class LinkCounters:
    """What a link has carried, each as (received, sent)."""

    bytes: tuple[int, int]
    packets: tuple[int, int]
    errors: tuple[int, int]
    dropped: tuple[int, int]

    def swapped(self) -> LinkCounters:
        """The same as its other end counts it."""
        return LinkCounters(self.bytes[::-1], self.packets[::-1], self.errors[::-1], self.dropped[::-1])


def link_counters(text: str) -> dict[str, LinkCounters]:
    """The counters of every link, from the text of /proc/net/dev."""
    found = {}
    for line in text.splitlines()[2:]:
        name, _, figures = line.partition(":")
        fields = [int(field) for field in figures.split()]
        pairs = [(fields[column], fields[column + 8]) for column in range(4)]
        found[name.strip()] = LinkCounters(*pairs)
    return found
