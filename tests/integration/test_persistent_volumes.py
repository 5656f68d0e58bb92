"""The data of volumes on a node: whose it is, who may have it, and when it goes."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flotilla.api.objects import encode
from flotilla.api.storage import BIND_COMPLETED, LOCAL_PATH, LOCAL_PATH_DRIVER, NODE_ATTRIBUTE, VOLUME_PROTECTION
from nodeagent.assigned import Assignments, Held, Moment, ObjectKey
from nodeagent.volumes.ownership import give_to_group
from nodeagent.volumes.payload import VolumeError
from nodeagent.volumes.persistent import PersistentVolumes
from nodeagent.volumes.removal import VolumeRemovals

pytestmark = pytest.mark.root

OURS = {"csi": {"driver": LOCAL_PATH_DRIVER, "volumeHandle": "pvc-1", "volumeAttributes": {NODE_ATTRIBUTE: "node-1"}}}
SOURCE = {"persistentVolumeClaim": {"claimName": "data"}}


class Objects:
    """One claim and its volume."""

    def __init__(self, **spec: Any) -> None:
        self.bound = True
        reference = {"namespace": "default", "name": "data", "uid": "claim-1"}
        self.found = {"metadata": {"name": "v"}, "spec": {"claimRef": reference, **spec}}

    def config_map(self, namespace: str, name: str) -> None:
        return None

    secret = config_map

    def claim(self, namespace: str, name: str) -> dict[str, Any] | None:
        annotations = {BIND_COMPLETED: "yes"} if self.bound else {}
        metadata = {"name": name, "namespace": namespace, "uid": "claim-1", "annotations": annotations}
        return {"metadata": metadata, "spec": {"volumeName": "v"}} if name == "data" else None

    def volume(self, name: str) -> dict[str, Any] | None:
        return self.found


def pod(source: Mapping[str, Any] = SOURCE, **spec: Any) -> dict[str, Any]:
    metadata = {"name": "p", "namespace": "default", "uid": "pod-1"}
    return {"metadata": metadata, "spec": {"volumes": [{"name": "data", **source}], **spec}}


def prepared(directory: Path, objects: Objects, asking: dict[str, Any] | None = None) -> Path:
    asking = asking or pod()
    volumes = PersistentVolumes(directory / "volumes", node_name="node-1")
    return volumes.prepare(asking, asking["spec"]["volumes"][0], objects)


def test_a_directory_of_the_nodes_own(tmp_path: Path) -> None:
    """A volume of the built-in provisioner is a directory that any container can write and no one else finds."""
    path = prepared(tmp_path, Objects(**OURS))
    assert path == tmp_path / "volumes" / "pvc-1"
    assert stat.S_IMODE(path.stat().st_mode) == 0o777
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    (path / "kept").touch()
    path.chmod(0o750)
    assert (prepared(tmp_path, Objects(**OURS)) / "kept").exists()
    assert stat.S_IMODE(path.stat().st_mode) == 0o750


def test_a_directory_that_was_half_made(tmp_path: Path) -> None:
    """An agent that was killed while it made a directory leaves none with the wrong permissions."""
    (tmp_path / "volumes" / ".new.pvc-1").mkdir(parents=True, mode=0o700)
    path = prepared(tmp_path, Objects(**OURS))
    assert stat.S_IMODE(path.stat().st_mode) == 0o777
    assert os.listdir(path.parent) == ["pvc-1"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"csi": {**OURS["csi"], "volumeAttributes": {NODE_ATTRIBUTE: "node-2"}}}, 'is on node "node-2"'),
        ({"csi": {**OURS["csi"], "volumeHandle": "../pods"}}, "invalid volumeHandle '../pods'"),
        ({"csi": {**OURS["csi"], "volumeHandle": ".."}}, r"invalid volumeHandle '\.\.'"),
        ({"csi": {"driver": "other.example", "volumeHandle": "x"}}, "csi is not supported on this node"),
        ({"nfs": {"server": "x", "path": "/"}}, "nfs is not supported on this node"),
        ({"local": {"path": "/no/such"}}, 'path "/no/such" is not a directory on this node'),
        ({**OURS, "volumeMode": "Block"}, "volumeMode Block is not supported"),
        ({**OURS, "claimRef": {"namespace": "default", "name": "other"}}, "is not bound to persistentvolumeclaim"),
    ],
)
def test_volumes_that_can_not_be_had(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    """A volume that is elsewhere, of another kind or somebody else's is refused by its name, and nothing is made."""
    with pytest.raises(VolumeError, match=f'"v".*{why}'):
        prepared(tmp_path, Objects(**change))
    assert list(tmp_path.iterdir()) == []


def test_claims_that_have_no_volume(tmp_path: Path) -> None:
    """A missing or unbound claim, and one that was not made for the pod, are named."""
    with pytest.raises(VolumeError, match='persistentvolumeclaim "none" not found'):
        prepared(tmp_path, Objects(**OURS), pod({"persistentVolumeClaim": {"claimName": "none"}}))
    unbound = Objects(**OURS)
    unbound.bound = False
    with pytest.raises(VolumeError, match='persistentvolumeclaim "data" is not bound'):
        prepared(tmp_path, unbound)
    own = pod({"ephemeral": {"volumeClaimTemplate": {}}})
    own["spec"]["volumes"][0]["name"], own["metadata"]["name"] = "a", "dat"
    objects = Objects(**OURS)
    objects.claim = lambda namespace, name: {"metadata": {"name": name, "namespace": namespace}}  # type: ignore[method-assign]
    with pytest.raises(VolumeError, match="PVC default/dat-a was not created for pod default/dat"):
        prepared(tmp_path, objects, own)


