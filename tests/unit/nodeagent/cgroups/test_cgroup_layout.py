"""Which hierarchy a machine's mount table describes."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodeagent.cgroups.layout import CgroupError, layout_of
from nodeagent.mounts import parse_mounts

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
"""
UNIFIED = "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_a_hybrid_machine_counts_as_version_1() -> None:
    """Controllers on version 1 decide, whatever else is mounted beside them."""
    layout = layout_of(parse_mounts(HYBRID))
    assert layout.version == 1
    assert layout.directory("memory", "/flotilla/pod1") == Path("/sys/fs/cgroup/memory/flotilla/pod1")


def test_controllers_mounted_together_are_visited_once() -> None:
    """A co-mounted hierarchy has one directory for a cgroup, and the one without controllers counts too."""
    directories = layout_of(parse_mounts(HYBRID)).directories("/a")
    assert len(directories) == len(set(directories)) == 5
    assert Path("/sys/fs/cgroup/unified/a") in directories


def test_a_pure_version_2_machine() -> None:
    """One hierarchy holds every controller."""
    layout = layout_of(parse_mounts(UNIFIED))
    assert layout.version == 2
    assert layout.directory("cpu", "/a") == layout.directory("memory", "/a") == Path("/sys/fs/cgroup/a")


def test_a_machine_without_cgroups_is_refused() -> None:
    """The error says what is missing instead of failing later on a path."""
    with pytest.raises(CgroupError, match="no cgroup hierarchy"):
        layout_of(parse_mounts("22 1 8:1 / / rw - ext4 /dev/vda rw\n"))
