"""When a runtime is started apart, and where mounts propagate."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodeagent.cgroups.layout import CgroupLayout
from nodeagent.mounts import parse_mounts
from nodeagent.runtime.launching import is_shared, must_be_apart

MOUNTS = """\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
42 27 0:40 / /run rw,relatime shared:7 - tmpfs tmpfs rw
43 42 0:41 / /run/private\\040place rw,relatime - tmpfs tmpfs rw
44 27 254:0 /data /data rw,relatime shared:9 master:3 - ext4 /dev/vda rw
45 44 0:50 / /data rw,relatime - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("directory", "shared"),
    [("/var", False), ("/run/flotilla", True), ("/run/private place/x", False), ("/data", False), ("/runner", False)],
)
def test_the_mount_that_holds_a_directory_decides(directory: str, shared: bool) -> None:
    """Of several mounts the innermost counts, of several on one place the last."""
    assert is_shared(Path(directory), parse_mounts(MOUNTS)) is shared


UNIFIED = Path("/sys/fs/cgroup/unified")


@pytest.mark.parametrize(
    ("program", "layout"),
    [
        ("/usr/sbin/runc", CgroupLayout(1, {"memory": Path("/sys/fs/cgroup/memory"), "unified": UNIFIED})),
        ("/usr/bin/crun", CgroupLayout(1, {"memory": Path("/sys/fs/cgroup/memory")})),
        ("/usr/bin/crun", CgroupLayout(1, {"memory": Path("/cgroup"), "unified": Path("/cgroup2")})),
        ("/usr/bin/crun", CgroupLayout(2, {"": Path("/sys/fs/cgroup")})),
    ],
)
def test_programs_start_where_the_agent_is(program: str, layout: CgroupLayout) -> None:
    """Where there is nothing to hide from crun, nothing is hidden."""
    assert not must_be_apart(program, layout)
