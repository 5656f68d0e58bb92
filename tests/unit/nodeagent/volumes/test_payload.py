"""What the files of volumes hold."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from nodeagent.volumes.atomic import ProjectedFile
from nodeagent.volumes.fields import NodeResources
from nodeagent.volumes.payload import VolumeError, checked_path, volume_files

NODE = NodeResources(cpu_millis=4000, memory_bytes=8 << 30)
POD: dict[str, Any] = {
    "metadata": {
        "name": "p",
        "namespace": "default",
        "labels": {"b": "2", "a": 'say "x"'},
        "annotations": {"note": "two\nlines"},
    },
    "spec": {"containers": [{"name": "c", "resources": {"limits": {"memory": "64Mi"}}}]},
}


class Objects:
    def config_map(self, namespace: str, name: str) -> dict[str, Any] | None:
        if (namespace, name) != ("default", "settings"):
            return None
        return {"data": {"a.txt": "text"}, "binaryData": {"b.bin": base64.b64encode(b"\0\1").decode()}}

    def secret(self, namespace: str, name: str) -> dict[str, Any] | None:
        return {"data": {"key": base64.b64encode(b"hush").decode()}} if name == "login" else None


def files(**volume: Any) -> dict[str, ProjectedFile] | None:
    return volume_files(POD, {"name": "v", **volume}, Objects(), node=NODE)


def test_config_map() -> None:
    """Every key of data and binaryData is a file with the default mode."""
    assert files(configMap={"name": "settings", "defaultMode": 0o600}) == {
        "a.txt": ProjectedFile(b"text", 0o600),
        "b.bin": ProjectedFile(b"\0\1", 0o600),
    }


def test_items_choose_and_rename() -> None:
    """Items choose keys, give them paths and, if they like, modes of their own."""
    items = [{"key": "a.txt", "path": "etc/app.conf", "mode": 0o400}]
    found = files(configMap={"name": "settings", "items": items})
    assert found == {"etc/app.conf": ProjectedFile(b"text", 0o400)}


def test_secret() -> None:
    """A secret's values are decoded."""
    assert files(secret={"secretName": "login"}) == {"key": ProjectedFile(b"hush", 0o644)}


def test_downward_api() -> None:
    """Labels are listed quoted and in order, resources are numbers."""
    items = [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "note", "fieldRef": {"fieldPath": "metadata.annotations['note']"}},
        {"path": "memory", "resourceFieldRef": {"containerName": "c", "resource": "limits.memory", "divisor": "1Mi"}},
    ]
    found = files(downwardAPI={"items": items})
    assert found is not None
    assert {path: file.content for path, file in found.items()} == {
        "labels": b'a="say \\"x\\""\nb="2"',
        "note": b"two\nlines",
        "memory": b"64",
    }


def test_projected_joins_sources() -> None:
    """A projected volume holds the files of all its sources, later ones winning."""
    sources = [
        {"configMap": {"name": "settings"}},
        {"secret": {"name": "login", "items": [{"key": "key", "path": "a.txt"}]}},
        {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"configMap": {"name": "none", "optional": True}},
    ]
    found = files(projected={"sources": sources, "defaultMode": 0o440})
    assert found is not None
    assert {path: file.content for path, file in found.items()} == {"a.txt": b"hush", "b.bin": b"\0\1", "name": b"p"}
    assert {file.mode for file in found.values()} == {0o440}


def test_other_kinds_have_no_files() -> None:
    """Volumes of other kinds are not made of files."""
    assert files(emptyDir={}) is None


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        ({"configMap": {"name": "none"}}, 'configmap "none" not found'),
        ({"secret": {"secretName": "none"}}, 'secret "none" not found'),
        (
            {"configMap": {"name": "settings", "items": [{"key": "k", "path": "p"}]}},
            "configmap default/settings references non-existent key: k",
        ),
        ({"downwardAPI": {"items": [{"path": "x", "fieldRef": {"fieldPath": "spec.no"}}]}}, "unsupported fieldPath"),
        ({"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}, "not supported"),
        ({"configMap": {"name": "settings", "items": [{"key": "a.txt", "path": "../up"}]}}, "invalid path"),
    ],
)
def test_faults(volume: dict[str, Any], message: str) -> None:
    """What can't be had is named."""
    with pytest.raises(VolumeError, match=message):
        files(**volume)


@pytest.mark.parametrize("path", ["", "/abs", "a/../b", "..data", "..", "a\0b"])
def test_paths_stay_inside(path: str) -> None:
    """Paths that leave the volume or clash with its own links are refused."""
    with pytest.raises(VolumeError):
        checked_path(path)
