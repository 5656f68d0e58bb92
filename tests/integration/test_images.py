"""The image store with real skopeo, real unpacking and real overlay mounts."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeagent.images.auth import RegistryAuth
from nodeagent.images.rootfs import mount_rootfs, unmount_rootfs
from nodeagent.images.store import ImagePullError, ImageStore
from tests.integration.image_lab import Registry, entry, layer, make_image, serve_registry, write_archive

pytestmark = pytest.mark.root

BUSYBOX = Path("/bin/busybox").read_bytes()
LOAD = """
import sys
from pathlib import Path
from nodeagent.images.store import ImageStore
ImageStore(Path(sys.argv[1])).load(Path(sys.argv[2]))
"""


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serve_registry(Registry()) as served:
        yield served


def load(store: ImageStore, tmp_path: Path, *layers: bytes, name: str = "flotilla.dev/sample:v1") -> None:
    store.load(write_archive(tmp_path / "archive.tar", {name: make_image(layers)}))


class Mounted:
    """A root file system of an image, unmounted at the end of a ``with`` block."""

    def __init__(self, store: ImageStore, directory: Path, name: str = "flotilla.dev/sample:v1") -> None:
        image = store.find(name)
        assert image is not None
        self._layers, self._directory = image.layers, directory

    def __enter__(self) -> Path:
        return mount_rootfs(self._layers, directory=self._directory)

    def __exit__(self, *_: object) -> None:
        unmount_rootfs(self._directory)


def test_loaded_image_is_found_and_runs(store: ImageStore, tmp_path: Path) -> None:
    """An image loaded from an archive is found by IfNotPresent without any network, and its program runs."""
    load(store, tmp_path, layer(entry("bin", None), entry("bin/busybox", BUSYBOX)), layer(entry("etc/motd", b"hello")))
    image = asyncio.run(store.ensure("flotilla.dev/sample:v1", policy="IfNotPresent"))
    assert image.references == ("flotilla.dev/sample:v1",)
    assert len(image.layers) == 2
    with Mounted(store, tmp_path / "c") as root:
        shown = subprocess.run(["chroot", root, "/bin/busybox", "cat", "/etc/motd"], capture_output=True, check=True)
        assert shown.stdout == b"hello"


async def test_short_names_meet_their_long_form(store: ImageStore, tmp_path: Path) -> None:
    """A short name in an archive and in a pod mean the same image, as Docker's normalization says."""
    load(store, tmp_path, layer(entry("a", b"1")), name="sample:v1")
    for name in ("sample:v1", "docker.io/library/sample:v1", "library/sample:v1"):
        assert (await store.ensure(name, policy="Never")).references == ("docker.io/library/sample:v1",)


def test_docker_archive_is_loaded(store: ImageStore, tmp_path: Path) -> None:
    """An archive in Docker's format, made by skopeo, loads under the name it carries."""
    source = write_archive(tmp_path / "oci.tar", {"x": make_image([layer(entry("a", b"1"))])})
    target = f"docker-archive:{tmp_path}/docker.tar:local/app:2"
    subprocess.run(["skopeo", "--insecure-policy", "copy", "-q", f"oci-archive:{source}:x", target], check=True)
    images = store.load(tmp_path / "docker.tar")
    assert [image.references for image in images] == [("docker.io/local/app:2",)]


def test_several_images_in_one_archive(store: ImageStore, tmp_path: Path) -> None:
    """Every image of an archive is loaded, and layers that they share are unpacked once."""
    base = layer(entry("base", b"x"))
    images = {f"app:{tag}": make_image([base, layer(entry("tag", tag.encode()))]) for tag in ("one", "two")}
    loaded = store.load(write_archive(tmp_path / "two.tar", images))
    assert {image.layers[0] for image in loaded} == {loaded[0].layers[0]}
    assert loaded[0].layers[1] != loaded[1].layers[1]


