"""Images as volumes: their layers, stacked read-only for the containers of one pod.

An image is pulled when the first container that mounts it starts, and stays the same until the pod is gone, however
its tag moves. The stack is made as a container's root file system is, with the pod's own users as owners, but no
container writes to it or starts a program from it. It lies among the pod's volumes, and goes with them.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flotilla.api.objects import KubeObject, uid_of
from nodeagent.image_pulls import ImagePuller
from nodeagent.images.image import Image
from nodeagent.images.rootfs import mount_rootfs
from nodeagent.images.store import PullPolicy
from nodeagent.isolation.ranges import PodUsers


class ImageVolumes:
    """The image volumes of one node's pods, each at ``pods_dir/<uid>/volumes/<name>``."""

    def __init__(self, pods_dir: Path, puller: ImagePuller) -> None:
        self._pods_dir, self._puller = pods_dir, puller
        self._guard = threading.Lock()

    async def pull(self, pod: KubeObject, container: Mapping[str, Any]) -> dict[str, Image]:
        """The images of the volumes that the container mounts and that are not there yet. Raises ImagePullError."""
        images: dict[str, Image] = {}
        mounted = {each["name"] for each in container.get("volumeMounts") or ()}
        for volume in pod["spec"].get("volumes") or ():
            name, source = volume["name"], volume.get("image")
            if source is None or name not in mounted or self._is_there(pod, name):
                continue
            policy: PullPolicy = source.get("pullPolicy") or "IfNotPresent"
            reference = source.get("reference") or ""
            images[name] = await self._puller.pull(pod, reference, policy=policy, container=container["name"])
        return images

    def mount(self, pod: KubeObject, images: Mapping[str, Image], users: PodUsers | None) -> dict[str, Path]:
        """Where all image volumes of the pod are that are there, those of ``images`` mounted now. Blocks. OSError."""
        with self._guard:
            for name, image in images.items():
                mount_rootfs(image.layers, directory=self._directory(pod, name), users=users)
        volumes = pod["spec"].get("volumes") or ()
        names = [each["name"] for each in volumes if "image" in each and self._is_there(pod, each["name"])]
        return {name: self._directory(pod, name) / "merged" for name in names}

    def _is_there(self, pod: KubeObject, name: str) -> bool:
        return (self._directory(pod, name) / "merged").is_mount()

    def _directory(self, pod: KubeObject, name: str) -> Path:
        return self._pods_dir / uid_of(pod) / "volumes" / name
