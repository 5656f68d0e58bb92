"""Which host paths a container sees where."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from flotilla.api.objects import KubeObject
from nodeagent.expansion import expand, unset_variables
from nodeagent.runtime.errors import ContainerConfigError
from nodeagent.runtime.spec import SHARED_MEMORY, Mount
from nodeagent.volumes.binds import ContainerBinds
from nodeagent.volumes.payload import VolumeError
from nodeagent.volumes.propagation import require_propagating

_READONLY_SOURCES = ("configMap", "secret", "downwardAPI", "projected", "image")
_TERMINATION_MODE = 0o666


def volume_mounts(
    pod: Mapping[str, Any],
    container: Mapping[str, Any],
    volumes: Mapping[str, Path],
    *,
    environment: Mapping[str, str],
    binds: ContainerBinds,
) -> list[Mount]:
    """The container's ``volumeMounts``, taken from ``binds``. Raises ContainerConfigError, OSError."""
    mounts: list[Mount] = []
    for each in container.get("volumeMounts") or ():
        name = each["name"]
        if name not in volumes:
            raise ContainerConfigError(f'volume "{name}" of container "{container["name"]}" is not available')
        volume = _volume_of(pod, name)
        below = each.get("subPath") or _expanded(each.get("subPathExpr") or "", environment)
        propagation = each.get("mountPropagation") or "None"
        require_propagating(volumes[name], propagation)
        of_image = "image" in volume
        readonly = _is_readonly(each, volume)
        try:
            source = _place(each, volumes[name], binds, subpath=below, of_image=of_image)
        except (VolumeError, OSError) as error:
            if not below:
                raise
            what = f'subPath for volumeMount "{name}" of container "{container["name"]}"'
            raise ContainerConfigError(f"failed to prepare {what}: {error}") from error
        kept = (*binds.kept(source), *(("noexec",) if of_image else ()))
        mounts.append(Mount(source, each["mountPath"], readonly, propagation, kept))
    return mounts


def mount_statuses(pod: Mapping[str, Any], container: Mapping[str, Any]) -> list[KubeObject]:
    """``volumeMounts`` of a container's status: how each of its volumes is mounted."""
    statuses = []
    for each in container.get("volumeMounts") or ():
        volume = _volume_of(pod, each["name"])
        status: KubeObject = {"name": each["name"], "mountPath": each["mountPath"]}
        if _is_readonly(each, volume):
            whole = "image" in volume or (each.get("recursiveReadOnly") or "Disabled") != "Disabled"
            status |= {"readOnly": True, "recursiveReadOnly": "Enabled" if whole else "Disabled"}
        statuses.append(status)
    return statuses


def _volume_of(pod: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Iterator[Mapping[str, Any]] = (each for each in pod["spec"].get("volumes") or () if each["name"] == name)
    return next(found, {})


def _is_readonly(mount: Mapping[str, Any], volume: Mapping[str, Any]) -> bool:
    fixed = any(kind in volume for kind in _READONLY_SOURCES)
    claimed = bool((volume.get("persistentVolumeClaim") or {}).get("readOnly"))
    return bool(mount.get("readOnly")) or fixed or claimed


def _place(mount: Mapping[str, Any], volume: Path, binds: ContainerBinds, *, subpath: str, of_image: bool) -> Path:
    """Where to mount the volume from: as a tree that can't be written anywhere if ``recursiveReadOnly`` says so."""
    recursive = mount.get("recursiveReadOnly") or "Disabled"
    place = partial(
        binds.place,
        volume,
        subpath=subpath,
        propagate=(mount.get("mountPropagation") or "None") != "None",
        of_image=of_image,
    )
    try:
        return place(readonly=of_image or recursive != "Disabled")
    except OSError as error:
        if (recursive == "Disabled" and not of_image) or error.errno != errno.ENOSYS:
            raise
        if recursive == "Enabled":
            what = f'volume "{mount["name"]}" requested recursive read-only mode'
            raise ContainerConfigError(f"{what}, but it is not supported by the kernel (Linux 5.12)") from error
    return place()


def _expanded(expression: str, environment: Mapping[str, str]) -> str:
    """A ``subPathExpr`` with its variables; without them it would name a directory that nobody meant."""
    unset = unset_variables(expression, environment)
    if unset:
        raise ContainerConfigError(f"missing value for {', '.join(unset)}")
    return expand(expression, environment)


def pod_file_mounts(container: Mapping[str, Any], directory: Path) -> list[Mount]:
    """``/etc/hosts`` and its siblings, except where the container mounts something of its own."""
    own = {each["mountPath"].rstrip("/") for each in container.get("volumeMounts") or ()}
    names = ("hosts", "resolv.conf", "hostname")
    return [
        Mount(directory / name, f"/etc/{name}") for name in names if f"/etc/{name}" not in own and "/etc" not in own
    ]


def shared_memory_mounts(pod: Mapping[str, Any], container: Mapping[str, Any], shared: Path) -> list[Mount]:
    """``/dev/shm`` where it is the pod's or the host's; a single container's own is made with it."""
    if any(each["mountPath"].rstrip("/") == SHARED_MEMORY for each in container.get("volumeMounts") or ()):
        return []
    if pod["spec"].get("hostIPC"):
        return [Mount(Path(SHARED_MEMORY), SHARED_MEMORY)]
    return [Mount(shared, SHARED_MEMORY)] if shared.is_mount() else []


def termination_mount(container: Mapping[str, Any], file: Path) -> Mount:
    """The file for the container's last words, made empty and writable for whatever user it runs as."""
    file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    file.touch()
    file.chmod(_TERMINATION_MODE)
    return Mount(file, container.get("terminationMessagePath") or "/dev/termination-log")