def test_layers_apply_whiteouts(store: ImageStore, tmp_path: Path) -> None:
    """A whiteout hides one name of the layers below and an opaque directory hides all of them."""
    lower = layer(
        entry("d", None), entry("d/gone", b"1"), entry("d/kept", b"2"), entry("o", None), entry("o/old", b"3")
    )
    upper = layer(entry("d/.wh.gone"), entry("o", None), entry("o/.wh..wh..opq"), entry("o/new", b"4"))
    load(store, tmp_path, lower, upper)
    with Mounted(store, tmp_path / "c") as root:
        assert os.listdir(root / "d") == ["kept"]
        assert os.listdir(root / "o") == ["new"]


def test_whiteout_spares_the_same_layer(store: ImageStore, tmp_path: Path) -> None:
    """What a layer itself brings under a name that it deletes below stays, in whichever order they come."""
    lower = layer(entry("f", b"old"), entry("d", None), entry("d/old", b""))
    upper = layer(entry("f", b"new"), entry(".wh.f"), entry(".wh.d"), entry("d/new", b""))
    load(store, tmp_path, lower, upper)
    with Mounted(store, tmp_path / "c") as root:
        assert (root / "f").read_bytes() == b"new"
        assert os.listdir(root / "d") == ["new"]


def test_attributes_survive(store: ImageStore, tmp_path: Path) -> None:
    """Owner, set-id bits, times, links and capabilities arrive as the layer has them."""
    capability = b"\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00".decode()
    content = layer(
        entry("tool", b"x", mode=0o4755, uid=7, gid=8, mtime=1000),
        entry("hard", b"", type=tarfile.LNKTYPE, linkname="tool"),
        entry("soft", b"", type=tarfile.SYMTYPE, linkname="/tool"),
        entry("ping", b"y", pax_headers={"SCHILY.xattr.security.capability": capability}),
        entry("tmp", None, mode=0o1777),
    )
    load(store, tmp_path, content)
    with Mounted(store, tmp_path / "c") as root:
        tool = (root / "tool").stat()
        assert (stat.S_IMODE(tool.st_mode), tool.st_uid, tool.st_gid, tool.st_mtime) == (0o4755, 7, 8, 1000)
        assert (root / "hard").read_bytes() == b"x"
        assert (root / "soft").readlink() == Path("/tool")
        assert os.getxattr(root / "ping", "security.capability") == capability.encode()
        assert stat.S_IMODE((root / "tmp").stat().st_mode) == 0o1777


def test_parents_come_from_below(store: ImageStore, tmp_path: Path) -> None:
    """A directory that a layer leaves out keeps its mode from below, and a link stays the link it is."""
    lower = layer(
        entry("tmp", None, mode=0o1777, uid=5),
        entry("usr/lib", None),
        entry("lib", b"", type=tarfile.SYMTYPE, linkname="usr/lib"),
    )
    load(store, tmp_path, lower, layer(entry("tmp/x", b"1"), entry("lib/libc", b"2")))
    with Mounted(store, tmp_path / "c") as root:
        status = (root / "tmp").stat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o1777, 5)
        assert (root / "lib").readlink() == Path("usr/lib")
        assert (root / "usr/lib/libc").read_bytes() == b"2"


def test_hard_link_into_the_layer_below(store: ImageStore, tmp_path: Path) -> None:
    """A hard link to a file of a lower layer brings that file's content up."""
    load(store, tmp_path, layer(entry("a", b"1")), layer(entry("b", b"", type=tarfile.LNKTYPE, linkname="a")))
    with Mounted(store, tmp_path / "c") as root:
        assert (root / "b").read_bytes() == b"1"


def test_wrong_diff_id_is_refused(store: ImageStore, tmp_path: Path) -> None:
    """A layer whose content is not what the image's configuration names is refused."""
    forged = make_image([layer(entry("a", b"1"))], compress=True, diff_ids=[f"sha256:{'0' * 64}"])
    with pytest.raises(ImagePullError, match=r"does not have the digest|does not match"):
        store.load(write_archive(tmp_path / "forged.tar", {"forged": forged}))


