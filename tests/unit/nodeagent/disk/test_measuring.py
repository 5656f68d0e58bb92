"""What directory trees take, counted with the program that the node uses."""

from __future__ import annotations

import os
from pathlib import Path

from nodeagent.disk.filesystems import device_of, filesystem_of, shares_filesystem
from nodeagent.disk.measuring import tree_bytes, tree_inodes
from nodeagent.disk.meter import DiskMeter
from nodeagent.disk.places import PodPlaces, container_bounds, disk_directories, is_bounded, volume_bounds

MIB = 1 << 20


def _fill(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))


def test_trees_are_counted_each_by_itself(tmp_path: Path) -> None:
    """Sizes come by directory; links lead nowhere, hard links count once, holes cost nothing."""
    _fill(tmp_path / "a/deep/er/file", 3 * MIB)
    os.link(tmp_path / "a/deep/er/file", tmp_path / "a/again")
    (tmp_path / "a/out").symlink_to("/usr")
    _fill(tmp_path / "b\n with\ttab/file", MIB)
    with (tmp_path / "b\n with\ttab/hole").open("wb") as hole:
        hole.truncate(1 << 40)
    found = tree_bytes([tmp_path / "a", tmp_path / "b\n with\ttab", tmp_path / "missing"])
    assert found.keys() == {tmp_path / "a", tmp_path / "b\n with\ttab"}
    assert 3 * MIB <= found[tmp_path / "a"] < 3.1 * MIB
    assert MIB <= found[tmp_path / "b\n with\ttab"] < 1.1 * MIB
    assert tree_inodes([tmp_path / "a"])[tmp_path / "a"] == 5


def test_hostile_depth(tmp_path: Path) -> None:
    """A tree deeper than any path may be long is counted all the same."""
    tree = tmp_path / "tree"
    tree.mkdir()
    descriptor = os.open(tree, os.O_RDONLY)
    for _ in range(60):
        os.mkdir("d" * 200, dir_fd=descriptor)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    assert tree_inodes([tree])[tree] == 61


async def test_idle_pods_are_not_walked_again(tmp_path: Path) -> None:
    """A pod that has used no CPU time keeps its figures; one that has, or one of a clock set back, is measured anew."""
    now = 100.0
    meter = DiskMeter(wall_clock=lambda: now)
    layer = tmp_path / "layer"
    _fill(layer / "file", MIB)
    idle = PodPlaces("u1", {"c": layer}, {}, {}, activity=("run", 5))
    await meter.measure([idle])
    first = meter.disk("u1")
    assert first is not None
    assert MIB <= first.container("c") == first.total < 1.1 * MIB
    _fill(layer / "more", MIB)
    now = 200.0
    await meter.measure([idle])
    assert meter.disk("u1") is first
    await meter.measure([PodPlaces("u1", {"c": layer}, {}, {}, activity=("run", 6))], older_than_s=150)
    assert meter.disk("u1") is first
    await meter.measure([PodPlaces("u1", {"c": layer}, {}, {}, activity=("run", 6))])
    second = meter.disk("u1")
    assert second is not None
    assert second.total >= 2 * MIB
    now = 50.0
    await meter.measure([PodPlaces("u1", {"c": layer}, {}, {}, activity=("run", 7))], older_than_s=150)
    third = meter.disk("u1")
    assert third is not None
    assert third.time_unix_s == 50.0
    meter.keep([])
    assert meter.disk("u1") is None


def test_bounds_of_a_pod() -> None:
    """Directories in memory are no disk, and a limit of nothing is no limit."""
    spec = {
        "containers": [{"name": "c", "resources": {"limits": {"ephemeral-storage": "1Gi", "cpu": "1"}}}],
        "initContainers": [{"name": "i", "resources": {"limits": {"ephemeral-storage": "2Gi"}}}],
        "volumes": [
            {"name": "disk", "emptyDir": {"sizeLimit": "1Mi"}},
            {"name": "free", "emptyDir": {}},
            {"name": "zero", "emptyDir": {"sizeLimit": "0"}},
            {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "config", "configMap": {"name": "x"}},
        ],
    }
    assert container_bounds(spec) == {"c": "1Gi", "i": "2Gi"}
    assert volume_bounds(spec) == {"disk": "1Mi"}
    assert disk_directories(spec) == ["disk", "free", "zero"]
    assert is_bounded(spec)
    assert not is_bounded({"containers": [{"name": "c"}], "volumes": [{"name": "free", "emptyDir": {}}]})


def test_this_file_system(tmp_path: Path) -> None:
    """What is there is at least what is available, and the root's device has a name."""
    found = filesystem_of(tmp_path)
    assert 0 < found.available_bytes <= found.capacity_bytes
    assert found.used_bytes == found.capacity_bytes - found.available_bytes
    assert shares_filesystem(tmp_path, tmp_path.parent)
    assert not shares_filesystem(tmp_path, Path("/proc"))
    assert device_of(Path("/proc")) == "proc"
