"""A container's root file system: an image's layers, read-only, under a private writable directory.

Mounting is one ``mount(2)`` call in this process. The kernel takes 4 KiB of options; layer directories have short
names, and a stack that still does not fit is named through ``/proc/self/fd``, which holds for 100 layers wherever the
data directory lies. ``volatile`` (Linux 5.10) spares the flush of a writable layer that no container outlives.

For a pod with users of its own the layers are stacked from a mount that translates their owners, which is gone again
once overlayfs holds it. The writable directory is not translated: what the container writes there has the node's ids of
its users on disk, so that no program it leaves behind is ever root's, and no other pod reads it later.

A lease file beside the layers tells the garbage collector, in whatever process and mount namespace it runs, which
layers a root file system stands on.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nodeagent.isolation.mounts import bind
from nodeagent.isolation.ranges import RANGE_SIZE, PodUsers
from nodeagent.mounts import mount, unmount

_OPTION_LIMIT_BYTES = 4095


class RootfsError(OSError):
    """The kernel refused to mount or unmount a root file system."""


def mount_rootfs(layers: Sequence[Path], *, directory: Path, users: PodUsers | None = None) -> Path:
    """Stack ``layers`` (siblings, lowest first) under ``directory/upper`` and return ``directory/merged``.

    With ``users`` their owners are those of the pod. Idempotent: an existing mount is returned as it is, and what a
    container wrote before stays. Raises OSError (:class:`RootfsError` for overlayfs itself).
    """
    upper, work, merged = directory / "upper", directory / "work", directory / "merged"
    if merged.exists() and os.path.ismount(merged):
        return merged
    directory.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    directory.mkdir(mode=0o700, exist_ok=True)
    if users:
        # The pod's root, and no one else, has to come by here before it is in its own root file system.
        os.chown(directory, 0, users.first_id)
        directory.chmod(0o710)
    _write_lease(layers, directory)
    if not upper.exists():
        _make_upper(upper, layers[-1], first_id=users.first_id if users else 0)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(mode=0o700)
    merged.mkdir(mode=0o700, exist_ok=True)
    with _owned_layers(layers, directory / "lower", users) as owned:
        _mount_overlay(owned, upper=upper, work=work, merged=merged)
    return merged


def unmount_rootfs(directory: Path) -> None:
    """Unmount and remove all of ``directory``, the container's writes included; idempotent."""
    merged = directory / "merged"
    try:
        unmount(merged)
    except OSError as error:
        raise RootfsError(error.errno, error.strerror, str(merged)) from error
    unmount(directory / "lower")
    lease = directory / "lease"
    if lease.is_symlink():
        lease.readlink().unlink(missing_ok=True)
    shutil.rmtree(directory, ignore_errors=True)


def leased_stacks(leases: Path) -> dict[str, tuple[str, ...]]:
    """Root file systems by their directories, with the names of the layer directories that each stands on.

    Drops leases whose holder is gone.
    """
    stacks: dict[str, tuple[str, ...]] = {}
    for lease in leases.iterdir():
        directory, *layers = lease.read_text().splitlines() or [""]
        if directory and Path(directory, "lease").is_symlink():
            stacks[directory] = tuple(layers)
        else:
            lease.unlink(missing_ok=True)
    return stacks


def _write_lease(layers: Sequence[Path], directory: Path) -> None:
    leases = layers[0].parent.parent / "leases"
    leases.mkdir(mode=0o700, exist_ok=True)
    lease = leases / hashlib.sha256(os.fsencode(directory)).hexdigest()[:32]
    link = directory / "lease"
    if not link.is_symlink():
        link.symlink_to(lease)
    staged = directory / "lease.new"
    staged.write_text("\n".join([str(directory), *(layer.name for layer in layers)]))
    staged.rename(lease)


@contextmanager
def _owned_layers(layers: Sequence[Path], mapped: Path, users: PodUsers | None) -> Iterator[Sequence[Path]]:
    """The layers as the pod's users see them: one mount of the directory that has them all, while overlayfs looks."""
    if users is None:
        yield layers
        return
    unmount(mapped)
    bind(layers[0].parent, mapped, users=users)
    try:
        yield [mapped / layer.name for layer in layers]
    finally:
        unmount(mapped)


def _make_upper(upper: Path, top_layer: Path, *, first_id: int) -> None:
    """The upper directory is the merged root, so it takes mode and owner from the image's own root."""
    status = top_layer.stat()
    staged = upper.with_name("upper.new")
    staged.mkdir(exist_ok=True)
    owner, group = (number if not first_id or number < RANGE_SIZE else 0 for number in (status.st_uid, status.st_gid))
    os.chown(staged, first_id + owner, first_id + group)
    staged.chmod(status.st_mode & 0o7777)
    staged.rename(upper)


def _mount_overlay(layers: Sequence[Path], *, upper: Path, work: Path, merged: Path) -> None:
    names = [os.fspath(layer) for layer in reversed(layers)]
    tail = f"upperdir={upper},workdir={work}"
    descriptor = -1
    if len(":".join(names)) + len(tail) + len("lowerdir=,volatile,") > _OPTION_LIMIT_BYTES:
        descriptor = os.open(layers[0].parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        names = [f"/proc/self/fd/{descriptor}/{layer.name}" for layer in reversed(layers)]
    options = f"lowerdir={':'.join(names)},{tail}"
    try:
        try:
            mount("flotilla", merged, "overlay", data=f"volatile,{options}")
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            mount("flotilla", merged, "overlay", data=options)
    except OSError as error:
        raise RootfsError(error.errno, f"overlay of {len(layers)} layers: {error.strerror}", str(merged)) from error
    finally:
        if descriptor >= 0:
            os.close(descriptor)
