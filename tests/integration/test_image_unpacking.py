"""Unpacking layers: what must survive, and what a hostile archive must not achieve."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from nodeagent.images.image import ImagePullError
from nodeagent.images.layers import LayerBlob, LayerLimits, LayerStore, UnpackError
from nodeagent.images.rootfs import mount_rootfs, unmount_rootfs
from nodeagent.images.scratch import Scratch
from nodeagent.images.store import ImageStore
from tests.integration.image_lab import entry, hard_link, layer, make_image, symlink, write_archive

pytestmark = pytest.mark.root

LOAD = """
import sys
from pathlib import Path
from nodeagent.images.store import ImageStore
ImageStore(Path(sys.argv[1])).load(Path(sys.argv[2]))
"""


class Layers:
    """A store of layers, and the root file system that the last stack makes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.scratch = Scratch(root)
        root.mkdir(parents=True, exist_ok=True)
        self.scratch.create()

    def unpack(self, *layers: bytes, limits: LayerLimits | None = None, diff_ids: Sequence[str] = ()) -> None:
        store = LayerStore(self.root, self.scratch, limits=limits or LayerLimits())
        store.create()
        blobs = []
        for position, content in enumerate(layers):
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            path = self.root / f"blob-{position}"
            path.write_bytes(content)
            blobs.append(LayerBlob(digest, diff_ids[position] if diff_ids else digest, path))
        self.paths = store.ensure(blobs)

    def mount(self) -> Path:
        return mount_rootfs(self.paths, directory=self.root / "c")

    def unmount(self) -> None:
        unmount_rootfs(self.root / "c")


@pytest.fixture
def layers(tmp_path: Path) -> Iterator[Layers]:
    made = Layers(tmp_path / "images")
    yield made
    made.unmount()


def device(name: str, kind: bytes, major: int, minor: int) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, b"", type=kind, devmajor=major, devminor=minor)


