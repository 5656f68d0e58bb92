"""Making and removing the pods' cgroup directories.

The tree is the kubelet's with its cgroupfs driver, below one parent of the agent:

    <parent>                                    all pods: what the node does not reserve for itself
    <parent>/pod<uid>/<container>               Guaranteed
    <parent>/burstable/pod<uid>/<container>     shares: the sum of its pods' requests
    <parent>/besteffort/pod<uid>/<container>    shares: 2
    <parent>/supervise/<pod uid>                conmon, outside of every pod's accounting

Version 1 keeps the tree once a hierarchy. The OCI runtime makes the container directories, and on version 1 also pod
directories in hierarchies that the agent has no limits for; removal therefore visits all of them. Every call blocks for
some hundred microseconds.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flotilla.api.workloads import pod_requests
from nodeagent.cgroups.layout import UNIFIED, CgroupError, CgroupLayout
from nodeagent.cgroups.limits import (
    DEFAULT_PIDS_LIMIT,
    MINIMUM_SHARES,
    UNLIMITED,
    Limits,
    container_limits,
    files_of,
    parent_of,
    pod_limits,
    shares_of,
)
from nodeagent.cgroups.stats import CgroupReader, CgroupStats, read_stats

logger = logging.getLogger(__name__)

LIMITED_CONTROLLERS = ("cpu", "cpuacct", "memory", "pids")
DELEGATED_CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids")


class PodCgroups:
    """The cgroups of this agent's pods, below ``parent`` (a name without slashes at its ends).

    ``whole`` bounds all pods together; None leaves the parent as it is.
    """

    def __init__(
        self,
        parent: str,
        layout: CgroupLayout,
        *,
        pids_limit: int = DEFAULT_PIDS_LIMIT,
        whole: Limits | None = None,
    ) -> None:
        self.layout = layout
        self._whole = whole
        self.parent = "/" + parent.strip("/")
        self._pids_limit = pids_limit
        self._paths: dict[str, str] = {}
        self._burstable_millis: dict[str, int] = {}

    def ensure_parents(self) -> None:
        """Make the agent's own directories. Raises CgroupError when the kernel refuses."""
        for path in (self.parent, f"{self.parent}/burstable", f"{self.parent}/besteffort", f"{self.parent}/supervise"):
            self._make(path)
        self._write(f"{self.parent}/besteffort", files_of(Limits(), self.layout.version), only="cpu")
        if self._whole is not None:
            self._bound_all(self._whole)

    def _bound_all(self, whole: Limits) -> None:
        """Hold all pods together to what the node does not reserve; pods that use more by now are left in peace."""
        for key, text in files_of(whole, self.layout.version).items():
            try:
                self._write(self.parent, {key: text})
            except CgroupError as error:
                logger.warning("reserve_not_enforced", extra={"error": str(error)})

    def reader_of_all(self) -> CgroupReader:
        """Reads what all pods together use. Raises OSError before ``ensure_parents``; must be closed by its owner."""
        return CgroupReader(self.layout, self.parent)

    def adopt_pod(self, uid: str, spec: Mapping[str, Any]) -> str:
        """The cgroup path of a pod without touching it; what later calls for ``uid`` refer to."""
        below = parent_of(spec)
        path = "/".join(part for part in (self.parent, below, f"pod{uid}") if part)
        self._paths[uid] = path
        if below == "burstable":
            self._burstable_millis[uid] = pod_requests(spec)["cpu"]
        return path

    def create_pod(self, uid: str, spec: Mapping[str, Any]) -> str:
        """Make the pod's cgroup with its limits; repeatable. Raises CgroupError."""
        path = self.adopt_pod(uid, spec)
        self._make(path)
        self._write(path, files_of(pod_limits(spec, pids=self._pids_limit), self.layout.version))
        if uid in self._burstable_millis:
            self._share_burstable()
        return path

    def resize(self, uid: str, spec: Mapping[str, Any], container_id: str, container: Mapping[str, Any]) -> None:
        """Put a running container's changed requests and limits, and its pod's, into force. Raises CgroupError.

        A container's quota can't be above its pod's on version 1, so the pod has none meanwhile. A memory limit below
        what is in use is refused: the kernel would either refuse it too or kill.
        """
        pod, path = self.adopt_pod(uid, spec), self.container_path(uid, container_id)
        limits = container_limits(container)
        self._require_room(path, limits)
        unbound = files_of(Limits(), self.layout.version)
        quotas = {key: text for key, text in unbound.items() if key[1] in ("cpu.cfs_quota_us", "cpu.max")}
        self._write(pod, quotas)
        self._write(path, self._in_order(path, limits))
        self._write(pod, files_of(pod_limits(spec, pids=self._pids_limit), self.layout.version))
        if uid in self._burstable_millis:
            self._share_burstable()

    def _require_room(self, path: str, limits: Limits) -> None:
        try:
            used = self.read_stats(path).memory_usage_bytes
        except OSError as error:
            raise CgroupError(f"cannot read cgroup {path}: {error}") from error
        if limits.memory_bytes != UNLIMITED and used > limits.memory_bytes:
            raise CgroupError(f"memory in use, {used} bytes, is above the new limit of {limits.memory_bytes}")

    def _in_order(self, path: str, limits: Limits) -> dict[tuple[str, str], str]:
        """A container's files; where memory and swap together are bounded, the larger of the two bounds comes first."""
        files = {key: text for key, text in files_of(limits, self.layout.version).items() if key[0] != "pids"}
        both, memory = ("memory", "memory.memsw.limit_in_bytes"), ("memory", "memory.limit_in_bytes")
        file = self.layout.directory("memory", path) / both[1] if self.layout.version == 1 else None
        if file is None or not file.exists():
            return files
        bound = int(file.read_text(encoding="ascii"))
        text = files.pop(memory)
        growing = limits.memory_bytes == UNLIMITED or limits.memory_bytes > bound
        return files | ({both: text, memory: text} if growing else {memory: text, both: text})

    def pod_path(self, uid: str) -> str:
        """The pod's own cgroup; it must have been created or adopted."""
        return self._paths[uid]

    def known_path(self, uid: str) -> str:
        """The pod's own cgroup, empty while it has none: before it is made, and once the pod has ended."""
        return self._paths.get(uid, "")

    def container_path(self, uid: str, container_id: str) -> str:
        """``linux.cgroupsPath`` of one container; the pod must have been created or adopted."""
        return f"{self._paths[uid]}/{container_id}"

    def supervise(self, uid: str, pid: int) -> None:
        """Move a conmon into the pod's supervision cgroup. Blocks for milliseconds; a process that is gone is fine.

        On version 1 only in the memory hierarchy, which is what counts and kills: every move waits for an RCU grace
        period, and three of them would cost a quarter of a container's start.
        """
        directory = self.layout.directory(self._tracking, f"{self.parent}/supervise/{uid}")
        directory.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(ProcessLookupError):
            (directory / "cgroup.procs").write_text(str(pid), encoding="ascii")

    @property
    def _tracking(self) -> str:
        """The hierarchy by which processes are found."""
        return UNIFIED if self.layout.version == 2 else "memory"

    def processes(self, path: str) -> list[int]:
        """Pids in the cgroup and everything below it."""
        found: list[int] = []
        for directory, _, _ in os.walk(self.layout.directory(self._tracking, path)):
            try:
                found.extend(map(int, (Path(directory) / "cgroup.procs").read_text(encoding="ascii").split()))
            except OSError:
                continue
        return found

    def kill(self, path: str) -> int:
        """SIGKILL all processes of the cgroup; how many were signalled."""
        pids = self.processes(path)
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return len(pids)

    def remove_pod(self, uid: str, spec: Mapping[str, Any]) -> None:
        """Remove the pod's cgroups, supervision included; what still holds a process is left and logged."""
        path = self._paths.pop(uid, None) or self.adopt_pod(uid, spec)
        self._paths.pop(uid, None)
        self._remove_tree(path)
        self._remove_tree(f"{self.parent}/supervise/{uid}")
        if self._burstable_millis.pop(uid, None) is not None:
            self._share_burstable()

    def existing(self) -> set[str]:
        """Uids of all pods that have a cgroup."""
        found: set[str] = set()
        for below in ("", "/burstable", "/besteffort"):
            for directory in self.layout.directories(self.parent + below):
                found.update(
                    child.name.removeprefix("pod") for child in _children(directory) if child.name[:3] == "pod"
                )
        for directory in self.layout.directories(f"{self.parent}/supervise"):
            found.update(child.name for child in _children(directory))
        return found

    def remove_stray(self, uid: str) -> None:
        """Kill what runs in the cgroups of a pod that nobody knows any more, and remove them."""
        for below in ("", "/burstable", "/besteffort"):
            path = f"{self.parent}{below}/pod{uid}"
            self.kill(path)
            self._remove_tree(path)
        self._remove_tree(f"{self.parent}/supervise/{uid}")

    def purge(self) -> None:
        """Remove the agent's whole tree, killing what is in it."""
        self.kill(self.parent)
        self._remove_tree(self.parent)

    def read_stats(self, path: str) -> CgroupStats:
        """The counters of a cgroup. Raises OSError when it is gone."""
        return read_stats(self.layout, path)

    def _share_burstable(self) -> None:
        shares = shares_of(sum(self._burstable_millis.values()))
        limits = Limits(cpu_shares=max(MINIMUM_SHARES, shares))
        self._write(f"{self.parent}/burstable", files_of(limits, self.layout.version), only="cpu")

    def _make(self, path: str) -> None:
        try:
            for directory in self._limited(path):
                directory.mkdir(parents=True, exist_ok=True)
                if self.layout.version == 2:
                    self._delegate(directory)
        except OSError as error:
            raise CgroupError(f"cannot make cgroup {path}: {error}") from error

    def _limited(self, path: str) -> Iterator[Path]:
        if self.layout.version == 2:
            yield self.layout.directory(UNIFIED, path)
            return
        names = [name for name in LIMITED_CONTROLLERS if name in self.layout.mounts]
        yield from dict.fromkeys(self.layout.directory(name, path) for name in names)

    def _delegate(self, directory: Path) -> None:
        """Enable the controllers for the children of ``directory`` and of all above it up to the mount."""
        mount = self.layout.mounts[UNIFIED]
        above = [mount, *(mount / part for part in _prefixes(directory.relative_to(mount)))]
        for each in above:
            enabled = (each / "cgroup.subtree_control").read_text(encoding="ascii").split()
            offered = (each / "cgroup.controllers").read_text(encoding="ascii").split()
            missing = [name for name in DELEGATED_CONTROLLERS if name in offered and name not in enabled]
            if missing:
                text = " ".join(f"+{name}" for name in missing)
                (each / "cgroup.subtree_control").write_text(text, encoding="ascii")

    def _write(self, path: str, files: Mapping[tuple[str, str], str], *, only: str = "") -> None:
        for (controller, name), contents in files.items():
            if (only and controller != only) or not self.layout.has(controller):
                continue
            file = self.layout.directory(controller, path) / name
            try:
                file.write_text(contents, encoding="ascii")
            except OSError as error:
                raise CgroupError(f"cannot write {contents!r} to {file}: {error}") from error

    def _remove_tree(self, path: str) -> None:
        for directory in self.layout.directories(path):
            _remove_directory(directory)


def _prefixes(path: Path) -> list[Path]:
    return [Path(*path.parts[: index + 1]) for index in range(len(path.parts))]


def _children(directory: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _remove_directory(directory: Path) -> None:
    for child in _children(directory):
        _remove_directory(child)
    try:
        directory.rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        logger.warning("cgroup_busy", extra={"path": str(directory)})