def test_zstd_layers(store: ImageStore, tmp_path: Path) -> None:
    """A layer compressed with zstd is unpacked."""
    plain = make_image([layer(entry("a", b"zstd"))])
    write_archive(tmp_path / "plain.tar", {"x": plain})
    source, target = f"oci-archive:{tmp_path}/plain.tar:x", f"oci-archive:{tmp_path}/zstd.tar:app:z"
    flags = ["--dest-compress-format", "zstd"]
    subprocess.run(["skopeo", "--insecure-policy", "copy", "-q", *flags, source, target], check=True)
    store.load(tmp_path / "zstd.tar")
    with Mounted(store, tmp_path / "c", "app:z") as root:
        assert (root / "a").read_bytes() == b"zstd"


async def test_pull_from_a_registry_once(store: ImageStore, registry: Registry) -> None:
    """Many pods that ask for one image at once cause one pull, and the next ask none at all."""
    registry.push("team/app", "v1", make_image([layer(entry("a", b"1"))], config={"Cmd": ["/a"]}, compress=True))
    name = f"{registry.address}/team/app:v1"
    images = await asyncio.gather(*(store.ensure(name, policy="IfNotPresent") for _ in range(20)))
    assert {image.digest for image in images} == {images[0].digest}
    assert images[0].config.cmd == ("/a",)
    assert sum("/manifests/" in path for path in registry.requests) <= 2
    registry.requests.clear()
    await store.ensure(name, policy="IfNotPresent")
    by_digest = f"{registry.address}/team/app@{images[0].digest}"
    assert (await store.ensure(by_digest, policy="IfNotPresent")).id == images[0].id
    assert registry.requests == []


async def test_always_follows_a_moved_tag(store: ImageStore, registry: Registry, tmp_path: Path) -> None:
    """Always finds what the tag means now, fetches no layer twice, and the old image stays until it is pruned."""
    base = layer(entry("base", b"1"))
    registry.push("app", "v1", make_image([base], compress=True))
    name = f"{registry.address}/app:v1"
    first = await store.ensure(name, policy="Always")
    registry.push("app", "v1", make_image([base, layer(entry("more", b"2"))], compress=True))
    registry.requests.clear()
    second = await store.ensure(name, policy="Always")
    assert second.layers[0] == first.layers[0]
    assert len(second.layers) == 2
    assert {image.references for image in store.images()} == {(), (f"{registry.address}/app:v1",)}
    store.hold([name])
    assert store.reclaim().references == (first.digest,)


async def test_credentials(tmp_path: Path) -> None:
    """A private image needs a matching credential; a wrong one among several is passed over."""
    with serve_registry(Registry(user="ann", password="secret")) as registry:
        registry.push("private", "v1", make_image([layer(entry("a", b"1"))], compress=True))
        store = ImageStore(tmp_path / "images")
        name = f"{registry.address}/private:v1"
        with pytest.raises(ImagePullError) as refusal:
            await store.ensure(name, policy="IfNotPresent")
        assert refusal.value.reason == "ErrImagePull"
        assert "unauthorized" in refusal.value.message
        wrong, right = (RegistryAuth(registry.address, "ann", password) for password in ("no", "secret"))
        other = RegistryAuth("registry.example", "ann", "secret")
        assert (await store.ensure(name, policy="IfNotPresent", auths=[other, wrong, right])).references == (name,)
        await store.close()


@pytest.mark.parametrize(
    ("reference", "policy", "reason", "words"),
    [
        ("absent:v1", "Never", "ErrImageNeverPull", "not present with pull policy of Never"),
        ("UPPER/Case", "IfNotPresent", "InvalidImageName", "lower case"),
        ("127.0.0.1:1/none:v1", "IfNotPresent", "ErrImagePull", "connection refused"),
    ],
)
async def test_reasons(store: ImageStore, reference: str, policy: str, reason: str, words: str) -> None:
    """A failed pull has the kubelet's reason and a message that says what was wrong."""
    with pytest.raises(ImagePullError, match=words) as failure:
        await store.ensure(reference, policy=policy)  # type: ignore[arg-type]
    assert failure.value.reason == reason


async def test_unknown_tag(store: ImageStore, registry: Registry) -> None:
    """A tag that the registry does not have fails as ErrImagePull in the registry's words."""
    with pytest.raises(ImagePullError, match="manifest unknown") as failure:
        await store.ensure(f"{registry.address}/app:none", policy="IfNotPresent")
    assert failure.value.reason == "ErrImagePull"


