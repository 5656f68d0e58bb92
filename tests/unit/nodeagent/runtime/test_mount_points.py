"""Making what links of an image point to, inside of the image."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nodeagent.runtime.errors import ContainerConfigError
from nodeagent.runtime.mount_points import make_linked_places
from nodeagent.runtime.spec import Mount


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    return root


@pytest.mark.parametrize(
    ("links", "target", "made"),
    [
        ({}, "/data", ""),
        ({"data": "/mnt/deep/data"}, "/data", "mnt/deep/data"),
        ({"data": "../../../outside"}, "/data/x", "outside/x"),
        ({"one": "two", "two": "etc"}, "/one/new", "etc/new"),
    ],
)
def test_links_are_followed_inside(rootfs: Path, links: dict[str, str], target: str, made: str) -> None:
    """What is missing behind links is made below the root, and only there."""
    for name, to in links.items():
        (rootfs / name).symlink_to(to)
    before = set(rootfs.parent.iterdir())
    make_linked_places(rootfs, [Mount(rootfs.parent, target)], owner=os.getuid())
    assert set(rootfs.parent.iterdir()) == before
    assert (rootfs / made).is_dir()
    assert made or not os.path.lexists(rootfs / "data")


def test_a_file_is_made_for_a_file(rootfs: Path) -> None:
    """A file's mount needs a file below it."""
    source = rootfs.parent / "source"
    source.touch()
    (rootfs / "config").symlink_to("/etc/real")
    make_linked_places(rootfs, [Mount(source, "/config")], owner=os.getuid())
    assert (rootfs / "etc/real").is_file()


def test_links_in_a_circle_are_refused(rootfs: Path) -> None:
    """A path that never ends is the image's fault, and said to be."""
    (rootfs / "a").symlink_to("b")
    (rootfs / "b").symlink_to("a")
    with pytest.raises(ContainerConfigError, match="too many links"):
        make_linked_places(rootfs, [Mount(rootfs, "/a")], owner=os.getuid())
