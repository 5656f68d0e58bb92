"""Volumes of pods on the real file system."""

from __future__ import annotations

import base64
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nodeagent.volumes.fields import NodeResources
from nodeagent.volumes.payload import VolumeError
from nodeagent.volumes.volumes import Volumes

pytestmark = pytest.mark.root


class Objects:
    """Objects that a test changes as it goes."""

    def __init__(self) -> None:
        self.config_maps: dict[str, dict[str, str]] = {"settings": {"color": "red"}}
        self.secrets: dict[str, dict[str, bytes]] = {"login": {"password": b"hush"}}

    def config_map(self, namespace: str, name: str) -> dict[str, Any] | None:
        return {"data": self.config_maps[name]} if name in self.config_maps else None

    def secret(self, namespace: str, name: str) -> dict[str, Any] | None:
        found = self.secrets.get(name)
        return found and {"data": {key: base64.b64encode(value).decode() for key, value in found.items()}}

    def claim(self, namespace: str, name: str) -> dict[str, Any] | None:
        return None

    def volume(self, name: str) -> dict[str, Any] | None:
        return None


class Lab:
    """The volumes of a node under a temporary directory, and the objects that its pods refer to."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.objects = Objects()
        self.volumes = self.again()

    def again(self) -> Volumes:
        """Volumes as an agent that has been started again has them."""
        node = NodeResources(cpu_millis=1000, memory_bytes=1 << 30)
        return Volumes(self.directory / "pods", files_dir=self.directory / "files", node=node)

    def prepare(self, *volumes: dict[str, Any], **spec: Any) -> dict[str, Path]:
        return self.volumes.prepare(pod(*volumes, **spec), self.objects)

    def mounts(self) -> int:
        return Path("/proc/self/mountinfo").read_text().count(str(self.directory))


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.volumes.purge()


def pod(*volumes: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "namespace": "default", "uid": "uid-1", "labels": {"app": "web"}},
        "spec": {"containers": [], "volumes": list(volumes), **spec},
    }


CONFIG = {"name": "config", "configMap": {"name": "settings"}}
SECRET = {"name": "secret", "secret": {"secretName": "login", "defaultMode": 0o400}}


def test_empty_directories(lab: Lab) -> None:
    """An emptyDir is writable for any user, keeps its content over restarts, and goes with the pod."""
    path = lab.prepare({"name": "scratch", "emptyDir": {}})["scratch"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o777
    (path / "kept").write_text("x")
    assert lab.again().prepare(pod({"name": "scratch", "emptyDir": {}}), lab.objects)["scratch"] == path
    assert (path / "kept").exists()
    lab.volumes.teardown("uid-1")
    lab.volumes.teardown("uid-1")
    assert not path.exists()


def test_memory_directories(lab: Lab) -> None:
    """An emptyDir in memory is a tmpfs of the size it is limited to, mounted once."""
    volume = {"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}
    path = lab.prepare(volume)["m"]
    assert path.is_mount()
    with pytest.raises(OSError, match="No space left"):
        (path / "big").write_bytes(bytes(2 << 20))
    lab.prepare(volume)
    assert lab.mounts() == 1
    lab.volumes.teardown("uid-1")
    assert lab.mounts() == 0


@pytest.mark.parametrize(
    ("size_limit", "memory_limits", "expected"),
    [
        (None, [None], 1 << 30),
        (None, ["64Mi", None], 1 << 30),
        (None, ["64Mi", "32Mi"], 96 << 20),
        ("16Mi", ["64Mi"], 16 << 20),
        ("128Mi", ["64Mi"], 64 << 20),
    ],
)
def test_how_much_memory_holds(
    lab: Lab, size_limit: str | None, memory_limits: list[str | None], expected: int
) -> None:
    """An emptyDir in memory holds no more than its limit, what its pod's containers may use, and what the node has."""
    limit = {"sizeLimit": size_limit} if size_limit else {}
    limited = [{"resources": {"limits": {"memory": each} if each else {}}} for each in memory_limits]
    path = lab.prepare({"name": "m", "emptyDir": {"medium": "Memory", **limit}}, containers=limited)["m"]
    size = os.statvfs(path)
    assert size.f_frsize * size.f_blocks == expected


