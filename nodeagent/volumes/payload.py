"""What the files of a ConfigMap, Secret, downward API or projected volume are; pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Protocol

from flotilla.api.objects import KubeObject, namespace_of
from nodeagent.volumes.atomic import ProjectedFile
from nodeagent.volumes.fields import FieldError, NodeResources, field_value, resource_value

_DEFAULT_MODE = 0o644
Files = dict[str, ProjectedFile]


class VolumeError(Exception):
    """A volume can't be had as things are; the message is what a FailedMount event shows. Trying again may succeed."""


class AssignedObjects(Protocol):
    """The objects that the node's pods refer to, None for what does not exist (or is not for this node)."""

    def config_map(self, namespace: str, name: str) -> KubeObject | None: ...

    def secret(self, namespace: str, name: str) -> KubeObject | None: ...


class VolumeObjects(AssignedObjects, Protocol):
    """Also the claims that the node's pods have, and their volumes."""

    def claim(self, namespace: str, name: str) -> KubeObject | None: ...

    def volume(self, name: str) -> KubeObject | None: ...


def volume_files(pod: KubeObject, volume: KubeObject, objects: AssignedObjects, *, node: NodeResources) -> Files | None:
    """The files of ``volume``, or None where it is of a kind without. Raises :class:`VolumeError`."""
    if "projected" in volume:
        source = volume["projected"]
        mode = source.get("defaultMode", _DEFAULT_MODE)
        files: Files = {}
        for each in source.get("sources") or ():
            files |= _source_files(pod, each, objects, mode=mode, node=node)
        return files
    for kind in ("configMap", "secret", "downwardAPI"):
        if kind in volume:
            source = dict(volume[kind])
            if kind == "secret":
                source["name"] = source.get("secretName", "")
            mode = source.get("defaultMode", _DEFAULT_MODE)
            return _source_files(pod, {kind: source}, objects, mode=mode, node=node)
    return None


def _source_files(
    pod: KubeObject, source: KubeObject, objects: AssignedObjects, *, mode: int, node: NodeResources
) -> Files:
    if "configMap" in source:
        return _keyed(pod, source["configMap"], objects.config_map, config_map_values, kind="configmap", mode=mode)
    if "secret" in source:
        return _keyed(pod, source["secret"], objects.secret, secret_values, kind="secret", mode=mode)
    if "downwardAPI" in source:
        return _downward(pod, source["downwardAPI"], mode=mode, node=node)
    raise VolumeError(f"projected volume source is not supported: {', '.join(source)}")


def _keyed(
    pod: KubeObject,
    source: KubeObject,
    find: Callable[[str, str], KubeObject | None],
    values_of: Callable[[KubeObject], dict[str, bytes]],
    *,
    kind: str,
    mode: int,
) -> Files:
    name = source.get("name") or ""
    found = find(namespace_of(pod), name)
    if found is None:
        if source.get("optional"):
            return {}
        raise VolumeError(f'{kind} "{name}" not found')
    values = values_of(found)
    items = source.get("items")
    if not items:
        return {checked_path(key): ProjectedFile(value, mode) for key, value in values.items()}
    files: Files = {}
    for item in items:
        if item["key"] in values:
            files[checked_path(item["path"])] = ProjectedFile(values[item["key"]], item.get("mode", mode))
        elif not source.get("optional"):
            raise VolumeError(f"{kind} {namespace_of(pod)}/{name} references non-existent key: {item['key']}")
    return files


def _downward(pod: KubeObject, source: KubeObject, *, mode: int, node: NodeResources) -> Files:
    files: Files = {}
    for item in source.get("items") or ():
        try:
            if item.get("fieldRef"):
                text = field_value(pod, item["fieldRef"]["fieldPath"])
            else:
                text = resource_value(pod, item["resourceFieldRef"], container="", node=node)
        except FieldError as error:
            raise VolumeError(str(error)) from error
        files[checked_path(item["path"])] = ProjectedFile(text.encode(), item.get("mode", mode))
    return files


def config_map_values(config_map: KubeObject) -> dict[str, bytes]:
    """Every key's bytes. Raises :class:`VolumeError` for ``binaryData`` that is no base64."""
    text = {key: value.encode() for key, value in (config_map.get("data") or {}).items()}
    return text | _decoded(config_map.get("binaryData") or {})


def secret_values(secret: KubeObject) -> dict[str, bytes]:
    """Every key's bytes. Raises :class:`VolumeError` for ``data`` that is no base64."""
    return _decoded(secret.get("data") or {})


def _decoded(data: Mapping[str, str]) -> dict[str, bytes]:
    try:
        return {key: base64.b64decode(value, validate=True) for key, value in data.items()}
    except (binascii.Error, ValueError) as error:
        raise VolumeError(f"data is not base64: {error}") from error


def checked_path(path: str) -> str:
    """``path`` if it stays in its volume and out of the way of ``..data``. Raises :class:`VolumeError`."""
    parts = path.split("/")
    if not path or path.startswith("/") or ".." in parts or parts[0].startswith("..") or "\0" in path:
        raise VolumeError(f"invalid path in a volume: {path!r}")
    return "/".join(part for part in parts if part not in ("", "."))
