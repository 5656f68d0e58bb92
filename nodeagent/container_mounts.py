"""Which host paths a container sees where.

A ``subPath`` is walked one component at a time and never through a symbolic link: what lies in a volume was put there
by containers, and a link may point anywhere on the node.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nodeagent.runtime.errors import ContainerConfigError
from nodeagent.runtime.spec import Mount, expand

_READONLY_SOURCES = ("configMap", "secret", "downwardAPI", "projected")
_TERMINATION_MODE = 0o666


def volume_mounts(
    pod: Mapping[str, Any], container: Mapping[str, Any], volumes: Mapping[str, Path], environment: Mapping[str, str]
) -> list[Mount]:
    """The container's ``volumeMounts``. Raises ContainerConfigError."""
    sources = {volume["name"]: volume for volume in pod["spec"].get("volumes") or ()}
    mounts: list[Mount] = []
    for each in container.get("volumeMounts") or ():
        name = each["name"]
        if name not in volumes:
            raise ContainerConfigError(f'volume "{name}" of container "{container["name"]}" is not available')
        fixed = any(kind in sources.get(name, {}) for kind in _READONLY_SOURCES)
        below = each.get("subPath") or expand(each.get("subPathExpr") or "", environment)
        source = sub_path(volumes[name], below) if below else volumes[name]
        readonly = bool(each.get("readOnly")) or fixed
        mounts.append(Mount(source, each["mountPath"], readonly, each.get("mountPropagation") or "None"))
    return mounts


def sub_path(volume: Path, below: str) -> Path:
    """The path of ``below`` in a volume, made as a directory if it is missing. Raises ContainerConfigError."""
    parts = Path(below).parts
    if Path(below).is_absolute() or ".." in parts:
        raise ContainerConfigError(f"subPath {below!r} must be relative and stay inside its volume")
    if volume.is_file():
        raise ContainerConfigError(f"subPath {below!r} of a volume that is a file")
    descriptor = os.open(volume, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for index, part in enumerate(parts):
            found = _step(descriptor, part, below)
            os.close(descriptor)
            descriptor = found
            if index < len(parts) - 1 and not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise ContainerConfigError(f"subPath {below!r} leads through a file")
    finally:
        os.close(descriptor)
    return volume.joinpath(*parts)


def _step(directory: int, part: str, whole: str) -> int:
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(part, flags, dir_fd=directory)
    except FileNotFoundError:
        os.mkdir(part, mode=0o755, dir_fd=directory)
        descriptor = os.open(part, flags, dir_fd=directory)
    if stat.S_ISLNK(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ContainerConfigError(f"subPath {whole!r} leads through a symbolic link")
    return descriptor


def pod_file_mounts(container: Mapping[str, Any], directory: Path) -> list[Mount]:
    """``/etc/hosts`` and its siblings, except where the container mounts something of its own."""
    own = {each["mountPath"].rstrip("/") for each in container.get("volumeMounts") or ()}
    names = ("hosts", "resolv.conf", "hostname")
    return [
        Mount(directory / name, f"/etc/{name}") for name in names if f"/etc/{name}" not in own and "/etc" not in own
    ]


def termination_mount(container: Mapping[str, Any], file: Path) -> Mount:
    """The file for the container's last words, made empty and writable for whatever user it runs as."""
    file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    file.touch()
    file.chmod(_TERMINATION_MODE)
    return Mount(file, container.get("terminationMessagePath") or "/dev/termination-log")