def test_files_of_objects(lab: Lab) -> None:
    """ConfigMaps and Secrets become files with their modes, on a tmpfs that only root can enter."""
    paths = lab.prepare(CONFIG, SECRET)
    assert (paths["config"] / "color").read_text() == "red"
    assert (paths["secret"] / "password").read_bytes() == b"hush"
    assert stat.S_IMODE((paths["secret"] / "password").stat().st_mode) == 0o400
    assert lab.mounts() == 1
    assert stat.S_IMODE((lab.directory / "files").stat().st_mode) == 0o700
    assert not any(b"hush" in each.read_bytes() for each in (lab.directory / "pods").rglob("*") if each.is_file())


def test_updates_arrive(lab: Lab) -> None:
    """A changed object reaches the mounted files, an unchanged one is left alone."""
    paths = lab.prepare(CONFIG, SECRET)
    before = (paths["config"] / "..data").readlink()
    lab.volumes.update(pod(CONFIG, SECRET), lab.objects)
    assert (paths["config"] / "..data").readlink() == before
    lab.objects.config_maps["settings"] = {"color": "blue", "size": "2"}
    lab.again().update(pod(CONFIG, SECRET), lab.objects)
    assert {name: (paths["config"] / name).read_text() for name in ("color", "size")} == {"color": "blue", "size": "2"}


def test_optional_sources_come_and_go(lab: Lab) -> None:
    """What a projected volume may lack appears with the next update and vanishes with its object, item by item."""
    item = {"key": "a", "path": "deep/a", "mode": 0o400}
    sources = [
        {"configMap": {"name": "later", "items": [item], "optional": True}},
        {"secret": {"name": "hidden", "optional": True}},
        {"configMap": {"name": "settings"}},
    ]
    volume = {"name": "all", "projected": {"sources": sources, "defaultMode": 0o440}}
    path = lab.prepare(volume)["all"]

    def files() -> dict[str, int]:
        found = {each for each in path.rglob("*") if each.is_file() and ".." not in str(each.relative_to(path))}
        return {str(each.relative_to(path)): stat.S_IMODE(each.stat().st_mode) for each in found}

    assert files() == {"color": 0o440}
    lab.objects.config_maps["later"] = {"a": "1", "b": "2"}
    lab.objects.secrets["hidden"] = {"key": b"x"}
    lab.volumes.update(pod(volume), lab.objects)
    assert set(os.listdir(path)) >= {"deep", "key", "color"}
    assert stat.S_IMODE((path / "deep" / "a").stat().st_mode) == 0o400
    assert stat.S_IMODE((path / "key").stat().st_mode) == 0o440
    del lab.objects.config_maps["later"], lab.objects.secrets["hidden"]
    lab.volumes.update(pod(volume), lab.objects)
    assert files() == {"color": 0o440}


def test_labels_update_too(lab: Lab) -> None:
    """Downward API files follow the pod's labels."""
    item = {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}
    volume = {"name": "info", "downwardAPI": {"items": [item]}}
    path = lab.prepare(volume)["info"]
    changed = pod(volume)
    changed["metadata"]["labels"] = {"app": "db"}
    lab.volumes.update(changed, lab.objects)
    assert (path / "labels").read_text() == 'app="db"'


def test_missing_objects(lab: Lab) -> None:
    """A missing object fails the first preparation by name; once written, the files outlive their source."""
    del lab.objects.config_maps["settings"]
    with pytest.raises(VolumeError, match=r'volume "config" : configmap "settings" not found'):
        lab.prepare(CONFIG)
    lab.objects.config_maps["settings"] = {"color": "red"}
    lab.prepare(CONFIG)
    del lab.objects.config_maps["settings"]
    assert (lab.prepare(CONFIG)["config"] / "color").read_text() == "red"
    lab.volumes.update(pod(CONFIG), lab.objects)
    assert (lab.prepare(CONFIG)["config"] / "color").read_text() == "red"