@pytest.mark.parametrize("kind", ["hostPath", "local"])
def test_paths_that_an_administrator_named(tmp_path: Path, kind: str) -> None:
    """A hostPath or local volume is the path itself; only the local one is given to the pod's group."""
    path = tmp_path / "disk"
    path.mkdir(mode=0o755)
    asking = pod(securityContext={"fsGroup": 2000})
    assert prepared(tmp_path, Objects(**{kind: {"path": str(path)}}), asking) == path
    assert path.stat().st_gid == (2000 if kind == "local" else 0)


@pytest.mark.parametrize("readonly", [False, True])
def test_everything_belongs_to_the_group(tmp_path: Path, readonly: bool) -> None:
    """Files and directories get group and permissions, links are not followed, owners stay."""
    outside, top = tmp_path / "outside", tmp_path / "top"
    outside.touch(mode=0o600)
    (top / "below").mkdir(parents=True)
    (top / "below" / "file").touch(mode=0o600)
    os.chown(top / "below" / "file", 1000, 1000)
    (top / "link").symlink_to(outside)
    give_to_group(top, 2000, readonly=readonly)
    found = {path.name: path.lstat() for path in (top, top / "below", top / "below" / "file", top / "link", outside)}
    assert {name for name, status in found.items() if status.st_gid == 2000} == {"top", "below", "file", "link"}
    assert found["file"].st_uid == 1000
    assert stat.S_IMODE(found["file"].st_mode) == (0o640 if readonly else 0o660)
    assert stat.S_IMODE(found["below"].st_mode) == (0o2755 if readonly else 0o2775)
    assert stat.S_IMODE(found["outside"].st_mode) == 0o600


def test_a_group_that_has_it_already(tmp_path: Path) -> None:
    """With OnRootMismatch a tree whose root is the group's is left alone; else each new pod has it given, once."""
    objects = Objects(**OURS)
    group = {"fsGroup": 2000}
    path = prepared(tmp_path, objects, pod(securityContext=group))
    (path / "file").touch()
    prepared(tmp_path, objects, pod(securityContext={**group, "fsGroupChangePolicy": "OnRootMismatch"}))
    os.chown(path / "file", 0, 0)
    prepared(tmp_path, objects, pod(securityContext={**group, "fsGroupChangePolicy": "OnRootMismatch"}))
    assert (path / "file").stat().st_gid == 0
    volumes, asking = PersistentVolumes(tmp_path / "volumes", node_name="node-1"), pod(securityContext=group)
    for expected, step in ((2000, "the pod's first container"), (0, "its second"), (2000, "another pod")):
        volumes.prepare(asking, asking["spec"]["volumes"][0], objects)
        assert (path / "file").stat().st_gid == expected, step
        os.chown(path / "file", 0, 0)
        if step == "its second":
            volumes.forget("pod-1")


def volume(name: str, *, deleted: bool = True, policy: str = "Delete", protected: bool = False) -> dict[str, Any]:
    source = {"csi": {**OURS["csi"], "volumeHandle": name}, "persistentVolumeReclaimPolicy": policy}
    metadata: dict[str, Any] = {"name": name, "uid": f"uid-{name}", "finalizers": [LOCAL_PATH]}
    metadata["finalizers"] += [VOLUME_PROTECTION] if protected else []
    return {"metadata": metadata | ({"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleted else {}), "spec": source}


async def test_only_what_is_to_go_goes(tmp_path: Path) -> None:
    """Data is deleted once its volume is, and said so as long as the object is there; all other data stays."""
    kept = [volume("used", deleted=False), volume("bound", protected=True), volume("retained", policy="Retain")]
    objects = [volume("gone"), volume("never-used"), *kept]
    for each in objects:
        if each["metadata"]["name"] != "never-used":
            (tmp_path / each["metadata"]["name"] / "file").mkdir(parents=True)
    assignments = Assignments()
    held = {ObjectKey("persistentvolumes", "", each["metadata"]["name"]): Held(1, encode(each)) for each in objects}
    assignments.replace(held, Moment("h", 1), confirmed=True)
    reports: asyncio.Queue[Mapping[str, str]] = asyncio.Queue()
    with ThreadPoolExecutor(1) as executor:
        removals = VolumeRemovals(
            assignments,
            PersistentVolumes(tmp_path, node_name="node-1"),
            node_name="node-1",
            report=reports.put_nowait,
            executor=executor,
        )
        task = asyncio.create_task(removals.run())
        async with asyncio.timeout(5):
            assert await reports.get() == {"gone": "uid-gone", "never-used": "uid-never-used"}
            assert set(os.listdir(tmp_path)) == {"used", "bound", "retained"}
            assignments.change({}, [ObjectKey("persistentvolumes", "", "gone")], Moment("h", 2))
            removals.changed()
            assert await reports.get() == {"never-used": "uid-never-used"}
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
