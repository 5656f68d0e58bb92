"""``flotilla image`` on a node's store, with and without an agent that uses it, and with other tools' archives."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import typer.testing

from flotilla.cli.failures import CommandError
from flotilla.cli.image import app
from nodeagent.images.store import ImageStore
from tests.directories import passable_directory
from tests.integration.agent_lab import Bench, is_ready, main_status, pod_of, running_bench
from tests.integration.image_lab import entry, layer, make_image, write_archive
from tests.integration.registry_lab import PASSWORD, USER, running_registry, trusted

pytestmark = pytest.mark.root

BUSYBOX = Path("/bin/busybox")
CAPABILITY = b"\x01\x00\x00\x02\xff\x20\x00\x00" + bytes(12)
Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A command on the node below the test's directory; a failure is raised, what is printed returned."""

    def invoke(*arguments: str | Path) -> str:
        words = [*map(str, arguments), "--node-dir", str(tmp_path / "node")]
        result = typer.testing.CliRunner().invoke(app, words)
        if result.exception is not None:
            raise result.exception
        return result.output

    return invoke


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "node/images")


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """A root file system with all that may be lost on the way."""
    root = tmp_path / "rootfs"
    for name in ("bin", "etc", "tmp"):
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    shutil.copy(BUSYBOX, root / "bin/sh")
    os.link(root / "bin/sh", root / "bin/read")
    (root / "link").symlink_to("/etc")
    (root / "etc/owned").write_text("x")
    os.chown(root / "etc/owned", 1000, 2000)
    (root / "etc/owned").chmod(0o4755)
    os.setxattr(root / "etc/owned", "security.capability", CAPABILITY)
    os.utime(root / "etc/owned", (5, 5))
    with (root / "etc/sparse").open("wb") as file:
        file.truncate(64 << 20)
    return root


def inspect(source: str, *flags: str) -> dict[str, Any]:
    """What skopeo says of an image."""
    shown = subprocess.run(["skopeo", "inspect", *flags, source], check=True, capture_output=True).stdout
    found: dict[str, Any] = json.loads(shown)
    return found


def failure(run: Run, *arguments: str | Path) -> str:
    with pytest.raises(CommandError) as refusal:
        run(*arguments)
    return str(refusal.value)