def sparse(name: str, size: int, segments: Sequence[tuple[int, bytes]]) -> tuple[tarfile.TarInfo, bytes]:
    """A file with holes as GNU tar 1.0 writes it: a map of its segments, then their bytes."""
    numbers = [len(segments), *(number for offset, data in segments for number in (offset, len(data)))]
    table = "".join(f"{number}\n" for number in numbers).encode()
    content = table.ljust(-(-len(table) // 512) * 512, b"\0") + b"".join(data for _, data in segments)
    headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": name}
    return entry(f"GNUSparseFile.0/{name}", content, pax_headers=headers | {"GNU.sparse.realsize": str(size)})


def test_holes_stay_holes(layers: Layers) -> None:
    """Sparse files and long runs of zeros have their length and their bytes, and take no room on disk."""
    zeros = bytes(4 << 20)
    segments = [(0, b"begin"), (1 << 40, b"end")]
    layers.unpack(layer(sparse("holes", (1 << 40) + 3, segments), entry("zeros", b"x" + zeros + b"y")))
    holes, filled = layers.paths[0] / "holes", layers.paths[0] / "zeros"
    assert holes.stat().st_size == (1 << 40) + 3
    with holes.open("rb") as file:
        assert file.read(6) == b"begin\0"
        file.seek(1 << 40)
        assert file.read() == b"end"
    assert filled.read_bytes() == b"x" + zeros + b"y"
    assert holes.stat().st_blocks * 512 < 100_000
    assert filled.stat().st_blocks * 512 < 1 << 20


def test_odd_files(layers: Layers) -> None:
    """Long names, names that are no text, pipes, set-id bits, fractions of seconds, directory times: all arrive."""
    long = "/".join(["d" * 200] * 15) + "/file"
    bad = os.fsdecode(b"caf\xe9")
    layers.unpack(
        layer(
            entry(long, b"deep"),
            entry(bad, b"latin"),
            entry("pipe", b"", type=tarfile.FIFOTYPE),
            device("null", tarfile.CHRTYPE, 1, 3),
            entry("suid", b"x", mode=0o6755, uid=70_000, gid=4_000_000_000),
            entry("dir", None, mode=0o2750, mtime=1000),
            entry("dir/late", b"", mtime=1234.5),
            entry("huge-time", b"", mtime=2.0**62),
            entry(
                "note", None, pax_headers={"SCHILY.xattr.user.note": "kept", "SCHILY.xattr.user.overlay.opaque": "y"}
            ),
        )
    )
    root = layers.paths[0]
    assert (root / long).read_bytes() == b"deep"
    assert (root / bad).read_bytes() == b"latin"
    assert stat.S_ISFIFO((root / "pipe").stat().st_mode)
    assert (root / "null").stat().st_rdev == os.makedev(1, 3)
    suid = (root / "suid").stat()
    assert (stat.S_IMODE(suid.st_mode), suid.st_uid, suid.st_gid) == (0o6755, 70_000, 4_000_000_000)
    assert (stat.S_IMODE((root / "dir").stat().st_mode), (root / "dir").stat().st_mtime) == (0o2750, 1000)
    assert (root / "dir/late").stat().st_mtime == 1234.5
    assert os.listxattr(root / "note") == ["user.note"]


def test_hard_links_to_what_is_below(layers: Layers) -> None:
    """A hard link may mean any kind of file of a lower layer, which comes up with its owner, time and capabilities."""
    capability = b"\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00".decode()
    headers = {"SCHILY.xattr.security.capability": capability}
    below = layer(entry("ping", b"x", uid=7, mtime=99, pax_headers=headers), symlink("soft", "/ping"))
    layers.unpack(below, layer(hard_link("ping2", "ping"), hard_link("soft2", "/soft")))
    root = layers.mount()
    assert (root / "ping2").stat().st_ino == (root / "ping").stat().st_ino
    assert ((root / "ping2").stat().st_uid, (root / "ping2").stat().st_mtime) == (7, 99)
    assert os.getxattr(root / "ping2", "security.capability") == capability.encode()
    assert (root / "soft2").readlink() == Path("/ping")


def test_nothing_is_seen_of_whiteouts(layers: Layers) -> None:
    """Marks of deletion are not seen where there is nothing to delete, nor inside of opaque directories."""
    below = layer(entry("o/old/x", b""), entry("m/kept", b""), entry("m/gone", b""), entry("top", b""))
    middle = layer(
        entry(".wh.never"),
        entry("new/.wh.never"),
        entry("o/old/.wh.x"),
        entry("o/.wh.other"),
        entry("o/.wh..wh..opq"),
        entry("o/old/y", b""),
        entry("m/.wh.gone"),
    )
    layers.unpack(below, middle)
    root = layers.mount()
    seen = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
    assert seen == ["m", "m/kept", "new", "o", "o/old", "o/old/y", "top"]


def test_opaque_root(layers: Layers) -> None:
    """A layer that hides everything below leaves only its own files, in directories of the same name, too."""
    below = layer(entry("a/old", b""), entry("b", b""), entry("c/old", b""))
    layers.unpack(below, layer(entry("a/new", b""), entry(".wh..wh..opq"), entry("b", b"own")))
    root = layers.mount()
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*")) == ["a", "a/new", "b"]
    assert (root / "b").read_bytes() == b"own"


def nested_headers() -> bytes:
    """Extended headers that announce each other."""
    file = io.BytesIO()
    member = tarfile.TarInfo("x")
    member.type = tarfile.XHDTYPE
    for _ in range(3000):
        file.write(member.tobuf(tarfile.USTAR_FORMAT))
    return file.getvalue()


HOSTILE: dict[str, tuple[bytes, str]] = {
    "parent": (layer(entry("../escape", b"1")), r"'../escape' leads out of the layer"),
    "parent_deep": (layer(entry("a/../../escape", b"1")), "leads out of the layer"),
    "link_out": (layer(hard_link("up", "../../etc/passwd")), "leads out of the layer"),
    "link_absolute": (layer(hard_link("up", "/etc/passwd")), r"links to '/etc/passwd', which does not exist"),
    "link_through_link": (layer(symlink("s", "/etc"), hard_link("p", "s/passwd")), "which does not exist"),
    "link_to_directory": (layer(entry("d", None), hard_link("e", "d")), "hard link to the directory 'd'"),
    "link_to_whiteout": (layer(entry(".wh.w"), hard_link("v", "w")), "which does not exist"),
    "whiteout_parent": (layer(entry(".wh...", b"")), "deletes no file"),
    "disk": (layer(device("disk", tarfile.BLKTYPE, 8, 0)), r"'disk' is a device \(8:0\), which is refused"),
    "memory": (layer(device("mem", tarfile.CHRTYPE, 1, 1)), r"is a device \(1:1\)"),
    "whiteout_device": (layer(device("w", tarfile.CHRTYPE, 0, 0)), r"is a device \(0:0\)"),
    "owner": (layer(entry("x", b"", uid=2**33)), "impossible owner"),
    "name": (layer(entry("n" * 300, b"")), "n...': File name too long"),
    "path": (layer(entry("d/" * 2500, b"")), "name is not a path"),
    "type": (layer(entry("x", b"", type=b"Z")), "unknown type"),
    "through_a_file": (layer(entry("f", b""), entry("f/g", b"")), "/f is not a directory"),
    "link_loop": (layer(symlink("a", "b"), symlink("b", "a"), entry("a/x", b"")), "too many links"),
    "headers": (nested_headers(), "extended headers|invalid header|unexpected end"),
    "cut_sparse": (layer(sparse("s", 10, [(0, b"x" * 10)]))[:1700], "ends in the middle|unexpected end|does not have"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives(layers: Layers, case: str) -> None:
    """An archive that reaches outside, or holds what no layer may, is refused in clear words, and nothing stays."""
    content, complaint = HOSTILE[case]
    with pytest.raises(UnpackError, match=complaint):
        layers.unpack(content)
    assert list((layers.root / "layers").iterdir()) == []
    assert list((layers.root / "tmp").iterdir()) == []


def test_links_at_any_component_stay_inside(layers: Layers, tmp_path: Path) -> None:
    """Links of this layer or of one below, at any component, absolute or not, never lead a write to the node."""
    victim = tmp_path / "victim"
    victim.mkdir()
    up = "../" * 40
    below = layer(symlink("one", "two/three"), symlink("two", f"{up}{victim}"), symlink("flat", str(victim)))
    above = layer(
        entry("one/a", b""),
        entry("flat/b", b""),
        symlink("self", f"/proc/self/cwd/{up}{victim}"),
        entry("self/c", b""),
        symlink("root", "/proc/1/root"),
        entry(f"root{victim}/d", b""),
        entry(f"x/{up.replace('../', 'y/')}e", b""),
    )
    layers.unpack(below, above)
    assert list(victim.iterdir()) == []
    root = layers.mount()
    assert (root / str(victim).lstrip("/") / "b").exists()


BOMBS: dict[str, tuple[Callable[[], bytes], LayerLimits, str]] = {
    "size": (
        lambda: layer(entry("zeros", bytes(3 << 20))),
        LayerLimits(unpacked_bytes=2 << 20),
        "the image unpacks to more than 2097152 bytes",
    ),
    "entries": (
        lambda: layer(*(entry(str(number), b"") for number in range(9))),
        LayerLimits(entries=8),
        "more than 8 entries",
    ),
    "memory": (
        lambda: layer(entry("x", b"", pax_headers={"comment": "x" * (64 << 20)})),
        LayerLimits(memory_bytes=128 << 20),
        "takes more than 134217728 bytes of memory",
    ),
}


@pytest.mark.parametrize("case", BOMBS)
def test_bombs(layers: Layers, case: str) -> None:
    """A layer that grows past what it may come to is refused by the bound that it breaks, and nothing of it stays."""
    content, limits, complaint = BOMBS[case]
    with pytest.raises(UnpackError, match=complaint):
        layers.unpack(content(), limits=limits)
    assert list((layers.root / "layers").iterdir()) == []


def test_layers_together_are_bounded(layers: Layers) -> None:
    """The bound on size holds for the layers of an image together."""
    one, two = (layer(entry(name, os.urandom(1 << 20))) for name in ("one", "two"))
    with pytest.raises(UnpackError, match="the image unpacks to more than"):
        layers.unpack(one, two, limits=LayerLimits(unpacked_bytes=3 << 19))
    assert list((layers.root / "layers").iterdir()) == []


def test_compression_bomb(layers: Layers) -> None:
    """A layer that is thousands of times its compressed size is refused early, however much room there is."""
    store = LayerStore(layers.root, layers.scratch, limits=LayerLimits(unpacked_bytes=1 << 30))
    store.create()
    blob = layers.root / "bomb"
    content = layer(entry("zeros", bytes(64 << 20)))
    blob.write_bytes(subprocess.run(["zstd", "-qc"], input=content, capture_output=True, check=True).stdout)
    digest = f"sha256:{hashlib.sha256(blob.read_bytes()).hexdigest()}"
    with pytest.raises(UnpackError, match="more than 2000 times what it is compressed to"):
        store.ensure([LayerBlob(digest, f"sha256:{'0' * 64}", blob)])


def test_content_must_be_what_was_promised(layers: Layers) -> None:
    """Layers in another order than the image's configuration, and content under a false digest, are refused."""
    one, two = layer(entry("one", b"1")), layer(entry("two", b"2"))
    digests = [f"sha256:{hashlib.sha256(content).hexdigest()}" for content in (two, one)]
    with pytest.raises(UnpackError, match=f"does not have the digest {digests[0]}"):
        layers.unpack(one, two, diff_ids=digests)
    assert list((layers.root / "layers").iterdir()) == []


def test_full_disk(tmp_path: Path) -> None:
    """An image that the disk has no room for is refused with the remedy, and takes none of what is left."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", disk], check=True)
    try:
        store = ImageStore(disk / "images")
        image = make_image([layer(*(entry(str(number), b"\1" * (512 << 10)) for number in range(16)))], compress=True)
        with pytest.raises(ImagePullError, match=r"bytes that the disk has left: make room on the node, or remove"):
            store.load(write_archive(tmp_path / "large.tar", {"large": image}))
        store.reclaim()
        status = os.statvfs(disk)
        assert status.f_bavail > status.f_blocks * 0.9
    finally:
        subprocess.run(["umount", disk], check=True)


def test_killed_while_unpacking(tmp_path: Path) -> None:
    """When all that unpacks is killed half way, no half layer is ever used, and the next try finds a clean store."""
    image = make_image([layer(*(entry(f"f{number}", b"x" * 1000) for number in range(1500)))])
    archive = write_archive(tmp_path / "a.tar", {"app": image})
    store = ImageStore(tmp_path / "images")
    command = [sys.executable, "-c", LOAD, str(tmp_path / "images"), str(archive)]
    loading = subprocess.Popen(command, start_new_session=True)
    deadline = time.monotonic() + 20
    while not list((tmp_path / "images/tmp").glob("unpack-*/*/f100")):
        assert loading.poll() is None
        assert time.monotonic() < deadline
    os.killpg(loading.pid, signal.SIGKILL)
    loading.wait()
    assert store.images() == []
    assert list((tmp_path / "images/layers").iterdir()) == []
    assert len(list((store.load(archive)[0].layers[0]).iterdir())) == 1500
    store.reclaim()
    assert list((tmp_path / "images/tmp").iterdir()) == []
