"""Whether what is mounted on one side of a volume can appear on the other (mount_namespaces(7), shared subtrees)."""

from __future__ import annotations

import os
import re
from pathlib import Path

from nodeagent.mounts import read_mounts
from nodeagent.runtime.errors import ContainerConfigError

_PEERS = {"HostToContainer": ("shared", "master"), "Bidirectional": ("shared",)}
_MOUNT_ID = re.compile(r"^mnt_id:\s*(\d+)$", re.MULTILINE)


def require_propagating(volume: Path, propagation: str) -> None:
    """Refuse what the mount that ``volume`` is on has no part in. ContainerConfigError, OSError."""
    wanted = _PEERS.get(propagation)
    if wanted is None:
        return
    point, peers = _mount_of(volume)
    if not peers & set(wanted):
        what = "a shared mount" if propagation == "Bidirectional" else "a shared or slave mount"
        remedy = f"mount --make-rshared {point}"
        raise ContainerConfigError(f'path "{volume}" is mounted on "{point}" but it is not {what} ({remedy})')


def _mount_of(path: Path) -> tuple[str, set[str]]:
    """Where what ``path`` is on is mounted, and the kinds of its peers."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        found = _MOUNT_ID.search(Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii"))
    finally:
        os.close(descriptor)
    for mount in read_mounts():
        if found and mount.number == int(found[1]):
            return mount.point, mount.peers
    return "/", set()
