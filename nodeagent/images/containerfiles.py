"""Images made of a Containerfile, by buildah where it is installed.

Each build has a storage of its own, which goes with it: nothing of buildah's stays on the node. Base images that the
node has are handed to it, others it pulls.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from nodeagent.images.building import BuildError
from nodeagent.images.image import Image, ImagePullError
from nodeagent.images.reference import InvalidReferenceError, parse_reference
from nodeagent.images.saving import write_layout
from nodeagent.images.store import ImageStore
from nodeagent.images.transport import TransportError

NAMES = ("Containerfile", "Dockerfile")
_FROM = re.compile(r"^\s*FROM\s+(?:--\S+\s+)*(\S+)", re.IGNORECASE | re.MULTILINE)


def containerfile_in(context: Path) -> Path | None:
    """The file that says how to build ``context``, if there is one."""
    return next((context / name for name in NAMES if (context / name).is_file()), None)


def build_from_containerfile(
    store: ImageStore,
    context: Path,
    name: str,
    *,
    containerfile: Path,
    arguments: Sequence[str] = (),
    stage: str = "",
    pinned: bool = True,
) -> Image:
    """An image built as ``containerfile`` says; buildah's words go to standard error. Raises :class:`BuildError`."""
    if shutil.which("buildah") is None:
        raise BuildError(
            f"{containerfile} takes buildah, which is not installed: install the package buildah, "
            "or build from a directory that is the root file system (--rootfs)"
        )
    reference = str(parse_reference(name))
    with store.scratch.open("build") as directory:
        buildah = _Buildah(directory)
        for base in _local_bases(store, containerfile):
            buildah.take(store, base)
        flags = [f"--build-arg={argument}" for argument in arguments]
        flags += [f"--target={stage}"] if stage else []
        build = ["build-using-dockerfile", "--isolation=chroot", "--pull=false", "--format=oci", *flags]
        buildah.run([*build, "--tag", reference, "--file", str(containerfile), str(context)])
        archive = directory / "built.tar"
        buildah.run(["push", "--quiet", reference, f"oci-archive:{archive}"])
        try:
            return store.load(archive, reference=name, pinned=pinned)[0]
        except ImagePullError as error:
            raise BuildError(error.message) from error


class _Buildah:
    """buildah with a storage below ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._storage, self._run = directory / "storage", directory / "run"

    def run(self, arguments: Sequence[str]) -> None:
        places = ["--root", str(self._storage), "--runroot", str(self._run), "--storage-driver=vfs"]
        environment = os.environ | {"TMPDIR": str(self._directory)}
        finished = subprocess.run(["buildah", *places, *arguments], env=environment, stdout=2, check=False)
        if finished.returncode != 0:
            raise BuildError(f"buildah {arguments[0]} ended with status {finished.returncode}; it says why above")

    def take(self, store: ImageStore, image: Image) -> None:
        """Make an image of the node's one of buildah's, under its names."""
        with store.scratch.open("base") as directory:
            layout = write_layout(store, image, directory)
            for name in image.references:
                if "@" not in name:
                    place = f"[vfs@{self._storage}+{self._run}]"
                    try:
                        store.skopeo.copy_out(layout, f"containers-storage:{place}{name}")
                    except TransportError as error:
                        raise BuildError(f"handing {name} to buildah: {error}") from error


def _local_bases(store: ImageStore, containerfile: Path) -> list[Image]:
    """The images of this node that the file builds on."""
    found: dict[str, Image] = {}
    for name in _FROM.findall(containerfile.read_text(errors="replace")):
        try:
            image = store.find(str(parse_reference(name)))
        except InvalidReferenceError:
            continue
        if image is not None:
            found[image.digest] = image
    return list(found.values())
