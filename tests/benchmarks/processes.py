"""What the processes of a node cost: proportional memory and CPU time by role, read from /proc."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")

ROLES = (
    ("server", re.compile(r"flotilla\S* server ")),
    ("agent", re.compile(r"flotilla\S* agent ")),
    ("dns", re.compile(r"flotilla\S* dns ")),
    ("supervisor", re.compile(r"flotilla\S* (up|supervise)\b|flotilla\.local\.supervisor")),
    ("etcd", re.compile(r"^\S*etcd ")),
    ("prometheus", re.compile(r"^\S*prometheus ")),
    ("conmon", re.compile(r"^\S*conmon ")),
)


@dataclass(frozen=True, slots=True)
class Usage:
    """Sums over the processes of one role."""

    processes: int
    pss_bytes: int
    rss_bytes: int
    cpu_s: float


def _role(command_line: str) -> str | None:
    return next((role for role, pattern in ROLES if pattern.search(command_line)), None)


def _memory(pid: str) -> tuple[int, int]:
    fields = dict(re.findall(r"^(Pss|Rss):\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE))
    return int(fields["Pss"]) * 1024, int(fields["Rss"]) * 1024


def _cpu_s(pid: str) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def usage_by_role(marker: str) -> dict[str, Usage]:
    """Usage of every process of a known role whose command line mentions ``marker`` (the data directory)."""
    found: dict[str, list[tuple[int, int, float]]] = defaultdict(list)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            command_line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            role = _role(command_line)
            if role and marker in command_line:
                found[role].append((*_memory(pid), _cpu_s(pid)))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return {
        role: Usage(
            processes=len(rows),
            pss_bytes=sum(row[0] for row in rows),
            rss_bytes=sum(row[1] for row in rows),
            cpu_s=sum(row[2] for row in rows),
        )
        for role, rows in found.items()
    }


def first_process_of(pod_uid: str) -> int:
    """The pid of a pod's container's first process: the lowest pid in a cgroup that names the pod. LookupError."""
    for pid in sorted(map(int, filter(str.isdigit, os.listdir("/proc")))):
        try:
            groups = Path(f"/proc/{pid}/cgroup").read_text()
            command = Path(f"/proc/{pid}/comm").read_text().strip()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if f"pod{pod_uid}" in groups and command not in {"conmon", "runc", "crun"}:
            return pid
    raise LookupError(f"no process belongs to pod {pod_uid}")
