"""Whether this machine can give pods users of their own: tried out once, by doing what a pod's start does.

It takes user namespaces (which administrators can forbid), file systems that can translate owners (Linux 6.3 for
tmpfs, 5.19 for the layers of overlayfs), a /proc and a /sys that nothing is mounted over (else the kernel gives no
other namespace its own), and directories that the pod's root, a nobody on the node, may pass through.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import stat
import subprocess
import threading
from pathlib import Path

from nodeagent.images.rootfs import mount_rootfs, unmount_rootfs
from nodeagent.isolation.mounts import require_mappable
from nodeagent.isolation.namespaces import own_namespaces
from nodeagent.isolation.ranges import FIRST_ID, PodUsers

logger = logging.getLogger(__name__)

_SYSTEM_TIMEOUT_S = 10.0
_SYSTEM = "mount -t proc proc /proc && mount -t sysfs sysfs /sys"


class NodeSupport:
    """What can be done below ``data_dir`` (images, root file systems, volumes) and ``run_dir`` (files of pods)."""

    def __init__(self, data_dir: Path, run_dir: Path) -> None:
        self._data_dir, self._run_dir = data_dir, run_dir
        self._guard = threading.Lock()
        self._namespace = -1
        self._problem: str | None = None

    def problem(self) -> str:
        """Why this node can't, empty if it can. The first call takes 30 ms."""
        with self._guard:
            if self._problem is None:
                self._problem = self._try_out()
                if self._problem:
                    logger.warning("user_namespaces_unavailable", extra={"reason": self._problem})
            return self._problem

    def volume_problem(self, path: Path) -> str:
        """Why owners can't be translated in what is mounted at or below ``path``."""
        return _mapping_problem(path, self._namespace, with_mounts=True)

    def _try_out(self) -> str:
        if problem := _closed_directory(self._data_dir / "rootfs"):
            return problem
        try:
            with own_namespaces(FIRST_ID) as found:
                self._namespace = os.open(found / "user", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            return str(error.strerror)
        for directory in (self._run_dir, self._data_dir):
            # What pods of an agent before have mounted below (namespaces, root file systems) is nothing to translate.
            if problem := _mapping_problem(directory, self._namespace, with_mounts=False):
                return problem
        return self._overlay_problem() or _system_problem()

    def _overlay_problem(self) -> str:
        users = PodUsers(FIRST_ID, f"/proc/self/fd/{self._namespace}")
        directory = self._data_dir / "trial"
        try:
            unmount_rootfs(directory / "rootfs")
            layer = directory / "layers" / "0"
            layer.mkdir(parents=True, exist_ok=True)
            mount_rootfs([layer], directory=directory / "rootfs", users=users)
        except OSError as error:
            return f"overlayfs can't translate owners here: {error}"
        finally:
            unmount_rootfs(directory / "rootfs")
            shutil.rmtree(directory, ignore_errors=True)
        return ""


def _closed_directory(directory: Path) -> str:
    """Which directory on the way to ``directory`` lets only its owner pass."""
    for each in reversed((directory, *directory.parents)):
        if each.exists() and not each.stat().st_mode & stat.S_IXOTH:
            return f"directory {each} can't be passed by other users (chmod o+x)"
    return ""


def _mapping_problem(path: Path, namespace: int, *, with_mounts: bool) -> str:
    try:
        require_mappable(path, namespace, with_mounts=with_mounts)
    except OSError as error:
        if error.errno != errno.EINVAL:
            return f"{path}: {error.strerror}"
        return f"kernel {os.uname().release} can't translate owners in the file system of {path}"
    return ""


def _system_problem() -> str:
    unshare = ("unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--mount")
    try:
        done = subprocess.run(
            [*unshare, "sh", "-c", _SYSTEM],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SYSTEM_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"cannot try /proc and /sys: {error}"
    return f"/proc and /sys can't be had in a user namespace: {done.stderr.strip()}" if done.returncode else ""
