"""The kernel's table of mounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodeagent.mounts import mount, parse_mounts, read_mounts, unmount

MOUNTINFO = r"""27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,errors=remount-ro
42 27 0:40 / /run/a\040place\134here rw shared:7 master:3 - tmpfs a\040source rw,size=64k
43 42 0:41 net:[4026532] /run/netns/x rw unbindable - nsfs nsfs rw
"""


def test_a_line_has_its_parts() -> None:
    """Points and sources are decoded, kinds of peers are known without their groups, and the order is kept."""
    root, place, namespace = parse_mounts(MOUNTINFO)
    assert root == (27, "254:0", "/", (), "ext4", "/dev/vda", "rw,errors=remount-ro")
    assert (place.point, place.peers) == (r"/run/a place\here", {"shared", "master"})
    assert (place.source, place.options) == ("a source", ["rw", "size=64k"])
    assert (namespace.point, namespace.kind, namespace.peers) == ("/run/netns/x", "nsfs", {"unbindable"})


def test_the_machines_own_are_read() -> None:
    """What this process sees has a root and the table itself."""
    assert {"/", "/proc"} <= {each.point for each in read_mounts()}


@pytest.mark.root
def test_what_is_mounted_can_be_taken_away(tmp_path: Path) -> None:
    """A mount is seen until it is taken away; where nothing is, nothing happens; refusals name the place."""
    mount("test", tmp_path, "tmpfs", data="size=64k")
    try:
        assert [each.source for each in read_mounts() if each.point == str(tmp_path)] == ["test"]
    finally:
        assert unmount(tmp_path)
    assert not unmount(tmp_path) and not unmount(tmp_path / "missing")
    with pytest.raises(OSError, match=r"mount: .*missing"):
        mount("test", tmp_path / "missing", "tmpfs")
