"""The details of a cgroup, from the files of both versions."""

from __future__ import annotations

from pathlib import Path

from nodeagent.cgroups.details import CgroupDetails, pressure_directory, read_details
from nodeagent.cgroups.layout import CgroupLayout
from nodeagent.cgroups.limits import UNLIMITED, Limits

V1 = {
    "cpuacct/cpuacct.stat": "user 100\nsystem 50\n",
    "memory/memory.max_usage_in_bytes": "4096\n",
    "memory/memory.failcnt": "2\n",
    "memory/memory.stat": "mapped_file 1\ntotal_mapped_file 10\ntotal_swap 11\ntotal_pgfault 12\ntotal_pgmajfault 13\n",
    "memory/memory.limit_in_bytes": "9223372036854771712\n",
    "memory/cgroup.procs": "1\n2\n",
    "blkio/blkio.throttle.io_service_bytes_recursive": "8:0 Read 5\n8:0 Write 6\n8:16 Read 7\nTotal 18\n",
    "blkio/blkio.throttle.io_serviced_recursive": "8:0 Read 1\n8:0 Write 2\nTotal 3\n",
    "cpu/cpu.shares": "512\n",
    "cpu/cpu.cfs_quota_us": "-1\n",
    "pids/pids.max": "max\n",
}
V2 = {
    "cpu.stat": "usage_usec 3\nuser_usec 2\nsystem_usec 1\n",
    "memory.peak": "4096\n",
    "memory.events": "low 0\nmax 2\n",
    "memory.stat": "file_mapped 10\npgfault 12\npgmajfault 13\n",
    "memory.swap.current": "11\n",
    "memory.max": "1048576\n",
    "cgroup.procs": "1\n2\n",
    "io.stat": "8:0 rbytes=5 wbytes=6 rios=1 wios=2 dbytes=0 dios=0\n8:16 rbytes=7 wbytes=0 rios=0 wios=0\n",
    "cpu.weight": "20\n",
    "cpu.max": "20000 100000\n",
    "pids.max": "1024\n",
}


def _write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_version_1(tmp_path: Path) -> None:
    """Ticks become nanoseconds, devices are added up, and what is no bound is none."""
    layout = CgroupLayout(
        version=1, mounts={name: tmp_path / name for name in ("cpuacct", "memory", "blkio", "cpu", "pids")}
    )
    _write(tmp_path, V1)
    assert read_details(layout, "/") == CgroupDetails(
        cpu_user_ns=1_000_000_000,
        cpu_system_ns=500_000_000,
        memory_peak_bytes=4096,
        memory_limit_hits=2,
        memory_mapped_bytes=10,
        swap_bytes=11,
        page_faults=12,
        major_page_faults=13,
        read_bytes=12,
        written_bytes=6,
        reads=1,
        writes=2,
        processes=2,
        limits=Limits(cpu_shares=512, cpu_quota_us=UNLIMITED, memory_bytes=UNLIMITED, pids=UNLIMITED),
    )
    assert pressure_directory(layout, "/a") is None


def test_version_2(tmp_path: Path) -> None:
    """The same figures from version 2's files; shares are derived from the weight."""
    layout = CgroupLayout(version=2, mounts={"": tmp_path})
    _write(tmp_path, V2)
    found = read_details(layout, "/")
    assert (found.cpu_user_ns, found.cpu_system_ns, found.memory_peak_bytes) == (2000, 1000, 4096)
    assert (found.memory_limit_hits, found.memory_mapped_bytes, found.swap_bytes) == (2, 10, 11)
    assert (found.read_bytes, found.written_bytes, found.reads, found.writes) == (12, 6, 1, 2)
    assert found.limits == Limits(cpu_shares=500, cpu_quota_us=20000, memory_bytes=1 << 20, pids=1024)
    assert pressure_directory(layout, "/a") == tmp_path / "a"


def test_cgroup_that_is_gone(tmp_path: Path) -> None:
    """A container that has ended meanwhile reads as zeros and is no error."""
    assert read_details(CgroupLayout(version=2, mounts={"": tmp_path}), "/gone").memory_peak_bytes == 0