async def test_damaged_blob_is_fetched_again(store: ImageStore, registry: Registry, tmp_path: Path) -> None:
    """A blob that was damaged on disk is found out by its digest and fetched anew by the same pull."""
    image = make_image([layer(entry("a", b"1"))], compress=True)
    registry.push("app", "v1", image)
    digest = next(digest for digest, content in image.blobs.items() if content[:2] == b"\x1f\x8b")
    blob = tmp_path / "images" / "blobs" / "sha256" / digest.removeprefix("sha256:")
    blob.write_bytes(b"\x1f\x8bdamaged")
    name = f"{registry.address}/app:v1"
    assert await store.ensure(name, policy="IfNotPresent")


def test_two_processes_load_at_once(store: ImageStore, tmp_path: Path) -> None:
    """Processes that load into one store at the same time lose nothing of each other's."""
    commands = []
    for number in range(4):
        image = make_image([layer(entry("shared", b"x" * 100_000)), layer(entry(str(number), b"y"))])
        archive = write_archive(tmp_path / f"{number}.tar", {f"app:{number}": image})
        commands.append(subprocess.Popen([sys.executable, "-c", LOAD, tmp_path / "images", archive]))
    assert [command.wait() for command in commands] == [0] * 4
    assert {image.references for image in store.images()} == {
        (f"docker.io/library/app:{number}",) for number in range(4)
    }
    assert len(list((tmp_path / "images" / "layers").iterdir())) == 5


def test_hundred_layers_mount(store: ImageStore, tmp_path: Path) -> None:
    """A stack of 100 layers in a deep directory mounts, past the kernel's 4 KiB of options."""
    deep = tmp_path.joinpath(*["deep" * 10] * 3)
    deep_store = ImageStore(deep / "images")
    image = make_image([layer(entry(f"f{number}", b"x")) for number in range(100)])
    deep_store.load(write_archive(tmp_path / "tall.tar", {"tall": image}))
    with Mounted(deep_store, deep / "c", "tall") as root:
        assert len(os.listdir(root)) == 100


def test_mounting_twice_is_mounting_once(store: ImageStore, tmp_path: Path) -> None:
    """Mounting again returns the same root with what was written, and one unmount removes it all."""
    load(store, tmp_path, layer(entry("a", b"1")))
    image = store.find("flotilla.dev/sample:v1")
    assert image is not None
    root = mount_rootfs(image.layers, directory=tmp_path / "c")
    (root / "written").write_text("x")
    assert mount_rootfs(image.layers, directory=tmp_path / "c") == root
    assert (root / "written").exists()
    unmount_rootfs(tmp_path / "c")
    unmount_rootfs(tmp_path / "c")
    assert not (tmp_path / "c").exists()
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"not a tar", "could not be opened|truncated|invalid"), (layer(entry("x", b"")), "neither an OCI nor a Docker")],
)
def test_what_is_no_archive(store: ImageStore, tmp_path: Path, content: bytes, words: str) -> None:
    """A file that holds no image is refused with the reason."""
    (tmp_path / "bad.tar").write_bytes(content)
    with pytest.raises(ImagePullError, match=words):
        store.load(tmp_path / "bad.tar")


def test_nameless_archive_needs_a_name(store: ImageStore, tmp_path: Path) -> None:
    """An archive without names is refused, and taken under a name that is given."""
    archive = write_archive(tmp_path / "nameless.tar", {"": make_image([layer(entry("a", b"1"))])})
    with pytest.raises(ImagePullError, match="carries no name"):
        store.load(archive)
    assert store.load(archive, reference="given:v1")[0].references == ("docker.io/library/given:v1",)


def test_truncated_layer_is_refused(tmp_path: Path) -> None:
    """A layer that ends in the middle of a file is refused."""
    whole = layer(entry("a", bytes(100_000)))
    store = ImageStore(tmp_path / "images")
    with pytest.raises(ImagePullError, match=r"unexpected end|truncated"):
        load(store, tmp_path, whole[:50_000])
