"""The directory editor on a version 2 tree, played by a plain directory: the test machine may be version 1."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodeagent.cgroups.layout import CgroupLayout
from nodeagent.cgroups.pods import PodCgroups
from nodeagent.cgroups.stats import oom_kills, read_stats

SPEC = {"containers": [{"name": "c", "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "1Mi"}}}]}


@pytest.fixture
def layout(tmp_path: Path) -> CgroupLayout:
    for path in ("", "f", "f/burstable", "f/besteffort", "f/supervise", "f/burstable/podu1"):
        directory = tmp_path / path
        directory.mkdir(exist_ok=True)
        (directory / "cgroup.controllers").write_text("cpu memory pids")
        (directory / "cgroup.subtree_control").write_text("")
    return CgroupLayout(version=2, mounts={"": tmp_path})


def test_a_pods_limits_are_written(layout: CgroupLayout, tmp_path: Path) -> None:
    """Each limit lands in its file, and the burstable class weighs what its pods ask for."""
    cgroups = PodCgroups("f", layout, pids_limit=50)
    assert cgroups.create_pod("u1", SPEC) == "/f/burstable/podu1"
    pod = tmp_path / "f/burstable/podu1"
    assert (pod / "memory.max").read_text() == str(2**20)
    assert (pod / "pids.max").read_text() == "50"
    assert (pod / "cpu.max").read_text() == "max 100000"
    assert (tmp_path / "f/burstable/cpu.weight").read_text() == (pod / "cpu.weight").read_text()


def test_controllers_are_enabled_on_the_way_down(layout: CgroupLayout, tmp_path: Path) -> None:
    """A child only has the files of controllers that each ancestor delegates."""
    PodCgroups("f", layout).create_pod("u1", SPEC)
    for path in ("", "f", "f/burstable", "f/burstable/podu1"):
        assert (tmp_path / path / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"


def test_stats_of_version_2(tmp_path: Path) -> None:
    """Microseconds become nanoseconds; the working set leaves out inactive page cache."""
    files = {
        "cpu.stat": "usage_usec 5\nuser_usec 3\nnr_periods 9\nnr_throttled 4\nthrottled_usec 2\n",
        "memory.current": "1000\n",
        "memory.stat": "anon 600\nfile 400\ninactive_file 300\n",
        "memory.events": "low 0\noom 1\noom_kill 2\noom_group_kill 1\n",
        "pids.current": "3\n",
    }
    for name, contents in files.items():
        (tmp_path / name).write_text(contents)
    layout = CgroupLayout(version=2, mounts={"": tmp_path})
    stats = read_stats(layout, "/")
    assert (stats.cpu_usage_ns, stats.throttled_ns, stats.throttled_periods) == (5_000, 2_000, 4)
    assert (stats.memory_working_set_bytes, stats.memory_rss_bytes, stats.pids) == (700, 600, 3)
    assert stats.oom_kills == oom_kills(layout, "/") == 2


def test_stats_of_a_missing_cgroup(tmp_path: Path) -> None:
    """A container that is gone is an error to the reader, and never counts as killed for memory."""
    layout = CgroupLayout(version=2, mounts={"": tmp_path})
    with pytest.raises(FileNotFoundError):
        read_stats(layout, "/gone")
    assert oom_kills(layout, "/gone") == 0