def test_build_of_a_directory(run: Run, store: ImageStore, rootfs: Path) -> None:
    """A directory becomes an image that has it all, and says what to run; the same again is the same image."""
    options = ("--entrypoint", "/bin/sh -c", "--cmd", "'exit 3'", "--env", "A=b c", "--port", "80", "--workdir", "/tmp")
    built = run("build", rootfs, "-t", "made:v1", *options, "--label", "k=v=w")
    assert built.startswith("Built docker.io/library/made:v1, ")
    first = store.find("made:v1")
    assert first is not None
    assert first.config.entrypoint == ("/bin/sh", "-c")
    assert (first.config.cmd, first.config.env, first.config.exposed_ports) == (("exit 3",), ("A=b c",), ("80/tcp",))
    made = first.layers[0]
    owned = (made / "etc/owned").stat()
    assert (owned.st_uid, owned.st_gid, owned.st_mode & 0o7777, owned.st_mtime) == (1000, 2000, 0o4755, 5)
    assert os.getxattr(made / "etc/owned", "security.capability") == CAPABILITY
    assert (made / "bin/sh").stat().st_ino == (made / "bin/read").stat().st_ino
    assert (made / "link").readlink() == Path("/etc")
    assert (made / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert (made / "etc/sparse").stat().st_size == 64 << 20
    assert (made / "etc/sparse").stat().st_blocks == 0
    run("build", rootfs, "-t", "made:v2", *options, "--label", "k=v=w")
    assert {image.references for image in store.images()} == {
        ("docker.io/library/made:v1", "docker.io/library/made:v2")
    }


def test_build_of_a_containerfile(run: Run, store: ImageStore, rootfs: Path, tmp_path: Path) -> None:
    """A Containerfile is built by buildah, on an image that only this node has, and nothing of buildah's stays."""
    run("build", rootfs, "-t", "base:v1", "--rootfs")
    context = tmp_path / "context"
    context.mkdir()
    (context / "file").write_text("from the context")
    lines = ["FROM base:v1 AS first", "ARG WHAT", "COPY file /file", 'RUN ["/bin/sh", "-c", "echo $WHAT > /ran"]']
    (context / "Containerfile").write_text("\n".join([*lines, 'CMD ["/bin/sh"]', "FROM first", "RUN exit 1"]))
    run("build", context, "-t", "app:v1", "--build-arg", "WHAT=done", "--target", "first")
    image = store.find("app:v1")
    base = store.find("base:v1")
    assert image is not None
    assert base is not None
    assert image.layers[0] == base.layers[0]
    assert (image.layers[-1] / "ran").read_text() == "done\n"
    assert (image.layers[-1] / "file").read_text() == "from the context"
    assert image.config.cmd == ("/bin/sh",)
    (context / "wrong").write_text("FROM scratch\nCOPY absent /\n")
    broken = failure(run, "build", context, "-t", "app:v2", "-f", context / "wrong")
    assert "buildah build-using-dockerfile ended with status" in broken
    assert list((tmp_path / "node/images/tmp").iterdir()) == []


def test_wrong_builds(run: Run, rootfs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options that do not go together, and a buildah that is not there, are told with the remedy."""
    assert "is no directory: give the root file system" in failure(run, "build", tmp_path / "none", "-t", "a")
    assert "--env A: write NAME=VALUE" in failure(run, "build", rootfs, "-t", "a", "--env", "A")
    assert "--target takes a Containerfile" in failure(run, "build", rootfs, "-t", "a", "--target", "x")
    assert "lower case" in failure(run, "build", rootfs, "-t", "UPPER")
    (rootfs / "Dockerfile").write_text("FROM scratch\n")
    assert "says what the image runs: leave out" in failure(run, "build", rootfs, "-t", "a", "--cmd", "x")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "install the package buildah" in failure(run, "build", rootfs, "-t", "a")
    assert "install the package skopeo" in failure(run, "build", rootfs, "-t", "a", "--rootfs")


def test_load_and_save(run: Run, store: ImageStore, tmp_path: Path) -> None:
    """What is saved is read by skopeo in either form, and loads again as the same images under the same names."""
    images = {f"app:{tag}": make_image([layer(entry(tag, b"x" * 9000))], compress=True) for tag in ("one", "two")}
    assert "Loaded docker.io/library/app:two" in run("load", write_archive(tmp_path / "in.tar", images))
    before = {image.id: image.references for image in store.images()}
    oci, docker = tmp_path / "oci.tar", tmp_path / "docker.tar"
    run("save", "app:one", "app:two", "-o", oci)
    run("save", "app:one", "-o", docker, "--format", "docker-archive")
    assert inspect(f"oci-archive:{oci}:docker.io/library/app:two")["Layers"]
    assert inspect(f"docker-archive:{docker}:docker.io/library/app:one")["Layers"]
    unpacked = tmp_path / "layout"
    unpacked.mkdir()
    subprocess.run(["tar", "-xf", oci, "-C", unpacked], check=True)
    for source in (oci, unpacked):
        run("prune", "--all")
        assert store.images() == []
        run("load", source)
        assert {image.id: image.references for image in store.images()} == before
    run("prune", "--all")
    run("load", docker, "-t", "renamed:v1")
    assert run("ls", "-o", "name") == "docker.io/library/renamed:v1\n"


def test_save_and_load_through_a_pipe(run: Run, tmp_path: Path) -> None:
    """An image goes from one node to another without a file in between."""
    run("load", write_archive(tmp_path / "in.tar", {"app:one": make_image([layer(entry("x", b"1"))])}))
    program = [str(Path(sys.executable).with_name("flotilla")), "image"]
    here, other = str(tmp_path / "node"), str(tmp_path / "other")
    with subprocess.Popen([*program, "save", "app:one", "--node-dir", here], stdout=subprocess.PIPE) as one:
        command = [*program, "load", "-", "--node-dir", other]
        loaded = subprocess.run(command, check=True, stdin=one.stdout, capture_output=True)
    assert loaded.stdout == b"Loaded docker.io/library/app:one\n"
    assert ImageStore(Path(other, "images")).find("app:one") is not None


def test_what_cannot_be_saved_or_loaded(run: Run, store: ImageStore, tmp_path: Path) -> None:
    """Failures name what was asked for and the remedy, and leave no file behind."""
    run("load", write_archive(tmp_path / "in.tar", {"app:one": make_image([layer(entry("x", b"1"))])}))
    assert "no image nope on this node: flotilla image ls" in failure(run, "save", "nope", "-o", tmp_path / "out")
    assert "--format zip: give oci-archive or" in failure(run, "save", "app:one", "--format", "zip")
    assert "does not exist" in failure(run, "load", tmp_path / "nowhere.tar")
    assert "is no OCI image layout: it has no index.json" in failure(run, "load", tmp_path)
    image = store.find("app:one")
    assert image is not None
    store.layout.blob(store.blobs_of(image)[-1]).write_text("damaged")
    assert "is damaged on disk" in failure(run, "save", "app:one", "-o", tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


def test_list_remove_prune(run: Run, store: ImageStore, tmp_path: Path) -> None:
    """The table and the JSON say what there is; removing and pruning say what went and what it freed."""
    for tag, pin in (("one", "--pin"), ("two", "--no-pin"), ("three", "--no-pin")):
        archive = write_archive(tmp_path / "in.tar", {f"app:{tag}": make_image([layer(entry(tag, b"x" * 5000))])})
        run("load", archive, pin)
    header, *rows = run("ls").splitlines()
    assert header.split() == ["REFERENCE", "IMAGE", "ID", "SIZE", "AGE", "IN", "USE", "PINNED"]
    assert [row.split()[-1] for row in rows] == ["yes", "no", "no"]
    described = json.loads(run("ls", "-o", "json"))
    assert {each["names"][0]: each["pinned"] for each in described}["docker.io/library/app:one"] is True
    assert "--output xml: give json or name" in failure(run, "ls", "-o", "xml")
    assert "Removed docker.io/library/app:three\nFreed " in run("rm", "app:three")
    assert "no image app:three on this node" in failure(run, "rm", "app:three")
    pruned = run("prune")
    assert pruned.startswith("Removed docker.io/library/app:two\nFreed ")
    assert "Freed 0 B" not in pruned
    identity = store.images()[0].id.removeprefix("sha256:")[:12]
    assert "Removed docker.io/library/app:one" in run("rm", identity)
    assert run("prune", "--all") == "Freed 0 B\n"


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    with passable_directory() as directory:
        async with running_bench(directory) as made:
            yield made


async def test_beside_a_running_agent(run: Run, store: ImageStore, bench: Bench, rootfs: Path) -> None:
    """What the agent's pods run on is neither pruned nor removed without force, and a pod starts on what was loaded."""
    node = bench.node(images=store)
    run("build", rootfs, "-t", "made:v1", "--no-pin")
    worker = node.add(pod_of("read x", image="made:v1", imagePullPolicy="Never", stdin=True))
    await node.reports.until(lambda: is_ready(worker))
    assert json.loads(run("ls", "-o", "json"))[0]["inUse"] is True
    assert run("prune") == "Freed 0 B\n"
    refused = failure(run, "rm", "made:v1")
    assert "made:v1 is in use by container " in refused
    assert "use --force" in refused
    run("rm", "made:v1", "--force")
    assert "running" in main_status(worker)["state"]
    assert json.loads(run("ls", "-o", "json")) == []


def test_pull(run: Run, tmp_path: Path) -> None:
    """A private image is pulled with a user's password or a file of credentials; without, the refusal says why."""
    with running_registry(tmp_path / "registry") as registry:
        name = registry.push("team/app:v1", make_image([layer(entry("a", b"1"))], compress=True))
        authfile = tmp_path / "auth.json"
        authfile.write_text(json.dumps({"auths": {registry.address: {"username": USER, "password": PASSWORD}}}))
        with trusted(registry):
            assert "authentication required" in failure(run, "pull", name)
            pulled = run("pull", name, "--authfile", authfile)
            assert pulled.startswith(f"Pulled {registry.address}/team/app@sha256:")
            assert "which was here" in run("pull", name, "--missing")
            assert "Pulled" in run("pull", name, "--creds", f"{USER}:{PASSWORD}")
        (registry.directory / "empty").write_text("{}")
        assert "holds no credential: skopeo login" in failure(
            run, "pull", name, "--authfile", registry.directory / "empty"
        )