def test_fs_group(lab: Lab) -> None:
    """With an fsGroup volumes belong to the group and can be read by it."""
    paths = lab.prepare({"name": "scratch", "emptyDir": {}}, SECRET, securityContext={"fsGroup": 2000})
    scratch, password = paths["scratch"].stat(), (paths["secret"] / "password").stat()
    assert (scratch.st_gid, stat.S_IMODE(scratch.st_mode)) == (2000, 0o2777)
    assert (password.st_gid, stat.S_IMODE(password.st_mode)) == (2000, 0o440)


@pytest.mark.parametrize(
    ("kind", "name", "exists"),
    [
        ("", "new", True),
        ("DirectoryOrCreate", "new", True),
        ("FileOrCreate", "new-file", True),
        ("Directory", "directory", True),
        ("File", "file", True),
        ("Directory", "file", False),
        ("File", "directory", False),
        ("Directory", "none", False),
        ("Socket", "file", False),
        ("CharDevice", "file", False),
        ("BlockDevice", "file", False),
    ],
)
def test_host_paths(lab: Lab, kind: str, name: str, exists: bool) -> None:
    """A hostPath is what its type asks for, or is refused with the reason; teardown never touches it."""
    (lab.directory / "directory").mkdir()
    (lab.directory / "file").write_text("x")
    path = lab.directory / name
    volume = {"name": "h", "hostPath": {"path": str(path), "type": kind}}
    if not exists:
        with pytest.raises(VolumeError, match="hostPath type check failed"):
            lab.prepare(volume)
        return
    assert lab.prepare(volume)["h"] == path
    assert path.exists()
    lab.volumes.teardown("uid-1")
    assert path.exists()


@pytest.mark.parametrize("kind", ["CharDevice", "BlockDevice", "Socket"])
def test_special_host_paths(lab: Lab, kind: str) -> None:
    """A device or a socket of the node passes as what it is, and as nothing else."""
    path = lab.directory / "special"
    with socket.socket(socket.AF_UNIX) as listener:
        if kind == "Socket":
            listener.bind(str(path))
        else:
            kinds = {"CharDevice": (stat.S_IFCHR, os.makedev(1, 3)), "BlockDevice": (stat.S_IFBLK, os.makedev(7, 0))}
            os.mknod(path, kinds[kind][0] | 0o600, kinds[kind][1])
    for asked in ("CharDevice", "BlockDevice", "Socket", "File", "Directory"):
        volume = {"name": "h", "hostPath": {"path": str(path), "type": asked}}
        if asked == kind:
            assert lab.prepare(volume)["h"] == path
            continue
        with pytest.raises(VolumeError, match=f"hostPath type check failed: {path} is not a"):
            lab.prepare(volume)


def test_unsupported_kinds_are_named(lab: Lab) -> None:
    """A volume of a kind that the node can't make is refused by its name."""
    with pytest.raises(VolumeError, match="nfs"):
        lab.prepare({"name": "n", "nfs": {"server": "x", "path": "/"}})


def test_teardown_spares_what_is_mounted_inside(lab: Lab) -> None:
    """Something mounted into a volume is unmounted before the volume is deleted, never deleted with it."""
    precious = lab.directory / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    path = lab.prepare({"name": "scratch", "emptyDir": {}})["scratch"]
    (path / "inside").mkdir()
    assert os.system(f"mount --bind {precious} {path / 'inside'}") == 0
    lab.volumes.teardown("uid-1")
    assert (precious / "file").exists()
    assert lab.mounts() == 0


def test_purge(lab: Lab) -> None:
    """A purge leaves no mount and no file of any pod."""
    lab.prepare(CONFIG, SECRET, {"name": "m", "emptyDir": {"medium": "Memory"}})
    lab.volumes.purge()
    lab.volumes.purge()
    assert lab.mounts() == 0
    assert not (lab.directory / "files").exists()
