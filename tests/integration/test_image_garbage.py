"""Making room in the image store: what goes, in which order, and what never does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeagent.housekeeping import image_list
from nodeagent.images.disk import DiskThresholds, keep_room
from nodeagent.images.rootfs import mount_rootfs, unmount_rootfs
from nodeagent.images.store import ImageInUseError, ImageStore
from tests.integration.image_lab import entry, layer, make_image, write_archive

pytestmark = pytest.mark.root

PREFIX = "docker.io/library/app"
UNPACK = """
import sys
from pathlib import Path
from nodeagent.images.store import ImageStore
store = ImageStore(Path(sys.argv[1]))
with store.scratch.open("pull") as directory:
    (directory / "half").write_text("x")
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


def load(store: ImageStore, directory: Path, *tags: str, pinned: bool = False, size_bytes: int = 100_000) -> None:
    """Images ``app:<tag>`` of one layer each, used in the order given, long ago."""
    for position, tag in enumerate(tags):
        image = make_image([layer(entry(tag, os.urandom(size_bytes)))])
        loaded = store.load(write_archive(directory / "archive.tar", {f"app:{tag}": image}), pinned=pinned)
        moment = time.time() - 1000 + position
        index = directory / "images/index.json"
        stored = f'"flotilla.dev/stored-unix-s": "{loaded[0].stored_unix_s!r}"'
        index.write_text(index.read_text().replace(stored, f'"flotilla.dev/stored-unix-s": "{moment!r}"'))


def tags_of(store: ImageStore) -> set[str]:
    return {name.rpartition(":")[2] for image in store.images() for name in image.references}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=755", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_least_recently_used_goes_first(store: ImageStore, tmp_path: Path) -> None:
    """Room is made by the image whose last use is longest ago, and only as much as is wanted."""
    load(store, tmp_path, "one", "two", "three")
    store.find("app:one")
    reclaimed = store.reclaim(1)
    assert reclaimed.references == (f"{PREFIX}:two",)
    assert reclaimed.freed_bytes >= 200_000
    assert tags_of(store) == {"one", "three"}


def test_used_needed_and_pinned_images_stay(store: ImageStore, tmp_path: Path) -> None:
    """Nothing that a root file system stands on, that a pod needs or that is pinned makes room; the rest goes."""
    load(store, tmp_path, "mounted", "needed", "free")
    load(store, tmp_path, "pinned", pinned=True)
    mounted = store.find("app:mounted")
    assert mounted is not None
    mount_rootfs(mounted.layers, directory=tmp_path / "c")
    try:
        store.hold(["app:needed", "not A name"])
        assert store.reclaim().references == (f"{PREFIX}:free",)
        assert ImageStore(tmp_path / "images").reclaim(pinned_too=True).references == (f"{PREFIX}:pinned",)
        with pytest.raises(ImageInUseError, match="container c"):
            store.remove("app:mounted")
        with pytest.raises(ImageInUseError, match=r"a pod that needs docker\.io/library/app:needed"):
            store.remove("app:needed")
        assert store.remove("app:mounted", force=True)
        assert (tmp_path / "c/merged/mounted").exists()
        assert len(list((tmp_path / "images/layers").iterdir())) == 2
    finally:
        unmount_rootfs(tmp_path / "c")
    store.hold([])
    assert store.reclaim().references == (f"{PREFIX}:needed",)
    assert list((tmp_path / "images/layers").iterdir()) == []
    assert list((tmp_path / "images/blobs/sha256").iterdir()) == []
    assert list((tmp_path / "images/used").iterdir()) == []


def test_ages(store: ImageStore, tmp_path: Path) -> None:
    """What was stored a moment ago is spared, and so is what was used more recently than asked for."""
    load(store, tmp_path, "old", "used")
    store.find("app:used")
    assert store.reclaim(minimum_age_s=2000).references == ()
    assert store.reclaim(unused_s=500).references == (f"{PREFIX}:old",)
    assert tags_of(store) == {"used"}


def test_removal_by_name_and_id(store: ImageStore, tmp_path: Path) -> None:
    """One name of several goes without the image; an id takes all names; what is not there is told."""
    archive = write_archive(tmp_path / "a.tar", {"app:one": make_image([layer(entry("x", b"1"))])})
    store.load(archive)
    image = store.load(archive, reference="app:two")[0]
    one = store.remove("app:one")
    assert one is not None
    assert one.freed_bytes == 0
    assert tags_of(store) == {"two"}
    two = store.remove(image.id[7:19])
    assert two is not None
    assert two.references == (f"{PREFIX}:two",)
    assert two.freed_bytes > 0
    assert store.remove("app:two") is None
    assert store.remove("fffffffffff") is None


def test_disk_thresholds(small_disk: Path, tmp_path: Path) -> None:
    """From the high threshold on images go, oldest first, to the low one; where that does not do, the event says so."""
    store = ImageStore(small_disk / "images")
    for tag in ("one", "two", "three"):
        image = make_image([layer(entry(tag, os.urandom(900_000)))])
        store.load(write_archive(tmp_path / "a.tar", {f"app:{tag}": image}), pinned=False)
    young = DiskThresholds(high_percent=60, low_percent=50, minimum_age_s=3600)
    complaint = keep_room(store, small_disk, young)
    assert complaint is not None
    assert complaint.reason == "FreeDiskSpaceFailed"
    assert "only found 0 bytes eligible" in complaint.message
    assert keep_room(store, small_disk, DiskThresholds(high_percent=99, low_percent=50, minimum_age_s=0)) is None
    assert tags_of(store) == {"one", "two", "three"}
    assert keep_room(store, small_disk, DiskThresholds(high_percent=60, low_percent=50, minimum_age_s=0)) is None
    assert tags_of(store) == {"two", "three"}
    assert keep_room(store, small_disk, DiskThresholds(minimum_age_s=0, maximum_age_s=1e-6)) is None
    assert tags_of(store) == set()


def test_node_status_lists_images(store: ImageStore, tmp_path: Path) -> None:
    """The node's status lists the largest images first, with their names and sizes."""
    load(store, tmp_path, "small")
    load(store, tmp_path, "large", size_bytes=200_000)
    listed = image_list(store)
    assert [each["names"] for each in listed] == [[f"{PREFIX}:large"], [f"{PREFIX}:small"]]
    assert listed[0]["sizeBytes"] > listed[1]["sizeBytes"] > 100_000


def test_work_of_the_living_is_spared(store: ImageStore, tmp_path: Path) -> None:
    """Blobs that a running pull has fetched stay; when its process is killed, all that it left goes."""
    arguments = [sys.executable, "-c", UNPACK, str(tmp_path / "images")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        blob = tmp_path / "images/blobs/sha256" / ("0" * 64)
        blob.write_bytes(b"fetched")
        store.reclaim()
        assert blob.exists()
        assert len(list((tmp_path / "images/tmp").iterdir())) == 1
        process.kill()
    assert store.reclaim().freed_bytes > 0
    assert not blob.exists()
    assert list((tmp_path / "images/tmp").iterdir()) == []
