"""Counters of one cgroup, read from the kernel's files directly.

A reader keeps its files open: at one round a second for each container, opening them costs more than reading them.
Most of that cost is the kernel's, so a cgroup that has used no CPU time since its last reading is not read further:
what doesn't run allocates nothing either. Whoever reads that way asks for a whole reading now and then, for what
changes without it (page cache that the kernel reclaims).
Memory is the working set as cAdvisor and ``kubectl top`` define it: usage less inactive page cache.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from nodeagent.cgroups.layout import CgroupLayout

READ_SIZE = 8192


@dataclass(frozen=True, slots=True)
class CgroupStats:
    """One reading. Times are cumulative nanoseconds, counters grow until the cgroup is removed."""

    cpu_usage_ns: int
    throttled_ns: int
    periods: int
    throttled_periods: int
    memory_usage_bytes: int
    memory_working_set_bytes: int
    memory_cache_bytes: int
    memory_rss_bytes: int
    oom_kills: int
    pids: int


_FILES_V1 = {
    "usage": ("cpuacct", "cpuacct.usage"),
    "cpu": ("cpu", "cpu.stat"),
    "memory": ("memory", "memory.usage_in_bytes"),
    "detail": ("memory", "memory.stat"),
    "oom": ("memory", "memory.oom_control"),
    "pids": ("pids", "pids.current"),
}
_FILES_V2 = {
    "cpu": ("cpu", "cpu.stat"),
    "memory": ("memory", "memory.current"),
    "detail": ("memory", "memory.stat"),
    "oom": ("memory", "memory.events"),
    "pids": ("pids", "pids.current"),
}


def _field(text: bytes, name: bytes) -> int:
    """The number after ``name`` at the start of a line of a flat-keyed file, 0 where it is absent."""
    marker = b"\n" + name + b" "
    start = text.find(marker)
    if start < 0:
        if not text.startswith(marker[1:]):
            return 0
        start = -1
    begin = start + len(marker)
    end = text.find(b"\n", begin)
    return int(text[begin:] if end < 0 else text[begin:end])


class CgroupReader:
    """Open files of one cgroup. Raises OSError when the cgroup does not exist; close it when done."""

    def __init__(self, layout: CgroupLayout, path: str) -> None:
        self._version = layout.version
        self._files: dict[str, int] = {}
        try:
            for role, (controller, name) in (_FILES_V1 if layout.version == 1 else _FILES_V2).items():
                if layout.version == 2 or controller in layout.mounts:
                    file = layout.directory(controller, path) / name
                    self._files[role] = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self.close()
            raise

    def read(self) -> CgroupStats:
        """The counters now. Raises OSError when the cgroup has been removed."""
        if self._version == 1:
            return self._read_v1(self._number("usage"))
        return self._read_v2(self._text("cpu"))

    def read_since(self, last: CgroupStats) -> CgroupStats:
        """The counters now, ``last`` itself where no CPU time was used since. Raises OSError as ``read`` does."""
        if self._version == 1:
            usage_ns = self._number("usage")
            return last if usage_ns == last.cpu_usage_ns else self._read_v1(usage_ns)
        cpu = self._text("cpu")
        return last if _field(cpu, b"usage_usec") * 1000 == last.cpu_usage_ns else self._read_v2(cpu)

    def close(self) -> None:
        """Release the files; repeatable."""
        while self._files:
            os.close(self._files.popitem()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _text(self, role: str) -> bytes:
        descriptor = self._files.get(role)
        return b"" if descriptor is None else os.pread(descriptor, READ_SIZE, 0)

    def _number(self, role: str) -> int:
        return int(self._text(role) or 0)

    def _read_v1(self, usage_ns: int) -> CgroupStats:
        cpu, detail, usage = self._text("cpu"), self._text("detail"), self._number("memory")
        return CgroupStats(
            cpu_usage_ns=usage_ns,
            throttled_ns=_field(cpu, b"throttled_time"),
            periods=_field(cpu, b"nr_periods"),
            throttled_periods=_field(cpu, b"nr_throttled"),
            memory_usage_bytes=usage,
            memory_working_set_bytes=max(0, usage - _field(detail, b"total_inactive_file")),
            memory_cache_bytes=_field(detail, b"total_cache"),
            memory_rss_bytes=_field(detail, b"total_rss"),
            oom_kills=_field(self._text("oom"), b"oom_kill"),
            pids=self._number("pids"),
        )

    def _read_v2(self, cpu: bytes) -> CgroupStats:
        detail, usage = self._text("detail"), self._number("memory")
        return CgroupStats(
            cpu_usage_ns=_field(cpu, b"usage_usec") * 1000,
            throttled_ns=_field(cpu, b"throttled_usec") * 1000,
            periods=_field(cpu, b"nr_periods"),
            throttled_periods=_field(cpu, b"nr_throttled"),
            memory_usage_bytes=usage,
            memory_working_set_bytes=max(0, usage - _field(detail, b"inactive_file")),
            memory_cache_bytes=_field(detail, b"file"),
            memory_rss_bytes=_field(detail, b"anon"),
            oom_kills=_field(self._text("oom"), b"oom_kill"),
            pids=self._number("pids"),
        )


def read_stats(layout: CgroupLayout, path: str) -> CgroupStats:
    """One reading of a cgroup. Raises OSError when it does not exist."""
    with CgroupReader(layout, path) as reader:
        return reader.read()


def oom_kills(layout: CgroupLayout, path: str) -> int:
    """How many processes of the cgroup the kernel has killed for memory; 0 when the cgroup is gone."""
    controller, name = _FILES_V1["oom"] if layout.version == 1 else _FILES_V2["oom"]
    try:
        return _field((layout.directory(controller, path) / name).read_bytes(), b"oom_kill")
    except OSError:
        return 0
