"""Making, updating and removing the volumes of pods.

Empty directories live under the pod's directory; whatever may be secret lives on a tmpfs under the run directory and
never touches a disk. A volume that has been filled before stays as it is when its source is missing, so that a
container can be restarted after its ConfigMap is gone.
"""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

from flotilla.api.objects import KubeObject, uid_of
from flotilla.api.quantities import bytes_of
from flotilla.api.storage import claim_of
from nodeagent.cgroups.limits import pod_limits
from nodeagent.volumes.atomic import is_written, write_files
from nodeagent.volumes.fields import NodeResources
from nodeagent.volumes.host_path import host_path
from nodeagent.volumes.mounts import mount_tmpfs, unmount_below
from nodeagent.volumes.ownership import make_directory
from nodeagent.volumes.payload import AssignedObjects, VolumeError, VolumeObjects, volume_files
from nodeagent.volumes.persistent import PersistentVolumes


class Volumes:
    """The volumes of all pods on a node: plain ones at ``pods_dir/<uid>/volumes``, files of objects at ``files_dir``.

    What outlives pods is in ``persistent``; without it pods can't have claims.
    Methods block; any thread may call them, for one pod one at a time.
    """

    def __init__(
        self, pods_dir: Path, *, files_dir: Path, node: NodeResources, persistent: PersistentVolumes | None = None
    ) -> None:
        self._persistent = persistent
        self._pods_dir = pods_dir
        self._files_dir = files_dir
        self._node = node
        self._guard = threading.Lock()

    def prepare(self, pod: KubeObject, objects: VolumeObjects) -> dict[str, Path]:
        """Every volume's path by its name, made where it is missing. Raises :class:`VolumeError`.

        Not those of images, which are mounted once a container needs them (``nodeagent.image_volumes``).
        """
        paths = {}
        for volume in pod["spec"].get("volumes") or ():
            if "image" in volume:
                continue
            try:
                paths[volume["name"]] = self._prepare(pod, volume, objects)
            except VolumeError as error:
                message = f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}'
                raise VolumeError(message) from error
            except OSError as error:
                message = f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error.strerror}: {error.filename}'
                raise VolumeError(message) from error
        return paths

    def update(self, pod: KubeObject, objects: AssignedObjects) -> None:
        """Bring the files of objects up to date in volumes that exist. Raises OSError."""
        for volume in pod["spec"].get("volumes") or ():
            directory = self._file_directory(uid_of(pod), volume["name"])
            if is_written(directory):
                self._write(pod, volume, objects, directory)

    def teardown(self, pod_uid: str) -> None:
        """Remove everything of the pod's volumes; idempotent. What hostPath names stays. Raises OSError."""
        for directory in (self._pods_dir / pod_uid / "volumes", self._files_dir / pod_uid):
            if directory.exists():
                unmount_below(directory)
                shutil.rmtree(directory)
        if self._persistent is not None:
            self._persistent.forget(pod_uid)

    def purge(self) -> None:
        """Remove all volumes of all pods."""
        for directory in self._pods_dir.glob("*/volumes"):
            self.teardown(directory.parent.name)
        if self._files_dir.exists():
            unmount_below(self._files_dir)
            shutil.rmtree(self._files_dir)

    def _prepare(self, pod: KubeObject, volume: KubeObject, objects: VolumeObjects) -> Path:
        if "hostPath" in volume:
            return host_path(volume["hostPath"])
        if claim_of(pod, volume) and self._persistent is not None:
            return self._persistent.prepare(pod, volume, objects)
        if "emptyDir" in volume or len(volume) == 1:
            return self._empty_directory(pod, volume)
        directory = self._file_directory(uid_of(pod), volume["name"])
        if not any(kind in volume for kind in ("configMap", "secret", "downwardAPI", "projected")):
            kinds = ", ".join(sorted(set(volume) - {"name"}))
            raise VolumeError(f"volumes of kind {kinds} are not supported on this node")
        with self._guard:
            mount_tmpfs(self._files_dir, mode=0o700)
        self._write(pod, volume, objects, directory)
        return directory

    def _write(self, pod: KubeObject, volume: KubeObject, objects: AssignedObjects, directory: Path) -> None:
        try:
            files = volume_files(pod, volume, objects, node=self._node)
        except VolumeError:
            if is_written(directory):
                return
            raise
        if files is not None:
            write_files(directory, files, group=_group(pod))

    def _empty_directory(self, pod: KubeObject, volume: KubeObject) -> Path:
        source = volume.get("emptyDir") or {}
        directory: Path = self._pods_dir / uid_of(pod) / "volumes" / volume["name"]
        group = _group(pod)
        mode = 0o777 if group is None else 0o2777
        if source.get("medium") == "Memory":
            mount_tmpfs(directory, mode=mode, size_bytes=self._memory_size_bytes(pod, source), group=group)
        elif source.get("medium"):
            raise VolumeError(f"emptyDir medium {source['medium']} is not supported")
        elif not directory.exists():
            make_directory(directory, mode=mode, group=group)
        return directory

    def _memory_size_bytes(self, pod: KubeObject, source: KubeObject) -> int:
        """How much an emptyDir in memory holds: no more than its limit, the memory of its pod, and that of the node."""
        bounds = [self._node.memory_bytes, pod_limits(pod["spec"]).memory_bytes, bytes_of(source.get("sizeLimit") or 0)]
        return min(bound for bound in bounds if bound > 0)

    def _file_directory(self, uid: str, name: str) -> Path:
        return self._files_dir / uid / name


def _group(pod: KubeObject) -> int | None:
    group: int | None = (pod["spec"].get("securityContext") or {}).get("fsGroup")
    return group
