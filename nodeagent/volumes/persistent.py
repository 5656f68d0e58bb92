"""The volumes behind claims, as directories on this node.

Those of the built-in provisioner are directories of the node's own, named by their handle and made when they are first
used; ``hostPath`` and ``local`` volumes are paths that an administrator has named. What a pod writes stays when the pod
goes, and is deleted only together with a volume whose reclaim policy says so.
"""

from __future__ import annotations

import re
import shutil
import threading
from pathlib import Path

from flotilla.api.objects import KubeObject, name_of, namespace_of, uid_of
from flotilla.api.storage import (
    LOCAL_PATH_DRIVER,
    claim_of,
    ephemeral_fault,
    is_bound,
    is_for,
    local_node,
)
from nodeagent.volumes.host_path import host_path
from nodeagent.volumes.mounts import unmount_below
from nodeagent.volumes.ownership import give_to_group, make_directory
from nodeagent.volumes.payload import VolumeError, VolumeObjects

_HANDLE = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,250}[a-z0-9])?")
# Whoever a container runs as, it can write: as in an emptyDir, and as provisioners of local paths make them.
_MODE = 0o777


class PersistentVolumes:
    """The data of this node's volumes, below ``directory``. Methods block; any thread may call them."""

    def __init__(self, directory: Path, *, node_name: str) -> None:
        self._directory, self._node_name = directory, node_name
        self._given: set[tuple[str, str]] = set()
        self._guard = threading.Lock()

    def prepare(self, pod: KubeObject, volume: KubeObject, objects: VolumeObjects) -> Path:
        """Where the volume behind one of the pod's claims is, made if it is the node's own. VolumeError, OSError."""
        found = self._bound_volume(pod, volume, objects)
        path = self._path(found)
        group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
        if group is not None and "hostPath" not in found["spec"]:
            self._give(pod, volume, path, group)
        return path

    def forget(self, pod_uid: str) -> None:
        """The pod has gone; what it wrote stays."""
        with self._guard:
            self._given = {each for each in self._given if each[0] != pod_uid}

    def remove(self, volume: KubeObject) -> None:
        """Delete the data of a volume of the node's own; repeatable. Raises VolumeError, OSError."""
        directory = self._own_directory(volume)
        if directory.exists():
            unmount_below(directory)
            shutil.rmtree(directory)

    def _bound_volume(self, pod: KubeObject, volume: KubeObject, objects: VolumeObjects) -> KubeObject:
        name = claim_of(pod, volume)
        claim = objects.claim(namespace_of(pod), name)
        if claim is None:
            raise VolumeError(f'persistentvolumeclaim "{name}" not found')
        if fault := ephemeral_fault(pod, volume, claim):
            raise VolumeError(fault)
        if not is_bound(claim):
            raise VolumeError(f'persistentvolumeclaim "{name}" is not bound')
        found = objects.volume(claim["spec"]["volumeName"])
        if found is None:
            raise VolumeError(f'persistentvolume "{claim["spec"]["volumeName"]}" not found')
        if not is_for(found["spec"].get("claimRef") or {}, claim):
            raise VolumeError(f'persistentvolume "{name_of(found)}" is not bound to persistentvolumeclaim "{name}"')
        return found

    def _path(self, volume: KubeObject) -> Path:
        spec = volume["spec"]
        if spec.get("volumeMode") == "Block":
            raise VolumeError(f'persistentvolume "{name_of(volume)}": volumeMode Block is not supported on this node')
        if "hostPath" in spec:
            return host_path(spec["hostPath"])
        if "local" in spec:
            path = Path(spec["local"]["path"])
            if not path.is_dir():
                raise VolumeError(f'local volume "{name_of(volume)}": path "{path}" is not a directory on this node')
            return path
        if (spec.get("csi") or {}).get("driver") != LOCAL_PATH_DRIVER:
            source = next((kind for kind in spec if isinstance(spec[kind], dict) and kind not in _NO_SOURCES), "")
            raise VolumeError(f'persistentvolume "{name_of(volume)}": {source} is not supported on this node')
        directory = self._own_directory(volume)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._guard:
            if not directory.exists():
                make_directory(directory, mode=_MODE)
        return directory

    def _own_directory(self, volume: KubeObject) -> Path:
        """Where the node keeps a volume of the built-in provisioner. VolumeError if it is another node's."""
        handle = volume["spec"]["csi"].get("volumeHandle") or ""
        if local_node(volume) != self._node_name:
            raise VolumeError(f'persistentvolume "{name_of(volume)}" is on node "{local_node(volume)}"')
        if not _HANDLE.fullmatch(handle):
            raise VolumeError(f'persistentvolume "{name_of(volume)}": invalid volumeHandle {handle!r}')
        return self._directory / handle

    def _give(self, pod: KubeObject, volume: KubeObject, path: Path, group: int) -> None:
        """Once for each pod, not for each of its containers: the tree may be large."""
        key = (uid_of(pod), volume["name"])
        with self._guard:
            if key in self._given:
                return
        policy = (pod["spec"].get("securityContext") or {}).get("fsGroupChangePolicy") or "Always"
        readonly = bool((volume.get("persistentVolumeClaim") or {}).get("readOnly"))
        give_to_group(path, group, readonly=readonly, only_if_root_differs=policy == "OnRootMismatch")
        with self._guard:
            self._given.add(key)


_NO_SOURCES = ("capacity", "claimRef", "nodeAffinity")
